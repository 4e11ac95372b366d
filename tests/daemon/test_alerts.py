"""Alerts of a real daemon: to a webhook, over a handover, and over a restart."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.daemon import Daemon, Misbehaving, wait_for
from testing.handover import HOWS, replace


@pytest.fixture
def tmp_path(folder: Path) -> Path:
    """Instead of pytest's, whose folders only root may pass: the gateway opens its journal."""
    return folder


class Hook(http.server.ThreadingHTTPServer):
    """Takes what the daemon sends."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_full_pool_is_told_once_and_its_end_once(
    misbehaving: Misbehaving, hook: Hook, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("k" * 32 + "\n")
    url = f"http://me:secret@127.0.0.1:{hook.server_port}/hook?key=hidden"
    given = {"webhook_url": url, "webhook_secret_file": key, "alert_memory_percent": 100}
    with misbehaving(max_sessions=5, **given) as daemon:

        def alerts() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = daemon.ask("GET", "/v1/status").json["alerts"]
            return [alert for alert in found if alert["name"] == "sessions"]

        sessions = [daemon.new()["id"] for _ in range(5)]
        raised = wait_for(alerts, "it is raised")
        assert [(a["severity"], a["text"]) for a in raised] == [
            ("warning", "5 of 5 sessions are in use.")
        ]
        for session in sessions:
            daemon.delete(session)
        wait_for(lambda: not alerts(), "it is cleared")

        def got() -> list[tuple[str, str]]:
            bodies = [json.loads(body) for _, body in list(hook.got)]
            told = [(body["event"], body["alert"]["name"]) for body in bodies]
            return [one for one in told if one[1] == "sessions"]

        wait_for(lambda: len(got()) >= 2, "the webhook has both")
        assert got() == [("alert.raised", "sessions"), ("alert.cleared", "sessions")]
        page = daemon.ask("GET", "/metrics").body.decode()
        for sample in (
            'alert_raised{alert="sessions"} 0.0',
            'alerts_raised_total{alert="sessions"} 1.0',
            'alerts_cleared_total{alert="sessions"} 1.0',
            'alerts_raised_total{alert="gateway_crash_loop"} 0.0',
            'webhook_alerts_total{delivery="failed"} 0.0',
        ):
            assert f"chromepool_{sample}\n" in page
        assert re.search(r'webhook_alerts_total\{delivery="sent"\} [2-9]', page)
        assert all("Chromepool-Signature" in headers for headers, _ in hook.got)
        assert daemon.text.count('"alert": "sessions"') == 2
        assert "secret" not in daemon.text
        assert "hidden" not in daemon.text


def sessions_alerts(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.ask("GET", "/v1/status").json["alerts"]
    return [alert for alert in found if alert["name"] == "sessions"]


def of_sessions(hook: Hook) -> list[tuple[str, str]]:
    """What the webhook was told of that alert, and since when it was raised."""
    bodies = [json.loads(body) for _, body in list(hook.got)]
    return [(b["event"], b["alert"]["since"]) for b in bodies if b["alert"]["name"] == "sessions"]


def raise_sessions(daemon: Daemon, hook: Hook, places: int) -> list[str]:
    """Fills the pool; the sessions, once the alert is told and written down."""
    sessions = [daemon.new()["id"] for _ in range(places)]
    wait_for(lambda: of_sessions(hook), "the webhook is told")
    wait_for(
        lambda: not daemon.ask("GET", "/v1/status").json["journal"]["waiting"], "it is written"
    )
    return sessions


@HOWS
def test_another_gateway_raises_nothing_again_and_clears_it(
    misbehaving: Misbehaving, hook: Hook, how: str
) -> None:
    url = f"http://127.0.0.1:{hook.server_port}/"
    with misbehaving(max_sessions=2, webhook_url=url) as daemon:
        sessions = raise_sessions(daemon, hook, 2)
        (raised,) = sessions_alerts(daemon)
        replace(daemon, how)
        assert [alert["since"] for alert in sessions_alerts(daemon)] == [raised["since"]]
        for session in sessions:
            daemon.delete(session)
        wait_for(lambda: not sessions_alerts(daemon), "it is cleared")
        wait_for(lambda: len(of_sessions(hook)) >= 2, "the webhook has both")
        since = raised["since"]
        assert of_sessions(hook) == [("alert.raised", since), ("alert.cleared", since)]


def test_what_is_over_when_the_daemon_starts_again_is_cleared_once(
    misbehaving: Misbehaving, hook: Hook
) -> None:
    given = {"max_sessions": 2, "webhook_url": f"http://127.0.0.1:{hook.server_port}/"}
    with misbehaving(**given) as daemon:
        raise_sessions(daemon, hook, 2)
    assert len(of_sessions(hook)) == 1
    with misbehaving(**given):
        wait_for(lambda: len(of_sessions(hook)) >= 2, "it is told")
    assert [event for event, _ in of_sessions(hook)] == ["alert.raised", "alert.cleared"]
    assert len({since for _, since in of_sessions(hook)}) == 1
