"""Sessions outlive the whole daemon where somebody keeps their descriptors, as systemd does.

The manager here keeps the protocol of systemd's file descriptor store, and nothing else of it;
``tests/slow/systemd`` has the real one.
"""

from __future__ import annotations

import array
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon, is_alive, wait_for
from testing.handover import states

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without control groups nothing is kept")

_LAUNCH = """
import os, sys
count = int(sys.argv[1])
passed = [os.dup2(os.dup(fd), 200 + at) for at, fd in enumerate(map(int, sys.argv[2].split(",")))]
for at, fd in enumerate(passed):
    os.dup2(fd, 3 + at)
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
"""
"""As systemd starts a service with descriptors: from 3 on."""


class Store:
    """Takes and gives descriptors (sd_notify(3))."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._socket in ready:
                    self._take()
                elif self._stopped in ready:
                    return

    def _take(self) -> None:
        words, rights, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(64))
        fds = array.array("i")
        for _, _, data in rights:
            fds.frombytes(data)
        said = dict(line.partition("=")[::2] for line in words.decode().splitlines())
        name = said.get("FDNAME", "")
        if "FDSTORE" in said:
            self._close(name)
            (self.kept[name],) = fds
        elif "FDSTOREREMOVE" in said:
            self._close(name)

    def _close(self, name: str) -> None:
        if name in self.kept:
            os.close(self.kept.pop(name))

    def clear(self) -> None:
        """As at a stop."""
        for name in list(self.kept):
            self._close(name)

    def close(self) -> None:
        self._stop.send(b".")
        self._thread.join()
        self.clear()
        for sock in (self._socket, self._stop, self._stopped):
            sock.close()


class Kept(Daemon):
    """A daemon that is started as systemd would, with what is in the store."""

    def __init__(self, folder: Path, store: Store, **settings: object) -> None:
        super().__init__(folder, fd_store=True, **settings)
        self._store = store
        names, fds = list(store.kept), list(store.kept.values())
        environment = {"NOTIFY_SOCKET": str(store.path)}
        if names:
            environment |= {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names)}
        self.popen = {"env": os.environ | environment, "pass_fds": fds}
        self._fds = fds

    @property
    def argv(self) -> list[str]:
        if not self._fds:
            return super().argv
        fds = ",".join(map(str, self._fds))
        return [sys.executable, "-c", _LAUNCH, str(len(self._fds)), fds, *super().argv]

    def next(self, **settings: object) -> Kept:
        """The next life, on the same uids."""
        return Kept(self.folder, self._store, **(self._own() | settings))

    def _snapshots(self) -> set[str]:
        """Sessions of which the store has a snapshot: they are adopted by the next life."""
        return {name.partition(".")[0] for name in list(self._store.kept) if ".record" in name}

    def _own(self) -> dict[str, Any]:
        return {name: self.settings[name] for name in ("uid_base", "gateway_uid")}

    def kill(self) -> None:
        """SIGKILL to the supervisor once the store has all sessions; the gateway goes with it."""
        gateway = self.gateway
        sessions = len(states(self))
        wait_for(lambda: len(self._snapshots()) >= sessions, "the store has all sessions")
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not is_alive(gateway), "its gateway is dead")


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    made = Store(folder / "notify")
    yield made
    made.close()


def test_sessions_outlive_the_daemon(folder: Path, store: Store) -> None:
    first = Kept(folder, store).start()
    session = first.new(labels={"job": "7"}, profile="shop")
    other = first.new(limits={"memory_bytes": 200 << 20})

    async def prepare() -> str:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            target, page = await client.open_page()
            await client.evaluate("window.kept = 41", page)
            return target

    target = run(prepare())
    first.kill()
    with first.next() as second:
        wait_for(lambda: states(second) == ["ready", "ready"], "both are taken back")
        shown = second.show(session["id"])
        assert {n: shown[n] for n in ("pid", "labels", "owner", "number")} == {
            n: session[n] for n in ("pid", "labels", "owner", "number")
        }

        async def look() -> None:
            url = f"ws://{second.authority}/sessions/{session['id']}/devtools/browser/"
            async with connect(url + session["webSocketDebuggerUrl"].rpartition("/")[2]) as client:
                page = await client.attach(target)
                assert await client.evaluate("window.kept + 1", page) == 42

        run(look())
        busy = second.ask("POST", "/v1/sessions", {"profile": "shop"})
        assert busy.json["code"] == "profile_in_use"
        new = second.new()
        assert new["number"] > other["number"]
        uids = {psutil.Process(s["pid"]).uids().real for s in (session, other, new)}
        assert len(uids) == 3
        for each in (session, other, new):
            assert second.delete(each["id"]) == 204
        assert second.of_sessions() == []
        wait_for(lambda: not store.kept, "nothing is kept of them")
        os.kill(second.new()["pid"], 0)


def test_one_that_died_meanwhile_has_an_end(folder: Path, store: Store) -> None:
    first = Kept(folder, store).start()
    session, other = first.new(), first.new()
    first.kill()
    process = psutil.Process(session["pid"])
    process.kill()
    wait_for(lambda: not is_alive(process), "it is dead")
    with first.next() as second:
        ended = second.wait_ended(session["id"])
        assert ended["exit"]["reason"] == "crashed"
        os.kill(other["pid"], signal.SIGKILL)
        assert second.wait_ended(other["id"])["exit"]["reason"] == "crashed"


def test_a_stop_ends_those_of_an_earlier_life_too(folder: Path, store: Store) -> None:
    first = Kept(folder, store).start()
    session = first.new()
    first.kill()
    with first.next() as second:
        wait_for(lambda: states(second) == ["ready"], "it is taken back")
        process = psutil.Process(session["pid"])
        assert second.stop() == 0
        assert not is_alive(process)
        assert not store.kept


def test_two_lives_later(folder: Path, store: Store) -> None:
    first = Kept(folder, store).start()
    session = first.new()
    first.kill()
    second = first.next().start()
    wait_for(lambda: states(second) == ["ready"], "it is taken back")
    second.kill()
    with second.next() as third:
        wait_for(lambda: states(third) == ["ready"], "it is taken back again")
        assert third.show(session["id"])["pid"] == session["pid"]


def test_without_a_next_life_chromes_end_when_the_store_does(folder: Path, store: Store) -> None:
    first = Kept(folder, store).start()
    process = psutil.Process(first.new()["pid"])
    first.kill()
    assert is_alive(process)
    store.clear()
    wait_for(lambda: not is_alive(process), "its pipe is closed, and it has exited")
    with first.next():
        """It clears away the rest."""


def test_what_cannot_be_used_is_dropped(folder: Path, store: Store) -> None:
    first = Kept(folder, store).start()
    process = psutil.Process(first.new()["pid"])
    first.kill()
    for name in list(store.kept):
        if ".ledger" in name:
            store._close(name)
    with first.next() as second:
        assert states(second) == []
        wait_for(lambda: not is_alive(process), "a session that is nobody's is ended")
        wait_for(lambda: not store.kept, "it is not given to the next life as well")


def test_one_that_is_gone_is_left_with_nobody_again(folder: Path, store: Store) -> None:
    """Not even when the gateway learns late of it, and has it remembered once more."""
    with Kept(folder, store) as daemon:
        session = daemon.new()
        wait_for(lambda: store.kept, "it is kept")
        daemon.gateway.suspend()
        os.kill(session["pid"], signal.SIGKILL)
        wait_for(lambda: not store.kept, "the supervisor has seen its end")
        daemon.gateway.resume()
        assert daemon.wait_ended(session["id"])["exit"]["reason"] == "crashed"
        kept = daemon.new()
        wait_for(lambda: len(store.kept) == 6, "the next one is kept")
        assert daemon.show(kept["id"])["state"] == "ready"
        assert len({name.partition(".")[0] for name in store.kept}) == 1
