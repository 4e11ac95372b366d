"""The daemon that chaos is let loose on: its time of day can jump, its disk is a small one."""

from __future__ import annotations

import contextlib
import mmap
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from testing.daemon import Daemon

_DISK = "192m"
_BLOCK = 1 << 20
_FILES = 256
"""Descriptors that each of the daemon's processes may have."""
_SETTINGS: dict[str, object] = {
    "warm_sessions": 1,
    "pool_memory_bytes": "4GiB",
    "session_memory_bytes": "256MiB",
    "session_pids": 200,
    "session_files": _FILES,
    "client_buffer_bytes": "4MiB",
    "health_interval_s": 0.5,
    "heartbeat_timeout_s": 2,
    "close_timeout_s": 1,
    "term_timeout_s": 1,
    "breaker_pause_s": 1,
}


class ChaoticDaemon(Daemon):
    """Leaving its block asserts that nothing is left, like any :class:`Daemon`."""

    def __init__(self, folder: Path, sessions: int, health_timeout_s: float) -> None:
        given = _SETTINGS | {"max_sessions": sessions, "health_timeout_s": health_timeout_s}
        # A uid that leaks is missed soon.
        super().__init__(folder, **given, uid_count=sessions + 4)
        self.clock = _Clock(folder)

    @property
    def argv(self) -> list[str]:
        limited = ["prlimit", f"--nofile={_FILES}:{_FILES}"]
        return [*limited, "env", *self.clock.environment, *super().argv]

    @property
    def uids(self) -> range:
        base, count = (int(str(self.settings[name])) for name in ("uid_base", "uid_count"))
        return range(base, base + count)

    def start(self) -> Self:
        self.state_dir.mkdir(mode=0o755)
        options = ["-o", f"size={_DISK},mode=755"]
        subprocess.run(["mount", "-t", "tmpfs", *options, "chaos", self.state_dir], check=True)
        return super().start()

    def stop(self) -> int:
        try:
            return super().stop()
        finally:
            if self.state_dir.is_mount() and self.process.poll() is not None:
                assert self.profiles() == []
                subprocess.run(["umount", self.state_dir], check=True)
            self.clock.close()

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """There is no byte free where profiles and the journal are."""
        filler = self.state_dir / "filler"
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(b"x" * _BLOCK):
                    """Until there is no space left."""
            yield
        finally:
            filler.unlink(missing_ok=True)


@contextlib.contextmanager
def few_descriptors(pid: int, spare: int) -> Iterator[None]:
    """A process of the caller's uid may open no more than a few files beside those it has."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # The limit is for the highest number, not for how many there are.
    highest = max(int(name.name) for name in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + spare, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


class _Clock:
    """The daemon's time of day, so many seconds off. The machine's is never touched."""

    def __init__(self, folder: Path) -> None:
        self._library, file = folder / "clock.so", folder / "clock"
        source = Path(__file__).parent / "clock.c"
        build = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source)]
        subprocess.run(build, check=True)
        file.write_bytes(bytes(8))
        file.chmod(0o644)
        self._file = file
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), 8)
        # The supervisor gives its gateway no LD_PRELOAD, so it is given another program to start.
        gateway = folder / "python"
        gateway.write_text(f'#!/bin/sh\n{" ".join(self._preloaded)} exec {sys.executable} "$@"\n')
        gateway.chmod(0o755)
        (folder / "sitecustomize.py").write_text(
            "import os, sys\n"
            f"if 'CHAOS_SUPERVISOR' in os.environ: sys.executable = {str(gateway)!r}\n"
        )
        self._folder = folder

    @property
    def _preloaded(self) -> list[str]:
        return [f"LD_PRELOAD={self._library}", f"CHAOS_CLOCK={self._file}"]

    @property
    def environment(self) -> list[str]:
        """For the supervisor."""
        return [*self._preloaded, "CHAOS_SUPERVISOR=1", f"PYTHONPATH={self._folder}"]

    @contextlib.contextmanager
    def jumped(self, seconds: int) -> Iterator[None]:
        """Make the time so much later, or earlier, within this block."""
        self._page[:] = struct.pack("q", seconds)
        try:
            yield
        finally:
            self._page[:] = bytes(8)

    def close(self) -> None:
        """May be called twice."""
        self._page.close()
