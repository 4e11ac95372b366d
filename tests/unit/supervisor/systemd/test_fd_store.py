"""The store of descriptors: what is said to the manager, and what is found again."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest

from chromepool.model import Limits
from chromepool.supervisor.chrome.process import ChromeProcess
from chromepool.supervisor.systemd.fd_store import FdStore, find
from chromepool.supervisor.systemd.notify import Notifier
from testing.manager import Manager

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without control groups nothing is kept")


def test_what_the_manager_is_behind_with_is_said_later_and_in_order(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": manager.sock.getsockname()})
    fd_store = FdStore(notifier, enabled=True)
    child = _child()
    said = 0
    while notifier.ping():
        said += 1
    fd_store.put(child)
    child.keep_snapshot(os.open(os.devnull, os.O_RDONLY))
    fd_store.put(child)
    now = fd_store.due
    assert now < time.monotonic() + 60, "it wants to be called again"
    for _ in range(said):
        manager.hear()
    fd_store.tick(now)
    expected = [*("commands", "events", "process", "stderr", "ledger1", "record1", "record2")]
    heard = [manager.hear() for _ in range(7)]
    assert [words["FDNAME"] for words, _ in heard] == [f"s1.{part}" for part in expected]
    assert [len(fds) for _, fds in heard] == [1] * 7
    words, _ = manager.hear()
    assert (words["FDNAME"], "FDSTOREREMOVE" in words) == ("s1.record1", True)
    assert fd_store.due == math.inf
    for fd in (fd for _, fds in heard for fd in fds):
        os.close(fd)
    child.release_fds()
    os.close(child.stderr)
    notifier.close()
    manager.sock.close()


def _child() -> ChromeProcess:
    commands, events, stderr, record, process = (os.open(os.devnull, os.O_RDONLY) for _ in range(5))
    leaf: Any = None
    return ChromeProcess(
        1,
        "s1",
        Limits(1, 2, 3, 4.0, 5, 6),
        leaf,
        Path("/p"),
        None,
        stderr,
        pipe=(commands, events),
        snapshot_fd=record,
        pidfd=process,
    )


def test_find_closes_what_makes_no_session() -> None:
    limits = Limits(1, 2, 3, 4.0, 5, 6)
    body = {"key": 1, "name": "s1", "pid": 2, "uid": None, "kept": "", "profile": "/p"}

    def meta(text: str) -> int:
        fd = os.memfd_create("ledger")
        os.write(fd, text.encode())
        return fd

    def null() -> int:
        return os.open(os.devnull, os.O_RDONLY)

    whole = json.dumps(body | {"limits": {n: getattr(limits, n) for n in limits.__slots__}})
    for text, found in ((whole, 1), ("{}", 0), ("[", 0), ("[]", 0), (json.dumps(body), 0)):
        passed = {f"s1.{part}": [null()] for part in ("commands", "events", "stderr", "process")}
        passed |= {"s1.ledger2": [meta(text)], "s1.record3": [null()], "s1.record4": [null()]}
        passed |= {"s2.commands": [null()], "devtools": [null()]}
        fds = [fd for fds in passed.values() for fd in fds]
        stored_sessions, useless = find(passed, wanted=True)
        assert len(stored_sessions) == found
        assert ("s2.commands" in useless, "devtools" in useless) == (True, False)
        if stored_sessions:
            assert stored_sessions[0].versions == {"ledger": 2, "record": 4}
            assert stored_sessions[0].meta.limits == limits
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
