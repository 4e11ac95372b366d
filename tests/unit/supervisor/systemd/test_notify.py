"""Words to systemd and descriptors from it, over real sockets."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromepool.supervisor.systemd.notify import Notifier, listen_fds
from testing.manager import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    heard = Manager(str(tmp_path / "notify"))
    yield heard
    heard.sock.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    speaking = Notifier({"NOTIFY_SOCKET": manager.sock.getsockname()})
    yield speaking
    speaking.close()


def test_each_word_arrives(manager: Manager, notifier: Notifier) -> None:
    assert notifier.ready()
    assert manager.hear() == ({"READY": "1"}, [])
    assert notifier.stopping()
    assert manager.hear() == ({"STOPPING": "1"}, [])
    assert notifier.ping()
    assert manager.hear() == ({"WATCHDOG": "1"}, [])


def test_a_reload_says_when_it_began(manager: Manager, notifier: Notifier) -> None:
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    words, _ = manager.hear()
    assert words["RELOADING"] == "1"
    assert before <= int(words["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_status_is_one_line_and_said_once(manager: Manager, notifier: Notifier) -> None:
    notifier.status("3 of\n10")
    notifier.status("3 of 10")
    notifier.status("4 of 10")
    assert manager.hear()[0] == {"STATUS": "3 of 10"}
    assert manager.hear()[0] == {"STATUS": "4 of 10"}


def test_descriptors_are_stored_and_removed_by_name(manager: Manager, notifier: Notifier) -> None:
    read, write = os.pipe()
    notifier.store("session-1", [read, write])
    words, fds = manager.hear()
    assert words == {"FDSTORE": "1", "FDNAME": "session-1"}
    os.write(fds[1], b"through")
    assert os.read(read, 20) == b"through"
    for fd in (read, write, *fds):
        os.close(fd)
    notifier.remove("session-1")
    assert manager.hear()[0] == {"FDSTOREREMOVE": "1", "FDNAME": "session-1"}


def test_the_manager_may_be_asked_not_to_poll(manager: Manager, notifier: Notifier) -> None:
    read, write = os.pipe()
    notifier.store("pidfd", [read], poll=False)
    words, fds = manager.hear()
    assert words["FDPOLL"] == "0"
    for fd in (read, write, *fds):
        os.close(fd)


@pytest.mark.parametrize("name", ["", "a:b", "a\nREADY=1", "ä", "x" * 256])
def test_a_name_cannot_carry_more_than_a_name(notifier: Notifier, name: str) -> None:
    with pytest.raises(ValueError, match=r"name|colon"):
        notifier.store(name, [])
    with pytest.raises(ValueError, match=r"name|colon"):
        notifier.remove(name)


def test_an_abstract_socket_is_found() -> None:
    name = f"chromepool-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})
    assert notifier.ready()
    assert manager.hear()[0] == {"READY": "1"}
    notifier.close()
    manager.sock.close()


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({})
    assert not notifier.connected
    assert not notifier.ready()
    assert not notifier.store("x", [0])
    assert notifier.watchdog_s == 0
    notifier.close()


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert notifier.connected
    assert not notifier.ready()
    notifier.close()
    notifier.close()
    assert not notifier.ready()


def test_a_manager_that_does_not_read_is_not_waited_for(
    manager: Manager, notifier: Notifier
) -> None:
    heard = 0
    while notifier.ping():
        heard += 1
        assert heard < 100_000, "its queue has no end"
    assert not any(notifier.ping() for _ in range(1000)), "its queue is full, and we came back"


def test_the_variables_are_taken_out() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1", "A": "b"}
    notifier = Notifier(environ)
    notifier.close()
    assert environ == {"A": "b"}
    assert notifier.watchdog_s == 0, "it is another process's"


def test_the_interval_of_the_watchdog_is_in_seconds() -> None:
    mine = {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier(mine).watchdog_s == 20
    assert Notifier({"WATCHDOG_USEC": "500000"}).watchdog_s == 0.5
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_s == 0


_CHILD = """
import fcntl, json, os, sys
from chromepool.supervisor.systemd.notify import listen_fds
if "others" not in sys.argv:
    os.environ["LISTEN_PID"] = str(os.getpid())
found = listen_fds(os.environ)
inherited = {fd: not fcntl.fcntl(fd, fcntl.F_GETFD) for fds in found.values() for fd in fds}
left = [name for name in os.environ if name.startswith("LISTEN_")]
print(json.dumps([found, any(inherited.values()), left]))
"""


def _listen_in_child(names: str | None, *argv: str) -> tuple[dict[str, list[int]], bool, list[str]]:
    """What a process finds that was started with two sockets as 3 and 4."""
    pairs = socket.socketpair(), socket.socketpair()
    lifted = [fcntl.fcntl(pair[0].fileno(), fcntl.F_DUPFD, 50) for pair in pairs]
    environ = os.environ | {"LISTEN_PID": "1", "LISTEN_FDS": "2"}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    pass_fds = " ".join(f"{target}<&{fd}" for target, fd in zip((3, 4), lifted, strict=True))
    command = ["bash", "-c", f'exec "$@" {pass_fds}', "bash", sys.executable, "-c", _CHILD, *argv]
    try:
        done = subprocess.run(
            command, env=environ, pass_fds=lifted, capture_output=True, text=True, check=True
        )
    finally:
        for fd in lifted:
            os.close(fd)
        for sock in (*pairs[0], *pairs[1]):
            sock.close()
    found, inherited, left = json.loads(done.stdout)
    return found, inherited, left


def test_descriptors_come_by_name() -> None:
    assert _listen_in_child("control:devtools") == (
        {"control": [3], "devtools": [4]},
        False,
        [],
    )


def test_two_may_have_one_name() -> None:
    assert _listen_in_child("session-1:session-1")[0] == {"session-1": [3, 4]}


@pytest.mark.parametrize("names", [None, "", "control"])
def test_what_has_no_name_is_unknown(names: str | None) -> None:
    found = _listen_in_child(names)[0]
    assert found["unknown"] == ([3, 4] if names != "control" else [4])


def test_another_process_s_descriptors_are_left_alone() -> None:
    assert _listen_in_child("control:devtools", "others") == ({}, False, [])


def test_garbage_is_nothing() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}
    assert listen_fds(environ) == {}
    assert environ == {}
