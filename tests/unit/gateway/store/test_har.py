"""HAR 1.2 of responses that are made up: phases that add up, cookies of every kind."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool.gateway.store import har
from chromepool.gateway.store.responses import Response

MARKS = (
    *("dnsStart", "dnsEnd", "connectStart", "sslStart", "sslEnd", "connectEnd"),
    *("sendStart", "sendEnd", "receiveHeadersStart", "receiveHeadersEnd"),
)


def _entry(
    timing: dict[str, float], duration_ms: float | None = 100.0, **more: Any
) -> dict[str, Any]:
    given: dict[str, Any] = {"request_headers": {}, "response_headers": {}} | more
    now = datetime.datetime.now(datetime.UTC)
    about = ("http://a/", "GET", 200, "OK", "Document", "text/html")
    response = Response(
        *about, started_at=now, began=5.0, timing=timing, duration_ms=duration_ms, **given
    )
    (entry,) = har.export([response], "1", "Chrome/1")["log"]["entries"]
    found: dict[str, Any] = entry
    return found


def _sum(entry: dict[str, Any]) -> float:
    timings: dict[str, float] = entry["timings"]
    phases = [value for name, value in timings.items() if name != "ssl" and value != -1]
    assert min(phases) >= 0
    return sum(phases)


def test_every_phase_of_a_new_connection() -> None:
    marks = (2.0, 5.0, 6.0, 8.0, 11.0, 12.0, 13.0, 14.0, 30.0, 40.0)
    entry = _entry({"requestTime": 5.01, **dict(zip(MARKS, marks, strict=True))})
    assert entry["timings"] == pytest.approx(
        {
            "blocked": 12.0,  # 10 ms until Chrome took it up, and 2 ms more
            "dns": 3.0,
            "connect": 7.0,
            "ssl": 3.0,
            "send": 2.0,
            "wait": 26.0,
            "receive": 50.0,
        }
    )
    assert _sum(entry) == pytest.approx(entry["time"], abs=0.01)


def test_a_connection_that_was_there_and_an_answer_from_no_server() -> None:
    marks = {"requestTime": 5.0, "sendStart": 1.0, "sendEnd": 2.0, "receiveHeadersEnd": 50.0}
    reused = _entry(dict.fromkeys(MARKS, -1.0) | marks)["timings"]
    assert reused == pytest.approx(
        {"blocked": 1, "dns": -1, "connect": -1, "ssl": -1, "send": 1, "wait": 48, "receive": 50}
    )
    none = _entry({})["timings"]
    assert none == {
        **{"blocked": -1, "dns": -1, "connect": -1, "ssl": -1},
        **{"send": 0, "wait": 0, "receive": 100.0},
    }


def test_one_that_still_loads_has_taken_no_time() -> None:
    entry = _entry({"requestTime": 5.0, "sendStart": 1.0, "sendEnd": 2.0}, None)
    assert (entry["time"], _sum(entry)) == (0, 0)


@given(
    st.dictionaries(st.sampled_from(MARKS), st.floats(-1, 200)),
    st.floats(4.9, 5.3),
    st.one_of(st.none(), st.floats(0, 150)),
)
def test_the_phases_add_up_whatever_chrome_tells(
    timing: dict[str, float], taken_up: float, duration_ms: float | None
) -> None:
    entry = _entry({"requestTime": taken_up, **timing}, duration_ms)
    assert _sum(entry) == pytest.approx(entry["time"], abs=0.01)
    assert entry["timings"]["ssl"] <= max(0, entry["timings"]["connect"])


def test_headers_of_one_name_are_told_one_by_one() -> None:
    headers = {"set-cookie": "a=1\nb=2", "Location": "/x", "Vary": "A"}
    response = _entry({}, response_headers=headers)["response"]
    assert [(h["name"], h["value"]) for h in response["headers"]] == [
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("Location", "/x"),
        ("Vary", "A"),
    ]
    assert [cookie["name"] for cookie in response["cookies"]] == ["a", "b"]
    assert response["redirectURL"] == "/x"


def test_an_address_has_no_brackets() -> None:
    assert _entry({}, remote_address="[::1]")["serverIPAddress"] == "::1"


@pytest.mark.parametrize(
    ("header", "cookie"),
    [
        ("a=1", {"name": "a", "value": "1"}),
        (' a = "b c" ; Secure', {"name": "a", "value": '"b c"', "secure": True}),
        ("alone", {"name": "", "value": "alone"}),
        ("a=; path = /x ;DOMAIN=b", {"name": "a", "value": "", "path": "/x", "domain": "b"}),
        ("a=1; SameSite=Lax; Priority=High", {"name": "a", "value": "1", "sameSite": "Lax"}),
        ("a=1; expires=never; ;", {"name": "a", "value": "1"}),
        (
            "a=1; Expires=Wed, 21-Oct-2099 07:28:00 GMT",
            {"name": "a", "value": "1", "expires": "2099-10-21T07:28:00.000+00:00"},
        ),
        (
            "a=1; Expires=Wed, 21 Oct 2099 07:28:00 -0000",
            {"name": "a", "value": "1", "expires": "2099-10-21T07:28:00.000+00:00"},
        ),
    ],
)
def test_a_cookie_that_a_server_sets(header: str, cookie: dict[str, Any]) -> None:
    assert har.received_cookie(header) == cookie


def test_cookies_that_are_sent() -> None:
    assert har.sent_cookies("a=1; b=x=2; ;alone") == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "x=2"},
        {"name": "", "value": "alone"},
    ]
    assert har.sent_cookies("") == []


@given(st.text())
def test_no_header_is_too_odd(text: str) -> None:
    assert set(har.received_cookie(text)) >= {"name", "value"}
    assert all(set(cookie) == {"name", "value"} for cookie in har.sent_cookies(text))
