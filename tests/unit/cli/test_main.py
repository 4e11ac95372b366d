"""A command imports what it needs: the daemon's code and libraries are not loaded to ask it."""

from __future__ import annotations

import datetime
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from chromepool.model import State
from chromepool.schema.session import LimitsView, SessionList, SessionView, UsageView

MOST_MODULES = 25
OF_THE_DAEMON = {"sqlite3", "psutil", "structlog", "pyppeteer", "prctl", "yaml"}

_COMMAND = """
import json, sys
from chromepool.cli.main import cli

try:
    cli.main(sys.argv[1:], prog_name="chromepool")
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def _run(*words: str) -> tuple[str, set[str]]:
    """Return what a command prints, and the modules that it has imported."""
    argv = [sys.executable, "-c", _COMMAND, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


def _own(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "chromepool"}


def _session() -> SessionView:
    now = datetime.datetime.now(datetime.UTC)
    usage = UsageView(*[None] * 10, *[0] * 4)  # type: ignore[arg-type]
    limits = {"memory_bytes": 1, "heap_bytes": 1, "pids": 1, "files": 1}
    return SessionView(
        id="f" * 32,
        number=1,
        state=State.READY,
        webSocketDebuggerUrl="ws://localhost/",
        devtools_url="http://localhost/",
        created_at=now,
        last_active_at=now,
        expires_at=None,
        ended_at=None,
        labels={},
        owner="uid:0",
        clients=0,
        pid=1,
        warm=False,
        limits=LimitsView(**limits, cpu_cores=0.0, cpu_weight=1, enforced=True),
        usage=usage,
        options={},
        crashes=[],
        exit=None,
    )


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Serve one list of sessions; return the runtime folder."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    body = msgspec.json.encode(SessionList([_session()]))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    threading.Thread(target=answer, daemon=True).start()
    return tmp_path


@pytest.mark.parametrize("words", [("ls",), ("ls", "--json")])
def test_ls_imports_the_client_and_nothing_of_the_daemon(
    served: Path, words: tuple[str, ...]
) -> None:
    printed, modules = _run("--runtime-dir", str(served), *words)
    assert "f" * 32 in printed
    own = _own(modules)
    assert len(own) <= MOST_MODULES, sorted(own)
    assert "chromepool.client" in own
    daemon = ("chromepool.supervisor", "chromepool.gateway", "chromepool.canary")
    assert not [name for name in own if name.startswith(daemon)]
    assert not modules & OF_THE_DAEMON
    assert ("rich" in modules) == (words == ("ls",))


@pytest.mark.parametrize("words", [("--help",), ("ls", "--help"), ("serve", "--help")])
def test_help_imports_no_client(words: tuple[str, ...]) -> None:
    printed, modules = _run(*words)
    assert "Usage: chromepool" in printed
    assert len(_own(modules)) <= MOST_MODULES
    assert not modules & {"asyncio", "aiohttp", "msgspec", "rich"}


def test_health_imports_no_client(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _COMMAND, "--runtime-dir", str(tmp_path), "health"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "No daemon answers" in done.stderr
    modules = set(json.loads(done.stderr.splitlines()[-1]))
    assert not modules & {"asyncio", "aiohttp", "msgspec", "rich"}
