"""Daemons that tests share, one for each set of settings that is asked for."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from testing.daemon import Daemon, wait_for
from testing.leak_check import open_files

Daemons = Callable[..., Daemon]
"""Gives the shared daemon with these settings; see the fixture ``daemons``."""


class DaemonPool:
    """Starts a daemon when its settings are asked for first, and stops all of them in the end.

    A test that stops a daemon, kills its gateway or changes it in any other way must have one of
    its own; :meth:`check` fails such a test.
    """

    def __init__(self) -> None:
        self._daemons: dict[str, Daemon] = {}
        self._gateways: dict[str, psutil.Process] = {}
        self._read: dict[str, int] = {}
        self._used: set[str] = set()
        self.files: set[str] = set()
        """Descriptors of this process that its daemons need."""

    def get(self, settings: dict[str, object]) -> Daemon:
        """The daemon with these settings."""
        key = repr(sorted(settings.items()))
        if key not in self._daemons:
            self._start(key, settings)
        self._used.add(key)
        return self._daemons[key]

    def _start(self, key: str, settings: dict[str, object]) -> None:
        # Every user can get to it there, as to /run; pytest's own folders are closed.
        folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="chromepool-test-"))
        folder.chmod(0o755)
        before = open_files()
        self._daemons[key] = Daemon(folder, **settings).start()
        self.files |= open_files() - before
        self._gateways[key] = self._daemons[key].gateway
        self._read[key] = 0

    def processes(self) -> set[psutil.Process]:
        """Every process that belongs to its daemons."""
        found = set()
        for daemon in self._daemons.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(daemon.pid)
                found |= {process, *process.children(recursive=True)}
        return found

    def check(self) -> None:
        """End the sessions that a test left, and fail it when it did a daemon harm."""
        used, self._used = self._used, set()
        for key in used:
            daemon = self._daemons[key]
            sys.stderr.write("".join(daemon.log[self._read[key] :]))  # seen when the test failed
            self._read[key] = len(daemon.log)
            try:
                self._clear(daemon, self._gateways[key])
            except BaseException:
                self._stop(key)
                raise

    @staticmethod
    def _clear(daemon: Daemon, gateway: psutil.Process) -> None:
        assert daemon.process.poll() is None, "the test ended a daemon that others share"
        assert daemon.gateway == gateway, "the test replaced the gateway of a shared daemon"
        warm = int(str(daemon.settings.get("warm_sessions", 0)))
        for session in daemon.ask("GET", "/v1/sessions").json["sessions"]:
            daemon.delete(session["id"])
        wait_for(lambda: len(daemon.chromes()) <= warm, "every session of the test is gone")

    def _stop(self, key: str) -> None:
        daemon = self._daemons.pop(key)
        try:
            daemon.__exit__(None, None, None)
        finally:
            shutil.rmtree(daemon.folder, ignore_errors=True)

    def close(self) -> None:
        """Stop all daemons; what one of them leaves behind is an error, as it is with any."""
        with contextlib.ExitStack() as stack:
            for key in list(self._daemons):
                stack.callback(self._stop, key)
