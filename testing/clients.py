"""The clients people use, on a session of the daemon."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from testing import pyppeteer_steps
from testing.daemon import Daemon, wait_for
from testing.node import SCRIPT_DEADLINE_S, script

MARK = "left by the first connection"


Session = dict[str, Any]


Result = dict[str, Any]


def run(client: str, step: str, **params: object) -> Result:
    """Do one step of one client; fail the test with the client's words when it fails."""
    if client == "pyppeteer":
        return pyppeteer_steps.run(step, params, SCRIPT_DEADLINE_S)
    result: Result = script("run.mjs", client, step, json.dumps(params))
    return result


def assert_picture(encoded: str) -> None:
    """A PNG of a window's size that is more than one colour."""
    data = base64.b64decode(encoded)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert 300 <= width <= 4000
    assert 200 <= height <= 4000
    assert len(data) > 1000


def assert_driven(result: Result) -> None:
    """Answer that ``drive`` has to give, whoever drives."""
    assert result["title"] == "chromepool"
    assert result["answer"] == 42
    assert result["before"] == ["", None]
    assert result["second"] == ["who=second", "second"]
    assert result["first"] == ["who=first", "first"]
    assert_picture(result["screenshot"])


def assert_left(daemon: Daemon, session: Session) -> None:
    """Assert that the session's clients are gone and that it goes on."""
    wait_for(lambda: daemon.show(session["id"])["clients"] == 0, "the clients are gone")
    assert daemon.show(session["id"])["state"] == "ready"


def pages_of(daemon: Daemon, session: Session) -> list[str]:
    targets = daemon.get(f"/sessions/{session['id']}/json/list").json
    return [target["url"] for target in targets if target["type"] == "page"]


def running(daemon: Daemon) -> list[Session]:
    sessions: list[Session] = daemon.ask("GET", "/v1/sessions").json["sessions"]
    return sessions
