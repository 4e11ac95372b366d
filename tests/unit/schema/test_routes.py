"""URLs are made of the table's paths, quoted."""

from __future__ import annotations

import pytest

from chromepool.model import Reason
from chromepool.schema import history, routes


@pytest.mark.parametrize(
    ("session_id", "path"),
    [
        ("0af", "/v1/sessions/0af"),
        ("a/b?c#d", "/v1/sessions/a%2Fb%3Fc%23d"),
        ("ü ", "/v1/sessions/%C3%BC%20"),
    ],
)
def test_a_parameter_is_quoted(session_id: str, path: str) -> None:
    assert routes.SHOW_SESSION.url(id=session_id) == path


def test_a_query_has_only_the_values_that_are_given() -> None:
    query = {"since": "2h", "owner": "", "reason": None, "limit": 0, "after": "a b&c"}
    assert routes.LIST_HISTORY.url(query) == "/v1/history?since=2h&after=a+b%26c"
    assert routes.LIST_HISTORY.url({"owner": ""}) == routes.LIST_HISTORY.url() == "/v1/history"
    assert routes.CREATE_SESSION.url({"wait": 0.5}) == "/v1/sessions?wait=0.5"
    assert routes.CREATE_SESSION.url({"wait": 1234567.0}) == "/v1/sessions?wait=1234567.0"


def test_the_history_takes_each_reason_of_an_end() -> None:
    assert sorted(history.REASONS) == sorted([*Reason, history.LOST])
