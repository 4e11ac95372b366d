"""The installed units, for tests: run by the machine's own systemd."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from testing.daemon import Daemon, wait_for

MIB = 1024 * 1024
DEADLINE_S = 180.0
"""For what may take long on an emulated machine."""
_CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")
_SCRIPT = """#!{python}
import sys
from chromepool.cli.main import main
sys.exit(main())
"""


def run(*argv: str | Path, check: bool = True) -> str:
    """A command's output, with its errors."""
    done = subprocess.run(
        [str(word) for word in argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}"
    return done.stdout


def make_command(folder: Path) -> Path:
    """A ``chromepool`` such as pipx makes: a virtual environment that finds this very code."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = [path for path in (*sys.path, os.getcwd()) if path and Path(path).is_dir()]
    (site / "found.pth").write_text("\n".join(paths))
    script = folder / "bin" / "chromepool"
    script.write_text(_SCRIPT.format(python=folder / "bin" / "python3"))
    script.chmod(0o755)
    return script


class Unit(Daemon):
    """A daemon that systemd runs."""

    def __init__(
        self, runtime_dir: Path, state_dir: Path, *, port: int = 9222, prefix: Sequence[str] = ()
    ) -> None:
        """``prefix`` goes before each call of systemctl's, to reach a user's manager."""
        super().__init__(state_dir)
        self.runtime_dir, self.state_dir = runtime_dir, state_dir
        self.authority = f"127.0.0.1:{port}"
        self._prefix = prefix

    def systemctl(self, *words: str, check: bool = True) -> str:
        user = ("--user",) if self._prefix else ()
        return self.manager("systemctl", *user, *words, check=check)

    def manager(self, *argv: str, check: bool = True) -> str:
        """A command as the one whose manager it is."""
        return run(*self._prefix, *argv, check=check).strip()

    def told(self, name: str) -> str:
        return self.systemctl("show", "--value", "--property", name, "chromepool.service")

    @property
    def pid(self) -> int:
        return int(self.told("MainPID"))

    @property
    def state(self) -> str:
        return self.told("ActiveState")

    @property
    def unit_group(self) -> Path:
        return Path("/sys/fs/cgroup") / self.told("ControlGroup").lstrip("/")

    def stop_unit(self) -> None:
        """Stop the service, and assert that nothing is left."""
        group, processes = self.unit_group, self.everything()
        self.systemctl("stop", "chromepool.socket", "chromepool.service")
        assert self.state == "inactive"
        assert self.told("Result") == "success"
        assert [process for process in processes if process.is_running()] == []
        assert not group.exists()
        assert self.cgroups() == []
        assert self.profiles() == []

    def everything(self) -> list[psutil.Process]:
        """Every process of the unit."""
        found = []
        for folder, _, _ in os.walk(self.unit_group):
            for pid in (Path(folder) / "cgroup.procs").read_text().split():
                found.append(psutil.Process(int(pid)))
        return found

    def start_anew(self) -> None:
        """Both sockets open and the service not started."""
        self.systemctl("stop", "chromepool.service")
        self.systemctl("reset-failed", check=False)
        self.systemctl("start", "chromepool.socket")
        assert self.state == "inactive"

    @contextlib.contextmanager
    def changed(self, line: str) -> Iterator[None]:
        """The system's unit with another line in [Service]; a running one is started anew."""
        drop_in = Path("/run/systemd/system/chromepool.service.d/test.conf")
        drop_in.parent.mkdir(parents=True, exist_ok=True)
        drop_in.write_text(f"[Service]\n{line}\n")
        self.systemctl("daemon-reload")
        self.systemctl("restart", "chromepool.service")
        try:
            yield
        finally:
            drop_in.unlink()
            self.systemctl("daemon-reload")
            self.systemctl("reset-failed", "chromepool.service", check=False)

    def kill_daemon(self) -> None:
        """SIGKILL to the supervisor; returns when the next one is ready."""
        before = self.pid
        os.kill(before, signal.SIGKILL)
        self.wait_for_another(before)

    def wait_for_another(self, before: int) -> None:
        """Return when another daemon than ``before`` is ready."""
        wait_for(
            lambda: self.pid not in (0, before) and self.state == "active",
            "the next daemon is ready",
            DEADLINE_S,
            0.2,
        )


def lacks() -> str:
    """Return why no unit can be installed and run here; "" where one can."""
    if os.geteuid() != 0:
        return "needs root"
    if Path("/proc/1/comm").read_text().strip() != "systemd":
        return "systemd is not PID 1"
    if not _CONTROLLERS.exists() or "memory" not in _CONTROLLERS.read_text().split():
        return "/sys/fs/cgroup is not cgroup v2 with the memory controller"
    return ""


def leaf_of(session: dict[str, Any]) -> Path:
    line = Path(f"/proc/{session['pid']}/cgroup").read_text().strip().splitlines()[-1]
    assert line.startswith("0::")
    return Path("/sys/fs/cgroup") / line[3:].lstrip("/")
