"""Capture with real Chrome: over targets and redirects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon, wait_for
from testing.site import PAGE, SCRIPT, Site

NewSession = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "case",
    [
        ("/frames", "/page?far", PAGE),
        ("/frames", "/page?near", PAGE),
        ("/workers", "/worker.js", SCRIPT),
        ("/workers", "/shared_worker.js", SCRIPT),
    ],
)
def test_what_begins_in_a_page_and_ends_in_another_target_is_whole(
    shared_daemon: Daemon, new_session: NewSession, site: Site, case: tuple[str, str, str]
) -> None:
    path, ends, body = case
    session = new_session(capture={})
    base = f"/v1/sessions/{session['id']}/responses"

    def find() -> dict[str, Any] | None:
        found = shared_daemon.ask("GET", base).json["responses"]
        return next((r for r in found if r["url"].endswith(ends) and r["body_bytes"]), None)

    async def scenario() -> dict[str, Any]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Page.enable", session=page)  # else the page may not listen yet
            await client.call("Page.navigate", {"url": site.url(path)}, page)
            found: dict[str, Any] = wait_for(find, "it is kept, with its body")
            return found

    kept = run(scenario())
    assert kept["duration_ms"] > 0
    assert (kept["body_error"], kept["error"]) == ("", "")
    assert kept["encoded_bytes"] > 0
    assert kept["response_headers"]["Cache-Control"] == "no-store"
    text = shared_daemon.ask("GET", f"{base}/{kept['number']}/body").body
    assert text == body.encode()


def test_redirects_have_the_headers_that_they_came_with(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    """Cookies too, which Chrome tells of only when the request has already gone on."""
    session = new_session(capture={})
    base = f"/v1/sessions/{session['id']}/responses"

    def is_whole() -> bool:
        found = shared_daemon.ask("GET", base).json["responses"]
        return len(found) == 3 and bool(found[2]["duration_ms"])

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Page.enable", session=page)  # else the page may not listen yet
            await client.call("Page.navigate", {"url": site.url("/redirect?1")}, page)
            wait_for(is_whole, "both redirects and the page are kept")

    run(scenario())
    found = shared_daemon.ask("GET", base).json["responses"]
    told = [(r["status"], r["response_headers"].get("Set-Cookie")) for r in found]
    assert told == [(302, "by=1"), (302, "by=2"), (200, None)]
