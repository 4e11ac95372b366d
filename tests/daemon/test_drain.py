"""Draining: no new sessions, and what becomes of those that run."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.daemon import Daemon, Misbehaving, wait_for
from testing.handover import kill_gateway, reload


def _drain(daemon: Daemon, **capture_options: object) -> dict[str, object]:
    answer = daemon.ask("POST", "/v1/drain", capture_options)
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
        assert view == {
            "draining": True,
            "sessions": 1,
            "ends_at": None,
            "exit": False,
            "pid": daemon.pid,
        }
        assert _code(daemon) == "draining"
        refusal = daemon.ask("GET", "/readyz").json
        assert refusal["code"] == "draining"
        assert "chromepool drain --cancel" in refusal["remedy"]
        assert "exits" not in refusal["detail"]
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
        assert "exits" in daemon.ask("GET", "/readyz").json["detail"]
        assert daemon.show(session["id"])["state"] == "ready"
        daemon.delete(session["id"])
        assert daemon.process.wait(60) == 0


@contextlib.contextmanager
def _waiting(daemon: Daemon, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """``chromepool drain --wait``, once it waits."""
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(daemon.runtime_dir)]
    argv += ["drain", "--wait", *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=subprocess.STDOUT, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "draining: 1 sessions left\n"
        yield waiting
        assert waiting.stdout.read() == "drained\n"
        assert waiting.wait(60) == 0


def test_chromepool_drain_waits_for_the_last(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        with _waiting(daemon) as waiting:
            assert waiting.poll() is None
            daemon.delete(session["id"])
        assert daemon.cli("drain", "--cancel").returncode == 0
        daemon.new()


@pytest.mark.parametrize("how", [kill_gateway, reload])
def test_it_waits_for_a_lost_gateway_too(
    misbehaving: Misbehaving, how: Callable[[Daemon], None]
) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        with _waiting(daemon) as waiting:
            for _ in range(2):  # the client of the command asks again by itself, but only once
                _wait_asked(daemon)
                how(daemon)
            _wait_asked(daemon)
            assert waiting.poll() is None
            daemon.delete(session["id"])


def _wait_asked(daemon: Daemon) -> None:
    """Returns once the command's question is with the gateway that serves now."""

    def connections() -> int:
        path = str(daemon.control_socket)
        return sum(str(c.laddr) == path for c in daemon.gateway.net_connections("unix"))

    # One is the listening socket itself.
    wait_for(lambda: connections() > 1, "the command has asked")


def test_with_exit_it_waits_for_the_end_of_the_daemon(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        with _waiting(daemon, "--exit"):
            daemon.delete(session["id"])
        assert daemon.process.wait(60) == 0


def test_with_exit_and_no_session_it_is_the_same(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        done = daemon.cli("drain", "--wait", "--exit")
        assert (done.returncode, done.stderr) == (0, "")
        assert daemon.process.wait(60) == 0


def test_with_exit_a_daemon_that_is_stopped_is_as_good(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        daemon.new()
        with _waiting(daemon, "--exit"):
            assert daemon.stop() == 0


def test_a_drain_that_is_cancelled_is_told(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        daemon.new()
        argv = [*daemon.argv[:3], "--runtime-dir", str(daemon.runtime_dir), "drain", "--wait"]
        with subprocess.Popen([*argv, "--exit"], stderr=subprocess.PIPE, text=True) as waiting:
            wait_for(lambda: daemon.ask("GET", "/v1/drain").json["exit"], "it drains")
            assert daemon.ask("DELETE", "/v1/drain").status == 204
            assert waiting.stderr is not None
            assert "cancelled" in waiting.stderr.read()
            assert waiting.wait(60) == 1


_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class _Activated(Daemon):
    """On a socket that somebody else keeps, as systemd does."""

    listener: socket.socket

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-c", _LAUNCHER, str(self.listener.fileno()), *super().argv]


def test_nobody_has_to_connect_to_see_the_end(folder: Path) -> None:
    """Whoever does has systemd start another daemon."""
    daemon = _Activated(folder)
    daemon.runtime_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(daemon.control_socket))
        daemon.control_socket.chmod(0o666)
        listener.listen()
        daemon.listener = listener
        daemon.popen = {"pass_fds": (listener.fileno(),)}
        with daemon:
            session = daemon.new()
            with _waiting(daemon, "--exit"):
                assert daemon.delete(session["id"]) == 204
            assert daemon.process.wait(60) == 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_daemon_that_stops_takes_no_sessions_whatever_becomes_of_a_drain(
    misbehaving: Misbehaving,
) -> None:
    faults = ("ignore-close", "ignore-term")
    with misbehaving(*faults, close_timeout_s=0.1, term_timeout_s=20) as daemon:
        daemon.new()
        _drain(daemon)
        daemon.process.terminate()
        wait_for(lambda: daemon.ask("GET", "/v1/status").json["stopping"], "it stops")
        assert _code(daemon) == "shutting_down"
        assert "another daemon" in daemon.ask("GET", "/readyz").json["remedy"]
        assert daemon.ask("DELETE", "/v1/drain").status == 204
        assert _code(daemon) == "shutting_down"
        _drain(daemon)
        assert _code(daemon) == "shutting_down"
        for chrome in daemon.chromes():
            chrome.kill()


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
