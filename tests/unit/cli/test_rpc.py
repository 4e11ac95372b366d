"""Commands that find no daemon say how to start one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def _chromepool(runtime_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(runtime_dir), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_no_daemon_says_how_to_start_one(tmp_path: Path) -> None:
    done = _chromepool(tmp_path, "ls")
    assert done.returncode == 1
    assert "chromepool serve" in done.stderr
