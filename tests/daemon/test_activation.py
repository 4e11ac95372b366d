"""A daemon that a manager started: its sockets are used, and it is told what goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon, wait_for

_LAUNCHER = """
import json, os, socket, sys
told, argv = json.loads(sys.argv[1]), sys.argv[2:]
os.environ |= told["environ"]
made = []
for address in told["listen"]:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.bind(address if isinstance(address, str) else tuple(address))
    sock.listen()
    made.append(sock)
lifted = [os.dup(os.dup2(sock.fileno(), 60 + n)) for n, sock in enumerate(made)]
for n, fd in enumerate(lifted):
    os.dup2(fd, 3 + n)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(made))}
os.execv(argv[0], argv)
"""


class Started(Daemon):
    """A daemon with sockets and variables such as a manager gives."""

    listen: list[object]
    environ: dict[str, str]

    @property
    def argv(self) -> list[str]:
        told = json.dumps({"listen": self.listen, "environ": self.environ})
        return [sys.executable, "-c", _LAUNCHER, told, *super().argv]


MakeStarted = Callable[..., Started]


@pytest.fixture
def started(tmp_path: Path) -> MakeStarted:
    tmp_path.chmod(0o755)
    (tmp_path / "run").mkdir(mode=0o755)

    def make(listen: list[object], environ: dict[str, str] | None = None, **more: Any) -> Started:
        daemon = Started(tmp_path, **more)
        daemon.listen, daemon.environ = listen, environ or {}
        return daemon

    return make


def test_both_sockets_are_the_manager_s(started: MakeStarted, tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    names = {"LISTEN_FDNAMES": "devtools:control"}
    with started([["127.0.0.1", 0], str(path)], names) as daemon:
        inode = path.stat().st_ino
        session = daemon.new()
        assert session["owner"] == f"uid:{os.geteuid()}", "the kernel says who calls"

        async def drive() -> object:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                _, page = await client.open_page()
                return await client.evaluate("6 * 7", page)

        assert run(drive()) == 42
    assert path.stat().st_ino == inode, "the file is the manager's to remove"


def test_one_of_them_is_enough(started: MakeStarted, tmp_path: Path) -> None:
    with started([["127.0.0.1", 0]], {"LISTEN_FDNAMES": "devtools"}) as daemon:
        assert daemon.get("/json/version").status == 200
        assert daemon.ask("GET", "/healthz").status == 200
    assert not (tmp_path / "run" / "control.sock").exists(), "this one is the daemon's"


def test_without_names_their_kind_tells(started: MakeStarted, tmp_path: Path) -> None:
    with started([str(tmp_path / "run" / "control.sock"), ["127.0.0.1", 0]]) as daemon:
        assert daemon.ask("GET", "/healthz").status == 200
        assert daemon.get("/json/version").status == 200


class Heard:
    """What the manager was told, in order."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.setblocking(False)
        self._words: list[str] = []

    @property
    def words(self) -> list[str]:
        while True:
            try:
                self._words += self._sock.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self._words

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    manager = Heard(tmp_path / "notify")
    yield manager
    manager.close()


def test_the_manager_hears_what_goes_on(started: MakeStarted, heard: Heard, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with started([], environ) as daemon:
        wait_for(lambda: "READY=1" in heard.words, "it is ready")
        assert "STOPPING=1" not in heard.words
        for _ in range(2):
            daemon.new()
        wait_for(
            lambda: "STATUS=serving: 2 Chromes, room for 10 sessions" in heard.words, "two are told"
        )
        told = heard.words.count("WATCHDOG=1")
        wait_for(lambda: heard.words.count("WATCHDOG=1") > told + 1, "the loop turns")
        ready = heard.words.count("READY=1")
        os.kill(daemon.pid, signal.SIGHUP)
        wait_for(lambda: heard.words.count("READY=1") > ready, "the reload is complete")
        assert "RELOADING=1" in heard.words
    words = heard.words
    assert words.index("READY=1") < words.index("RELOADING=1") < words.index("STOPPING=1")
    progress = [word for word in words if word.startswith("STATUS=stopping: ")]
    assert progress[0] == "STATUS=stopping: 2 of 2 sessions left"
    assert progress[-1] == "STATUS=stopping: 0 of 2 sessions left"
    left = [json.loads(line) for line in daemon.log if '"shutdown.progressed"' in line]
    assert left[-1]["left"] == 0
    assert left[-1]["of"] == 2


def test_a_gateway_that_is_down_is_told(started: MakeStarted, heard: Heard, tmp_path: Path) -> None:
    with started([], {"NOTIFY_SOCKET": str(tmp_path / "notify")}) as daemon:
        serving = re.compile("STATUS=serving: ")
        wait_for(lambda: any(map(serving.match, heard.words)), "it serves")
        first = daemon.gateway
        first.kill()  # the second start is at once, the third is not
        wait_for(lambda: daemon.gateway != first, "another one runs")
        daemon.gateway.kill()
        wait_for(lambda: any(w.startswith("STATUS=no gateway") for w in heard.words), "it is told")
