"""Draining: no new sessions, and what becomes of those that run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import Misbehaving
from tests.daemon import Daemon, wait_for
from tests.test_handover import kill_gateway


def _drain(daemon: Daemon, **wishes: object) -> dict[str, object]:
    answer = daemon.ask("POST", "/v1/drain", wishes)
    assert answer.status == 202, answer.body
    view: dict[str, object] = answer.json
    return view


def _code(daemon: Daemon) -> str:
    """What a caller who wants a session is told."""
    answer = daemon.ask("POST", "/v1/sessions")
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    code: str = answer.json["code"]
    return code


def test_sessions_go_on_and_none_is_made(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        view = _drain(daemon)
        assert view == {"draining": True, "sessions": 1, "ends_at": None, "exit": False}
        assert _code(daemon) == "draining"
        assert daemon.ask("GET", "/readyz").json["code"] == "draining"
        assert daemon.ask("GET", "/healthz").status == 200
        assert daemon.show(session["id"])["state"] == "ready"
        assert daemon.delete(session["id"]) == 204
        assert daemon.ask("GET", "/v1/drain").json["sessions"] == 0
        assert daemon.ask("DELETE", "/v1/drain").status == 204
        assert daemon.ask("GET", "/readyz").status == 200
        daemon.new()


def test_those_that_wait_are_told_and_those_started_ahead_go(misbehaving: Misbehaving) -> None:
    with misbehaving(max_sessions=2, warm_sessions=1) as daemon:
        for _ in range(2):
            daemon.new()
        said: list[str] = []

        def wait() -> None:
            said.append(daemon.ask("POST", "/v1/sessions?wait=60").json["code"])

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: daemon.ask("GET", "/v1/queue").json["waiting"], "one waits")
        _drain(daemon)
        waiting.join()
        assert said == ["draining"]
        wait_for(lambda: len(daemon.chromes()) == 2, "nothing is kept ready")


def test_the_deadline_ends_them(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        _drain(daemon, deadline_s=0.5)
        ended = daemon.wait_ended(session["id"])
        assert ended["exit"]["reason"] == "drained"
        assert daemon.process.poll() is None


def test_the_next_gateway_goes_on_with_it(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        before = _drain(daemon, deadline_s=3600)
        kill_gateway(daemon)
        assert _code(daemon) == "draining"
        after = daemon.ask("GET", "/v1/drain").json
        assert after["ends_at"][:15] == str(before["ends_at"])[:15]
        daemon.ask("DELETE", "/v1/drain")
        kill_gateway(daemon)
        daemon.new()
        assert daemon.show(session["id"])["state"] == "ready"


def test_with_exit_the_daemon_leaves_after_the_last(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        _drain(daemon, exit=True)
        assert daemon.show(session["id"])["state"] == "ready"
        daemon.delete(session["id"])
        assert daemon.process.wait(60) == 0


def test_chromepool_drain_waits_for_the_last(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir"]
        argv += [str(daemon.runtime_dir), "drain", "--wait"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "draining: 1 sessions left\n"
            assert waiting.poll() is None
            daemon.delete(session["id"])
            assert waiting.stdout.readline() == "drained\n"
            assert waiting.wait(60) == 0
        assert daemon.cli("drain", "--cancel").returncode == 0
        daemon.new()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user needs root")
def test_only_administrators_may(folder: Path) -> None:
    with Daemon(folder) as daemon:
        curl = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-s"]
        for path in ("drain", "reload"):
            where = ["--unix-socket", str(daemon.control_socket), f"http://x/v1/{path}"]
            done = subprocess.run(
                [*curl, "-X", "POST", *where], capture_output=True, text=True, check=False
            )
            assert '"forbidden"' in done.stdout
        assert daemon.ask("GET", "/readyz").status == 200
