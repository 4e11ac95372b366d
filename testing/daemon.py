"""A chromepool daemon for a test: a real one, with folders and a port of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from chromepool.supervisor.host import instance_name
from chromepool.supervisor.systemd import guardian
from testing import uids

READY = re.compile(r"chromepool is ready: ws://([^/]+)/")
DEADLINE_S = 60.0


def wait_for(
    condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S, pause_s: float = 0.01
) -> Any:
    """Return what ``condition`` returns once it is true; fail the test when it never is."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        time.sleep(pause_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(str(self._path))


@dataclasses.dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Daemon:
    """A running daemon: ``with Daemon(folder, max_sessions=3) as daemon: ...``.

    Settings are given as keyword arguments. Leaving the block stops it and asserts that nothing
    is left: no process, no control group, no profile.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.runtime_dir, self.state_dir = folder / "run", folder / "state"
        given = {"port": 0, "runtime_dir": self.runtime_dir, "state_dir": self.state_dir}
        base = uids.new_range()
        # Tests of other things create as often as they like, and see no Chrome but their own.
        given |= {"creations_per_minute": 0, "warm_sessions": 0}
        given |= {"uid_base": base, "uid_count": 64, "gateway_uid": base + 99}
        self.settings = given | settings
        self.popen: dict[str, Any] = {}
        """More for the process: an environment, descriptors."""
        self.log: list[str] = []
        self.authority = ""

    @property
    def argv(self) -> list[str]:
        flags = []
        for name, value in self.settings.items():
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(flag if value else "--no-" + flag[2:])
            else:
                flags += [flag, str(value)]
        return [sys.executable, "-m", "chromepool.cli.main", "serve", *flags]

    def start(self) -> Self:
        self.process = subprocess.Popen(
            self.argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **self.popen,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            wait_for(self._find_ready, "the daemon is ready")
        except BaseException:
            self._end_at_once()
            raise
        return self

    def _end_at_once(self) -> None:
        """Start the daemon; stop it again where the start fails, since no block is left then."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(DEADLINE_S)

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.log.extend(lines)

    def _find_ready(self) -> bool:
        for line in list(self.log):
            match = READY.search(line)
            if match:
                self.authority = match[1]
                return True
        if self.process.poll() is not None:
            self._reader.join(DEADLINE_S)  # or what it said last would be missing
            raise AssertionError(f"the daemon exited {self.process.returncode}: {self.text}")
        return False

    @property
    def text(self) -> str:
        """Return everything that the daemon has logged."""
        return "".join(self.log)

    # -- its parts --

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def gateway(self) -> psutil.Process:
        def find() -> psutil.Process | None:
            for child in psutil.Process(self.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "chromepool.gateway" in child.cmdline():
                        return child
            return None

        found: psutil.Process = wait_for(find, "a gateway runs")
        return found

    @property
    def control_socket(self) -> Path:
        return self.runtime_dir / "control.sock"

    @property
    def ws_url(self) -> str:
        """Connect-and-go."""
        return f"ws://{self.authority}/"

    @property
    def http_url(self) -> str:
        return f"http://{self.authority}"

    def chromes(self) -> list[psutil.Process]:
        """The browser process of every session that runs."""
        children = psutil.Process(self.pid).children()
        own = self.own()
        return [child for child in children if child not in own]

    def of_sessions(self) -> list[psutil.Process]:
        """Every process of every session, orphans too."""
        own = self.own()
        below = psutil.Process(self.pid).children(recursive=True)
        return [process for process in below if process not in own]

    def own(self) -> list[psutil.Process]:
        """Return the daemon's own processes beside the supervisor."""
        return [self.gateway, *self.guardians()]

    def guardians(self) -> list[psutil.Process]:
        """The process that ends what a killed supervisor leaves frozen, where one is needed."""
        children = psutil.Process(self.pid).children()
        return [child for child in children if named(child, guardian.NAME)]

    def cgroups(self) -> list[Path]:
        """Control groups of the daemon's that exist."""
        name = instance_name(str(self.state_dir))
        # os.walk: groups of others may vanish while they are looked through.
        walk = os.walk("/sys/fs/cgroup")
        return [Path(folder) / name for folder, below, _ in walk if name in below]

    def leaves(self) -> list[Path]:
        """Control groups of its sessions."""
        return [leaf for parent in self.cgroups() for leaf in parent.iterdir() if leaf.is_dir()]

    def profiles(self) -> list[Path]:
        folder = self.state_dir / "profiles"
        return list(folder.iterdir()) if folder.is_dir() else []

    # -- talking to it --

    def ask(
        self, method: str, path: str, body: object = None, *, raw: bytes | None = None
    ) -> Answer:
        """A request to the control API."""
        connection = _UnixConnection(self.control_socket)
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        return self._request(connection, method, path, data, {})

    def get(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request to the DevTools endpoint."""
        connection = http.client.HTTPConnection(self.authority, timeout=DEADLINE_S)
        return self._request(connection, method, path, None, headers or {})

    @staticmethod
    def _request(
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        with contextlib.closing(connection):
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``chromepool WORDS``, as an operator would say it."""
        argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(self.runtime_dir)]
        return subprocess.run(
            [*argv, *words], capture_output=True, text=True, timeout=120, check=False
        )

    def new(self, **body: object) -> dict[str, Any]:
        """A new session."""
        answer = self.ask("POST", "/v1/sessions", body)
        assert answer.status == 201, answer.body
        session: dict[str, Any] = answer.json
        return session

    def show(self, session_id: str) -> dict[str, Any]:
        session: dict[str, Any] = self.ask("GET", f"/v1/sessions/{session_id}").json
        return session

    def delete(self, session_id: str) -> int:
        return self.ask("DELETE", f"/v1/sessions/{session_id}").status

    def wait_ended(self, session_id: str) -> dict[str, Any]:
        """The session once nothing of it is left."""
        wait_for(lambda: self.show(session_id)["state"] == "closed", "the session is closed")
        return self.show(session_id)

    # -- ending it --

    def stop(self) -> int:
        """SIGTERM and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        descendants = _descendants(self.pid)
        try:
            code = self.stop()
        except BaseException:
            os.killpg(self.pid, signal.SIGKILL)
            raise
        if error is not None:
            sys.stderr.write(self.text)
            return
        assert code == 0, self.text
        assert self.cgroups() == []
        assert self.profiles() == []
        assert [process for process in descendants if process.is_running()] == []


Misbehaving = Callable[..., Daemon]
"""Makes a daemon whose Chrome has the given faults; see the fixture ``misbehaving``."""


def named(process: psutil.Process, name: str) -> bool:
    """Report whether a process has this name; the kernel keeps fifteen bytes of it (prctl(2))."""
    try:
        return process.name()[:15] == name[:15]
    except psutil.NoSuchProcess:
        return False


def is_alive(process: psutil.Process) -> bool:
    """Report whether a process still does anything: a zombie only waits for its parent."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
