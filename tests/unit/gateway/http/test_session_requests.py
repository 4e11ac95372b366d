"""From what a client writes to an order, and what no client may have."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from multidict import MultiDict

from chromepool import chrome_options as launch
from chromepool.config import Settings
from chromepool.errors import InvalidRequest
from chromepool.gateway.browser.hooks.emulation import Emulation, Viewport
from chromepool.gateway.http import browserless, problems, session_requests
from chromepool.gateway.http.requests import preferred_wait, read_json, read_query, seconds
from chromepool.gateway.spec import SessionSpec
from chromepool.model import ChromeOptions, Limits
from chromepool.schema.session import ConnectParams, CreateSession
from chromepool.setting import MIB

MONTH_S = 30 * 86400
OWN = Settings()


def read_body(data: bytes) -> CreateSession:
    return read_json(data, CreateSession)


def body(**fields: Any) -> CreateSession:
    return read_body(json.dumps(fields).encode())


def query(*pairs: tuple[str, str]) -> CreateSession:
    return browserless.read_connect_query(MultiDict(pairs))


def read_seconds(text: str | None, name: str, most: float) -> float:
    params = read_query(MultiDict({} if text is None else {name: text}), ConnectParams)
    return seconds(getattr(params, name), most)


def order_of(
    request: CreateSession, settings: Settings = OWN, owner: str = "uid:1000", **rest: Any
) -> SessionSpec:
    return session_requests.make_spec(request, owner, settings, **rest)


def refused_body(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        order_of(body(**fields))
    return str(caught.value)


def refused_query(*pairs: tuple[str, str]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        order_of(query(*pairs))
    return str(caught.value)


# -- bodies --


def test_no_body_is_an_empty_one() -> None:
    assert read_body(b"") == read_body(b"{}") == read_body(b" { }\n")


def test_an_empty_order_is_the_operators() -> None:
    spec = order_of(read_body(b""))
    assert spec == SessionSpec("uid:1000", OWN.session_limits, idle_timeout_s=OWN.idle_timeout_s)
    assert spec.grace_s is None


def test_all_of_a_body_is_in_its_order() -> None:
    asked: dict[str, Any] = {
        "labels": {"job": "7"},
        "limits": {"pids": 100, "cpu_weight": 7},
        "idle_timeout_s": 11.5,
        "max_age_s": 22,
        "viewport": {"width": 800, "height": 600, "device_scale_factor": 2, "mobile": True},
        "user_agent": "Mine/1.0",
        "locale": "de-DE",
        "timezone": "Europe/Berlin",
        "proxy": "socks5://proxy:1080",
        "proxy_bypass": "*.local,<loopback>",
        "ignore_certificate_errors": True,
        "flags": ["--lang=de"],
        "profile": "shop",
        "downloads": "deny",
    }
    spec = order_of(body(**asked), grace_s=4.0)
    limits = dataclasses.replace(OWN.session_limits, pids=100, cpu_weight=7)
    bypass = "*.local,<loopback>"
    assert spec == SessionSpec(
        owner="uid:1000",
        limits=limits,
        labels={"job": "7"},
        chrome_options=ChromeOptions(
            "socks5://proxy:1080", bypass, True, ("--lang=de",), "uid_1000/shop"
        ),
        emulation=Emulation(Viewport(800, 600, 2.0, True), "Mine/1.0", "de-DE", "Europe/Berlin"),
        downloads="deny",
        idle_timeout_s=11.5,
        max_age_s=22.0,
        grace_s=4.0,
        options={n: v for n, v in asked.items() if n not in ("labels", "limits")},
    )


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"[]", "array"),
        (b"null", "null"),
        (b'"x"', "str"),
        (b"{", "truncated"),
        (b"{}x", "malformed"),
        (b"\xff", "malformed"),
        (b'{"labels":{"a":"\xff"}}', "utf-8"),
        (b"[" * 100_000, "array"),
        (b'{"label":{}}', "unknown field `label`"),
        (b'{"viewport":{"width":1,"height":1,"depth":1}}', "unknown field `depth`"),
        (b'{"limits":{"file_bytes":1}}', "unknown field `file_bytes`"),
        (b'{"limits":{"pids":"100"}}', "$.limits.pids"),
        (b'{"limits":{"pids":1e999}}', "$.limits.pids"),
        (b'{"limits":{"cpu_cores":NaN}}', "malformed"),
        (b'{"idle_timeout_s":1e999}', "$.idle_timeout_s"),
        (b'{"max_age_s":true}', "$.max_age_s"),
        (b'{"labels":{"a":1}}', "$.labels"),
        (b'{"labels":{"":"x"}}', "$.labels"),
        (b'{"viewport":{"width":1}}', "height"),
        (b'{"flags":"--lang=de"}', "$.flags"),
        (b'{"flags":[1]}', "$.flags"),
        (b'{"ignore_certificate_errors":"true"}', "$.ignore_certificate_errors"),
    ],
)
def test_the_error_says_where_a_body_is_wrong(data: bytes, where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(data)
    assert where in caught.value.detail


EDGES: list[tuple[str, Any, Any]] = [
    ("idle_timeout_s", 0.001, 0),
    ("idle_timeout_s", 1, -1),
    ("max_age_s", MONTH_S, MONTH_S + 1),
    ("viewport", {"width": 1, "height": 10_000}, {"width": 0, "height": 10_000}),
    ("viewport", {"width": 10_000, "height": 1}, {"width": 10_001, "height": 1}),
    (
        "viewport",
        {"width": 9, "height": 9, "device_scale_factor": 8},
        {"width": 9, "height": 9, "device_scale_factor": 8.01},
    ),
    ("labels", {"n" * 63: "v" * 256}, {"n" * 64: "v"}),
    ("labels", {"n": ""}, {"n": "v" * 257}),
    ("labels", {str(n): "" for n in range(32)}, {str(n): "" for n in range(33)}),
    ("user_agent", "a" * 1024, "a" * 1025),
    ("user_agent", " ~", ""),
    ("user_agent", "a b", "a\nb"),
    ("user_agent", "a", "a\r\nX-Evil: 1"),
    ("user_agent", "a", "é"),
    ("user_agent", "a", "a\0"),
    ("locale", "de", "d"),
    ("locale", "de-DE", "de,en"),
    ("locale", "zh-Hant_TW", "de;q=1"),
    ("timezone", "UTC", ""),
    ("timezone", "America/Argentina/Ushuaia", "../etc/passwd"),
    ("timezone", "Etc/GMT+5", "Europe Berlin"),
    ("downloads", "allow", "Allow"),
    ("downloads", "deny", ""),
    ("profile", "a" * 64, "a" * 65),
    ("profile", "a.b", ".a"),
    ("profile", "a..b", ".."),
    ("profile", "a-b_c", "a/b"),
    ("profile", "0", "../a"),
    ("profile", "x", ""),
    ("profile", "x", "x\n"),
    ("profile", "x", "x\0"),
    ("profile", "x", "é"),
    ("proxy_bypass", "a" * 1024, "a" * 1025),
    ("proxy_bypass", "a,b;*.c", "a b"),
    ("proxy", "http://h:1", "http://h:1\n"),
    ("proxy", "http://h:1", "h:1"),
    ("flags", ["--lang=de"] * 32, ["--lang=de"] * 33),
    ("flags", ["--lang=" + "d" * 1024], ["--lang=" + "d" * 1025]),
]


@pytest.mark.parametrize(("name", "good", "bad"), EDGES)
def test_bounds_of_a_body(name: str, good: Any, bad: Any) -> None:
    assert name in order_of(body(**{name: good})).options or name == "labels"
    refused_body(**{name: bad})


def test_null_is_as_good_as_nothing() -> None:
    names = ["idle_timeout_s", "max_age_s", "viewport", "user_agent", "locale", "timezone"]
    nothing = dict.fromkeys([*names, "proxy", "proxy_bypass", "profile", "downloads"])
    assert body(**nothing) == body()


# -- limits --

ROOMY = Settings(session_limits=Limits(cpu_cores=2.0, cpu_weight=500))
LIMITS: list[tuple[str, Any, Any, Any]] = [
    ("memory_bytes", 64 * MIB, 512 * MIB, 1),
    ("heap_bytes", 16_000_000, 100_000_000, 1),
    ("pids", 64, 512, 1),
    ("files", 256, 4096, 1),
    ("cpu_weight", 1, 500, 1),
    ("cpu_cores", 0.001, 2.0, 2**-40),
]


@pytest.mark.parametrize(("name", "least", "most", "step"), LIMITS)
def test_limits_go_up_to_the_operators(name: str, least: Any, most: Any, step: Any) -> None:
    assert getattr(ROOMY.session_limits, name) == most
    for value in (least, most - step, most):
        limits = order_of(body(limits={name: value}), ROOMY).limits
        assert limits == dataclasses.replace(ROOMY.session_limits, **{name: value})
    with pytest.raises(InvalidRequest, match=rf"limits\.{name} = .* is over the operator's"):
        order_of(body(limits={name: most + step}), ROOMY)


@pytest.mark.parametrize(("name", "least", "most", "step"), LIMITS)
def test_limits_go_down_to_what_chrome_needs(name: str, least: Any, most: Any, step: Any) -> None:
    below = 0 if name == "cpu_cores" else least - step
    assert most > least > below
    with pytest.raises(InvalidRequest, match=rf"\$\.limits\.{name}"):
        body(limits={name: below})


def test_without_a_cap_on_cores_any_number_is_below_it() -> None:
    assert OWN.session_limits.cpu_cores == 0
    assert order_of(body(limits={"cpu_cores": 4096})).limits.cpu_cores == 4096
    assert order_of(body()).limits.cpu_cores == 0


def test_no_session_may_set_the_largest_file() -> None:
    assert order_of(body(limits={"pids": 64})).limits.file_bytes == OWN.session_limits.file_bytes


# -- times --


def test_idle_timeout_at_its_edge() -> None:
    settings = Settings(idle_timeout_s=5, longest_idle_timeout_s=60)
    assert order_of(body(), settings).idle_timeout_s == 5
    assert order_of(body(idle_timeout_s=60), settings).idle_timeout_s == 60
    with pytest.raises(InvalidRequest, match=r"idle_timeout_s = 60\.001 is over the operator's 60"):
        order_of(body(idle_timeout_s=60.001), settings)


def test_an_operator_without_an_idle_timeout_still_has_a_longest() -> None:
    settings = Settings(idle_timeout_s=0, longest_idle_timeout_s=60)
    assert order_of(body(), settings).idle_timeout_s == 0
    with pytest.raises(InvalidRequest, match="idle_timeout_s"):
        order_of(body(idle_timeout_s=61), settings)


def test_max_age_at_its_edge() -> None:
    settings = Settings(max_age_s=60)
    assert order_of(body(), settings).max_age_s == 60
    assert order_of(body(max_age_s=60), settings).max_age_s == 60
    assert order_of(body(max_age_s=0.5), settings).max_age_s == 0.5
    with pytest.raises(InvalidRequest, match=r"max_age_s = 60\.001 is over the operator's 60"):
        order_of(body(max_age_s=60.001), settings)


def test_without_a_max_age_a_session_may_have_any() -> None:
    settings = Settings(max_age_s=0)
    assert order_of(body(), settings).max_age_s == 0
    assert order_of(body(max_age_s=MONTH_S), settings).max_age_s == MONTH_S


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, 0.0),
        ("0", 0.0),
        ("0.0", 0.0),
        ("1.5", 1.5),
        ("007", 7.0),
        ("59.999999999", 59.999999999),
        ("60", 60.0),
        ("60.1", 60.0),
        ("999999999.999999999", 60.0),
    ],
)
def test_seconds(text: str | None, found: float) -> None:
    assert read_seconds(text, "wait", 60.0) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-1", "+1", "1e3", "nan", "inf", "1.", ".5", "1,5", " 1", "1 ", "1\n", "1_0"),
        *("0x1", "ten", "9" * 10, "1.1.1", "9" * 5000, "1\0", "\udcff", '"1"'),
    ],
)
def test_what_is_no_seconds(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a number of seconds") as caught:
        read_seconds(text, "keepalive", 60.0)
    assert caught.value.detail.startswith("The parameter keepalive=")
    assert len(caught.value.detail) < 250


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [
        (None, None),
        ("", None),
        ("wait=10", "10"),
        ("WAIT=10", "10"),
        (' wait = "10" ', "10"),
        ("respond-async, wait=10", "10"),
        ("wait=10, respond-async", "10"),
        ("wait=10; foo=bar", "10"),
        ("wait=1, wait=2", "1"),
        ("wait=", ""),
        ("wait", None),
        ("wait; a=1", None),
        ("await=5", None),
        ("waiting=5", None),
        ("foo; wait=5", None),
        ("return=minimal", None),
        ("wait=soon", "soon"),
        (",,;=,", None),
    ],
)
def test_the_wait_in_a_prefer_header(prefer: str | None, wait: str | None) -> None:
    assert preferred_wait(prefer) == wait


# -- flags --

ALLOWED = {
    "--allow-running-insecure-content": "",
    "--autoplay-policy": "no-user-gesture-required",
    "--blink-settings": "imagesEnabled=false",
    "--disable-blink-features": "AutomationControlled",
    "--disable-remote-fonts": "",
    "--disable-web-security": "",
    "--enable-blink-features": "CSSLayoutAPI",
    "--font-render-hinting": "none",
    "--force-dark-mode": "",
    "--force-device-scale-factor": "2",
    "--force-prefers-reduced-motion": "",
    "--lang": "de",
    "--use-fake-device-for-media-stream": "",
    "--use-fake-ui-for-media-stream": "",
    "--window-size": "1280,720",
}
"""Each with a value; a flag that is added there has to be thought of here, too."""


def refused_launch(allowed_flags: str = "", **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        launch.check(ChromeOptions(**fields), allowed_flags)
    return str(caught.value)


def test_the_list_of_allowed_flags() -> None:
    assert set(ALLOWED) == launch.ALLOWED_FLAGS


@pytest.mark.parametrize(("name", "value"), ALLOWED.items())
def test_every_allowed_flag_reaches_chrome_as_it_is(name: str, value: str) -> None:
    flags = (name, f"{name}=", f"{name}={value}", f"{name}= ~{value}")
    asked = ChromeOptions(flags=flags)
    launch.check(asked, "")
    assert launch.command_line(asked) == list(flags)


@pytest.mark.parametrize(
    "name",
    [
        "--no-sandbox",
        "--disable-setuid-sandbox",
        "--disable-gpu-sandbox",
        "--disable-seccomp-filter-sandbox",
        "--remote-debugging-port",
        "--remote-debugging-address",
        "--remote-debugging-pipe",
        "--remote-allow-origins",
        "--user-data-dir",
        "--disk-cache-dir",
        "--crash-dumps-dir",
        "--log-file",
        "--log-net-log",
        "--load-extension",
        "--renderer-cmd-prefix",
        "--utility-cmd-prefix",
        "--gpu-launcher",
        "--browser-subprocess-path",
        "--single-process",
        "--no-zygote",
        "--disable-site-isolation-trials",
        "--disable-features",
        "--enable-features",
        "--js-flags",
        "--max-old-space-size",
        "--proxy-server",
        "--proxy-pac-url",
        "--host-resolver-rules",
        "--host-rules",
        "--allow-file-access-from-files",
        "--ssl-key-log-file",
        "--use-file-for-fake-video-capture",
        "--headless",
        "--type",
        "--unknown",
        "--langs",
        "--lan",
        "--window-size-",
    ],
)
def test_every_other_flag_is_refused_by_name(name: str) -> None:
    for flag in (name, f"{name}=", f"{name}=1"):
        said = refused_launch(flags=(flag,))
        assert f"The flag {name} is not allowed" in said
        assert "allowed_flags" in said
    assert name in refused_body(flags=[name])


@pytest.mark.parametrize(
    "flag",
    [
        "",
        "-",
        "--",
        "-lang",
        "lang",
        "---lang",
        "--Lang",
        "--LANG=de",
        " --lang",
        "--lang ",
        "--lang --no-sandbox",
        "--lang=de\n",
        "--lang\n",
        "--lang=de\n--no-sandbox",
        "--lang=de\0--no-sandbox",
        "--lang=\x1b[31m",
        "--lang=\x7f",
        "--lang=\t",
        "--lang=é",
        "--lang\u2028",
        "--lang=\udcff",
        "--1lang",
        "--lang_x",
        "--lаng",  # noqa: RUF001
        "https://example.com/",
        "/etc/passwd",
        "--lang=" + "d" * 1025,
    ],
)
def test_what_is_no_flag(flag: str) -> None:
    said = refused_launch(flags=("--lang=de", flag))
    assert "is not a flag" in said
    assert said.isprintable()
    assert len(said) < 400


def test_the_longest_value_of_a_flag_and_the_most_flags() -> None:
    launch.check(ChromeOptions(flags=("--lang=" + "d" * 1024,) * 32), "")
    assert "sets 33 flags; 32 are allowed" in refused_launch(flags=("--lang=de",) * 33)


def test_the_operator_may_allow_more() -> None:
    asked = ChromeOptions(flags=("--mine=1", "--lang=de", "--other"))
    launch.check(asked, " --mine ,, --other,")
    assert "--mine" in refused_launch("--other,--min,--mine=1", flags=("--mine=1",))
    assert "--mine" in refused_launch("--other --mine", flags=("--mine=1",))
    settings = Settings(allowed_flags="--mine")
    assert order_of(body(flags=["--mine"]), settings).chrome_options.flags == ("--mine",)


# -- proxies --


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "direct://",
        "http://proxy:3128",
        "https://proxy.example.com:443",
        "socks4://10.0.0.1:1080",
        "socks5://[::1]:65535",
        "http://h:1",
    ],
)
def test_a_proxy_is_one_url(proxy: str) -> None:
    asked = ChromeOptions(proxy=proxy)
    launch.check(asked, "")
    assert launch.command_line(asked) == ([f"--proxy-server={proxy}"] if proxy else [])


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:secret@h:1",
        "http://user@h:1",
        "http://:secret@h:1",
        "http://h:1/",
        "http://h:1/path",
        "http://h:1?query",
        "http://h:1#fragment",
        "http://h",
        "http://h:",
        "http://h:0",
        "http://h:-1",
        "http://h:65536",
        "http://h:http",
        "http://h:\uff11",
        "http://:1",
        "http://[::1:1",
        "http://a:1,http://b:2",
        "http://a:1,direct://",
        "http://a,b:1",
        "http://a:1;b:2",
        "http=a:1;https=b:2",
        "http://a:1;",
        "h:1",
        "//h:1",
        "http:h:1",
        "ftp://h:1",
        "file:///etc/passwd",
        "quic://h:1",
        "socks://h:1",
        "socks5h://h:1",
        "direct://x",
        "direct:// ",
        " http://h:1",
        "http://h:1 ",
        "http://h :1",
        "http://h:1\n",
        "http://h:\n1",
        "http://h:1\t",
        "http://h\0:1",
        "http://é:1",
        "http://h:1 --no-sandbox",
    ],
)
def test_what_is_no_proxy(proxy: str) -> None:
    said = refused_launch(proxy=proxy)
    assert "scheme://host:port" in said
    assert "Fetch.authRequired" in said
    assert "secret" not in said
    assert "secret" not in refused_body(proxy=proxy)


@pytest.mark.parametrize(
    "bypass", ["", "localhost", "*.a.b;c:80,<local>,<-loopback>", "10.0.0.0/8,[::1]", "a" * 1024]
)
def test_hosts_without_the_proxy(bypass: str) -> None:
    asked = ChromeOptions(proxy_bypass=bypass)
    launch.check(asked, "")
    assert launch.command_line(asked) == ([f"--proxy-bypass-list={bypass}"] if bypass else [])


@pytest.mark.parametrize("bypass", ["a b", " ", "a\n", "a\0", "é", 'a"', "a=b", "a" * 1025])
def test_what_is_no_list_of_hosts(bypass: str) -> None:
    assert "bypass list" in refused_launch(proxy_bypass=bypass)


# -- profiles --


@pytest.mark.parametrize("profile", ["", "uid_1/a", "token_ci/a.b", "a/" + "b" * 64, ".../a"])
def test_profiles(profile: str) -> None:
    asked = ChromeOptions(profile=profile)
    launch.check(asked, "")
    assert launch.command_line(asked) == []


@pytest.mark.parametrize(
    "profile",
    [
        *("a", "/", "a/", "/a", "/a/b", "a/b/c", "a//b", "../b", "./b", "a/..", "a/.", "a/.b"),
        *("a/../b", "a/-b", "a/_b", "a/b ", "a /b", "a/b\n", "a\n/b", "a/b\0", "a\0/b", "a/é"),
        *("é/a", "a\\b", "a/" + "b" * 65, "a" * 129 + "/b", "~/b", "a/$b", "a/*"),
    ],
)
def test_what_is_no_profile(profile: str) -> None:
    assert "profile" in refused_launch(profile=profile)


@pytest.mark.parametrize(
    ("owner", "folder"),
    [
        ("uid:1000", "uid_1000"),
        ("token:ci-2", "token_ci-2"),
        ("tcp:127.0.0.1", "tcp_127.0.0.1"),
        ("tcp:::1", "tcp___1"),
    ],
)
def test_each_owner_has_a_folder_of_profiles(owner: str, folder: str) -> None:
    assert order_of(body(profile="p"), owner=owner).chrome_options.profile == f"{folder}/p"


@pytest.mark.parametrize("owner", ["..", ".", "", "../..", "a/../b"])
def test_no_owner_is_a_folder_above(owner: str) -> None:
    try:
        profile = order_of(body(profile="p"), owner=owner).chrome_options.profile
    except InvalidRequest:
        return
    assert profile.count("/") == 1
    assert profile.partition("/")[0] not in ("", ".", "..")


# -- the query --


def test_no_query_is_no_body() -> None:
    assert query() == body()


def test_a_query_says_all_that_a_body_can() -> None:
    asked = query(
        ("label", "job=7"),
        ("label", "url=http://a/?b=c"),
        ("label", "empty="),
        ("pids", "100"),
        ("cpu_cores", "0.5"),
        ("memory_bytes", "67108864"),
        ("idle_timeout_s", "11.5"),
        ("max_age_s", "22"),
        ("viewport", "800x600"),
        ("user_agent", "Mine/1.0"),
        ("locale", "de-DE"),
        ("timezone", "Europe/Berlin"),
        ("proxy", "socks5://proxy:1080"),
        ("proxy_bypass", "*.local"),
        ("ignore_certificate_errors", "true"),
        ("flag", "--lang=de"),
        ("flag", "--force-dark-mode"),
        ("profile", "shop"),
        ("downloads", "deny"),
    )
    assert asked == body(
        labels={"job": "7", "url": "http://a/?b=c", "empty": ""},
        limits={"pids": 100, "cpu_cores": 0.5, "memory_bytes": 64 * MIB},
        idle_timeout_s=11.5,
        max_age_s=22,
        viewport={"width": 800, "height": 600},
        user_agent="Mine/1.0",
        locale="de-DE",
        timezone="Europe/Berlin",
        proxy="socks5://proxy:1080",
        proxy_bypass="*.local",
        ignore_certificate_errors=True,
        flags=["--lang=de", "--force-dark-mode"],
        profile="shop",
        downloads="deny",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("unknown", "1", "no parameter 'unknown'"),
        ("limits", "{}", "no parameter 'limits'"),
        ("labels", "{}", "no parameter 'labels'"),
        ("flags", "--lang=de", "no parameter 'flags'"),
        ("file_bytes", "1", "no parameter 'file_bytes'"),
        ("owner", "uid:0", "no parameter 'owner'"),
        ("grace_s", "1", "no parameter 'grace_s'"),
        ("Viewport", "1x1", "no parameter 'Viewport'"),
        ("stealth", "true", "no parameter 'stealth'"),
        ("", "", "no parameter ''"),
        ("label", "job", "not label=NAME=VALUE"),
        ("label", "", "not label=NAME=VALUE"),
        ("label", "=7", "$.labels"),
        ("viewport", "800", "WIDTHxHEIGHT"),
        ("viewport", "800x", "WIDTHxHEIGHT"),
        ("viewport", "800X600", "WIDTHxHEIGHT"),
        ("viewport", "800x600x1", "WIDTHxHEIGHT"),
        ("viewport", "-1x1", "WIDTHxHEIGHT"),
        ("viewport", "800x600\n", "WIDTHxHEIGHT"),
        ("viewport", "100000x1", "WIDTHxHEIGHT"),
        ("viewport", "0x1", "$.viewport.width"),
        ("viewport", "1x10001", "$.viewport.height"),
        ("idle_timeout_s", "", "$.idle_timeout_s"),
        ("idle_timeout_s", "nan", "$.idle_timeout_s"),
        ("idle_timeout_s", "inf", "$.idle_timeout_s"),
        ("max_age_s", "-1", "$.max_age_s"),
        ("max_age_s", "9" * 5000, "$.max_age_s"),
        ("cpu_cores", "nan", "$.limits.cpu_cores"),
        ("pids", "63", "$.limits.pids"),
        ("pids", "64.5", "$.limits.pids"),
        ("pids", "513", "over the operator's 512"),
        ("memory_bytes", "9" * 5000, "$.limits.memory_bytes"),
        ("ignore_certificate_errors", "maybe", "$.ignore_certificate_errors"),
        ("downloads", "/tmp", "$.downloads"),
        ("flag", "--no-proxy-server", "--no-proxy-server"),
        ("flag", "lang=de", "$.flags[0]"),
        ("flag", "", "$.flags[0]"),
        ("profile", "../a", "$.profile"),
    ],
)
def test_what_is_wrong_with_a_query(name: str, value: str, said: str) -> None:
    assert said in refused_query((name, value))


def test_what_belongs_to_others_is_passed_over() -> None:
    assert query(("token", "secret"), ("wait", "x"), ("keepalive", "-1")) == body()


# -- browserless --


def as_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def launched(**given: Any) -> CreateSession:
    """The same from JSON as from base64 of it."""
    text = json.dumps(given)
    found = query(("launch", text))
    assert query(("launch", as_base64(text))) == query(("launch", f"  {text} ")) == found
    return found


@pytest.mark.parametrize(("ms", "seconds"), [("1", 0.001), ("30000", 30.0), ("1500.5", 1.5005)])
def test_timeout_is_a_max_age_in_milliseconds(ms: str, seconds: float) -> None:
    assert query(("timeout", ms)) == body(max_age_s=seconds)


@pytest.mark.parametrize("ms", ["", "soon", "-1", "0", "nan", "inf", "1e400", "30s", "9" * 5000])
def test_what_is_no_timeout(ms: str) -> None:
    refused_query(("timeout", ms))


def test_timeout_is_held_to_the_operators_max_age() -> None:
    settings = Settings(max_age_s=60)
    assert order_of(query(("timeout", "60000")), settings).max_age_s == 60
    with pytest.raises(InvalidRequest, match="over the operator's 60"):
        order_of(query(("timeout", "60001")), settings)


def test_launch_is_json_or_base64_of_it() -> None:
    assert launched() == body()
    assert launched(args=["--lang=de"]) == body(flags=["--lang=de"])
    assert launched(args=None, ignoreHTTPSErrors=True) == body(ignore_certificate_errors=True)
    assert launched(acceptInsecureCerts=True) == body(ignore_certificate_errors=True)
    assert launched(args=["--user-agent=x"]) == body(user_agent="x")


def test_the_viewport_of_a_launch() -> None:
    given = {"width": 800, "height": 600, "deviceScaleFactor": 2, "isMobile": True}
    expected = {"width": 800, "height": 600, "device_scale_factor": 2, "mobile": True}
    for more in ({}, {"hasTouch": True, "isLandscape": False}):
        assert launched(defaultViewport=given | more) == body(viewport=expected)
    assert launched(defaultViewport=None) == body()


@pytest.mark.parametrize(
    "name",
    ["headless", "slowMo", "devtools", "dumpio", "handleSIGINT", "handleSIGTERM", "pipe"],
)
def test_what_makes_no_difference_here_is_taken(name: str) -> None:
    assert launched(**{name: True}) == body()
    assert query((name, "new")) == body()


def test_the_timeout_of_a_launch_is_not_the_sessions() -> None:
    assert launched(timeout=1) == body()


@pytest.mark.parametrize(
    "name", ["executablePath", "env", "ignoreDefaultArgs", "stealth", "debuggingPort", "x"]
)
def test_what_cannot_be_done_is_refused_unless_it_is_off(name: str) -> None:
    nothing: tuple[Any, ...] = (None, False, "", 0, [], {})
    for off in nothing:
        assert launched(**{name: off}) == body()
    for on in (True, "x", 1, ["x"], {"x": 1}):
        assert f"launch.{name} is not supported" in refused_query(
            ("launch", json.dumps({name: on}))
        )


@pytest.mark.parametrize("folder", ["/tmp/x", "", None])
def test_a_folder_of_the_callers_is_refused(folder: str | None) -> None:
    said = refused_query(("launch", json.dumps({"userDataDir": folder})))
    assert "userDataDir" in said
    assert "profile=NAME" in said


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "{",
        "{}}",
        "not base64!",
        "e30",
        "e3=0",
        "e!3-0=",
        "e30=\n",
        "é",
        "[]",
        as_base64("[]"),
        as_base64("null"),
        as_base64("1"),
        as_base64('"x"'),
        as_base64("{"),
        base64.b64encode(b"\xff\xfe\xfd").decode(),
        as_base64(as_base64("{}")),
        '{"a":' + "[" * 100_000,
        '{"a":' + "9" * 5000 + "}",
        as_base64("[" * 100_000),
    ],
    ids=lambda value: ascii(value[:12]),
)
def test_what_is_no_launch(value: str) -> None:
    assert "launch is n" in refused_query(("launch", value))


@pytest.mark.parametrize("args", ["--lang=de", {"a": 1}, [1], ["--lang=de", None], [["--lang"]], 1])
def test_what_is_no_list_of_args(args: Any) -> None:
    assert "launch.args is not a list" in refused_query(("launch", json.dumps({"args": args})))


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"ignoreHTTPSErrors": None}, "$.ignore_certificate_errors"),
        ({"ignoreHTTPSErrors": []}, "$.ignore_certificate_errors"),
        ({"defaultViewport": {"width": 1}}, "height"),
        ({"defaultViewport": {"width": "wide", "height": 1}}, "$.viewport.width"),
        ({"defaultViewport": {"width": 1, "height": 1, "x": 1}}, "unknown field `x`"),
        ({"defaultViewport": {"width": 1e5, "height": 1}}, "$.viewport.width"),
        (
            {"defaultViewport": {"width": 1, "height": 1, "deviceScaleFactor": float("nan")}},
            "$.viewport.device_scale_factor",
        ),
        ({"args": ["--user-agent"]}, "$.user_agent"),
        ({"args": ["--user-data-dir=/tmp/x"]}, "--user-data-dir"),
        ({"args": ["--load-extension=/x"]}, "--load-extension"),
        ({"args": ["--lang=de"] * 33}, "$.flags"),
    ],
)
def test_what_is_wrong_in_a_launch(given: dict[str, Any], where: str) -> None:
    assert where in refused_query(("launch", json.dumps(given)))


OURS = [
    "--no-sandbox",
    "--disable-setuid-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--headless",
    "--headless=new",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--no-zygote",
    "--single-process",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
    "--remote-debugging-port=9222",
    "--remote-debugging-pipe",
]


@pytest.mark.parametrize("arg", OURS)
def test_what_scripts_set_everywhere_is_left_out(arg: str) -> None:
    kept = body(flags=["--lang=de"])
    name, _, value = arg.partition("=")
    assert launched(args=[arg, "--lang=de", arg]) == kept
    assert query((name, value), ("flag", "--lang=de")) == kept
    assert query(("flag", arg), ("--lang", "de")) == kept
    assert launch.command_line(order_of(query(("flag", arg))).chrome_options) == []


@pytest.mark.parametrize("arg", OURS)
def test_a_body_is_not_forgiven_the_same(arg: str) -> None:
    assert arg.partition("=")[0] in refused_body(flags=[arg])


def test_only_the_very_name_is_left_out() -> None:
    for arg in ("--no-sandbox-x", "--no-sandbo", "--no-sandbox --lang", "--No-sandbox"):
        refused_query(("flag", arg))


def test_flags_are_parameters() -> None:
    asked = query(("--window-size", "1,2"), ("--force-dark-mode", ""), ("--lang", "a=b"))
    assert asked == body(flags=["--window-size=1,2", "--force-dark-mode", "--lang=a=b"])
    for name in ("--user-data-dir", "--", "---", "--load-extension"):
        refused_query((name, "/tmp"))


def test_flags_of_all_sources_are_joined() -> None:
    asked = query(
        ("flag", "--lang=1"), ("launch", '{"args": ["--lang=2"]}'), ("--lang", "3"), ("flag", "--x")
    )
    assert asked.flags == ["--lang=1", "--x", "--lang=2", "--lang=3"]


@pytest.mark.parametrize(
    ("arg", "expected"),
    [
        ("--proxy-server=http://h:1", {"proxy": "http://h:1"}),
        ("--proxy-server=h:1", {"proxy": "http://h:1"}),
        ("--proxy-server=direct://", {"proxy": "direct://"}),
        ("--proxy-bypass-list=a,b", {"proxy_bypass": "a,b"}),
        ("--user-agent=A=B/1.0 (x)", {"user_agent": "A=B/1.0 (x)"}),
        ("--ignore-certificate-errors", {"ignore_certificate_errors": True}),
        ("--ignore-certificate-errors=false", {"ignore_certificate_errors": False}),
    ],
)
def test_flags_that_are_options_become_options(arg: str, expected: dict[str, Any]) -> None:
    name, equals, value = arg.partition("=")
    assert launched(args=[arg]) == query(("flag", arg)) == body(**expected)
    if equals:
        assert query((name, value)) == body(**expected)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://u:secret@h:1",
        "u:secret@h:1",
        "h",
        "h:1/path",
        "a:1,b:2",
        "",
        "ftp://h:1",
    ],
)
def test_a_proxy_is_checked_whichever_way_it_came(proxy: str) -> None:
    for pair in (
        ("proxy", proxy),
        ("flag", f"--proxy-server={proxy}"),
        ("--proxy-server", proxy),
        ("launch", json.dumps({"args": [f"--proxy-server={proxy}"]})),
    ):
        assert "secret" not in refused_query(pair)


# -- anything at all --

TEXTS = st.text(max_size=30)
"""Without lone surrogates, as aiohttp gives them."""
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(CreateSession.__struct_fields__)
LAUNCH_KEYS = st.sampled_from(
    ["args", "defaultViewport", "ignoreHTTPSErrors", "headless", "userDataDir", "timeout"]
)
PARAMETERS = st.sampled_from(
    [
        *sorted(
            browserless._PLAIN
            | browserless._LIMITS
            | set(browserless._AS_OPTIONS)
            | set(browserless._OURS)
        ),
        *("label", "flag", "viewport", "timeout", "launch", "token", "wait"),
    ]
)
NUMBERS = st.floats().map(str) | st.integers().map(str)
LAUNCHES = st.dictionaries(LAUNCH_KEYS | TEXTS, JSON, max_size=4).map(json.dumps)
VALUES = (
    TEXTS | NUMBERS | LAUNCHES | LAUNCHES.map(as_base64) | st.builds("{}={}".format, TEXTS, TEXTS)
)
QUERIES = st.lists(st.tuples(PARAMETERS | TEXTS, VALUES), max_size=5)


@hypothesis_settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        order_of(read_body(data))


@hypothesis_settings(deadline=None)
@given(st.dictionaries(FIELDS, JSON, max_size=4) | JSON)
def test_any_json_is_a_request_or_refused(value: Any) -> None:
    with contextlib.suppress(InvalidRequest):
        order_of(read_body(json.dumps(value).encode()))


@hypothesis_settings(deadline=None)
@given(QUERIES)
def test_any_query_is_a_request_or_refused(pairs: list[tuple[str, str]]) -> None:
    with contextlib.suppress(InvalidRequest):
        spec = order_of(browserless.read_connect_query(MultiDict(pairs)))
        launch.check(spec.chrome_options, "")
        assert spec.limits.memory_bytes <= OWN.session_limits.memory_bytes
        assert spec.limits.pids <= OWN.session_limits.pids


@hypothesis_settings(deadline=None)
@given(st.lists(st.sampled_from([*ALLOWED, *OURS, "--no-sandbox=1", "--x"]) | TEXTS, max_size=5))
def test_no_query_turns_the_sandbox_off(flags: list[str]) -> None:
    with contextlib.suppress(InvalidRequest):
        spec = order_of(query(*(("flag", flag) for flag in flags)))
        names = {flag.partition("=")[0] for flag in launch.command_line(spec.chrome_options)}
        assert names <= set(ALLOWED) | {"--proxy-server", "--proxy-bypass-list"}


@hypothesis_settings(deadline=None)
@given(st.text(st.characters()) | NUMBERS, st.floats(0, 1e6))
def test_any_text_is_seconds_in_bounds_or_refused(text: str, most: float) -> None:
    with contextlib.suppress(InvalidRequest):
        assert 0 <= read_seconds(text, "wait", most) <= most


@hypothesis_settings(deadline=None)
@given(st.text(st.characters()) | st.text("wait=;, \"'0aW"))
def test_any_prefer_header_has_a_wait_or_none(text: str) -> None:
    found = preferred_wait(text)
    assert found is None or found in text
    with contextlib.suppress(InvalidRequest):
        read_seconds(found, "wait", 60.0)


@hypothesis_settings(deadline=None)
@given(st.text(st.characters()), st.sampled_from(["proxy", "proxy_bypass", "profile"]))
def test_any_launch_is_checked_or_refused(text: str, name: str) -> None:
    asked: dict[str, Any] = {name: text}
    with contextlib.suppress(InvalidRequest):
        launch.check(dataclasses.replace(ChromeOptions(), **asked), "")
        assert text.isascii()
        assert not set(text) & set("\0\n\r \t")


@pytest.mark.parametrize(
    "proxy",
    [
        *("http://http=a:1", "http://a=b:90", "http://a;b:90", "http://@h:1", "http://:@h:1"),
        *("http://h:1?", "http://h:1#", "http://\\evil:1", "http://a|b:1", 'http://a"b:1'),
        *("http://h:0", "http://h:65536", "http://h:99999"),
    ],
)
def test_what_chrome_would_take_for_no_proxy_is_refused(proxy: str) -> None:
    """Chrome leaves out what it cannot read and goes direct: the worst that a proxy can do."""
    with pytest.raises(InvalidRequest):
        launch.check(ChromeOptions(proxy=proxy), "")


def test_a_proxy_for_each_scheme_is_refused() -> None:
    refused_query(("--proxy-server", "http=a:1"))


@pytest.mark.parametrize(
    "given",
    [
        '{"defaultViewport":{"\\ud800":1}}',
        '{"defaultViewport":{"width":"\\ud800","height":1}}',
        '{"ignoreHTTPSErrors":"\\ud800"}',
        '{"\\ud800":1}',
    ],
)
def test_half_a_surrogate_pair_is_refused_in_words_that_can_be_sent(given: str) -> None:
    problems.respond(400, "invalid_request", refused_query(("launch", given)))


@pytest.mark.parametrize(
    ("name", "value"), [("user_agent", "a\n"), ("locale", "de\n"), ("timezone", "UTC\n")]
)
def test_a_line_end_at_the_end_is_refused(name: str, value: str) -> None:
    refused_body(**{name: value})


@pytest.mark.parametrize("text", ["1_000", "\u0663\u0660", "1e3", "+5", " 5"])
def test_only_plain_digits_are_numbers(text: str) -> None:
    refused_query(("timeout", text))
    with pytest.raises(InvalidRequest):
        read_seconds(text, "wait", 60)
