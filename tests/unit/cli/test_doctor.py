"""``chromepool doctor``: every finding has a verdict, and a remedy where it is bad."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def _chromepool(runtime_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(runtime_dir), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_doctor_checks_everything_and_has_remedies(tmp_path: Path) -> None:
    done = _chromepool(tmp_path, "doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert findings.keys() == {
        "Chrome",
        "sandbox",
        "control groups",
        "isolation",
        "/dev/shm",
        "open files",
        "memory",
    }
    assert findings["Chrome"]["verdict"] == "ok"
    for finding in findings.values():
        assert finding["verdict"] == "ok" or finding["remedy"]
    failed = any(finding["verdict"] == "fail" for finding in findings.values())
    assert done.returncode == int(failed)


def test_doctor_fails_without_a_chrome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMEPOOL_CHROME", "/nonexistent/chrome")
    done = _chromepool(tmp_path, "doctor")
    assert done.returncode == 1
    assert "apt-get install chromium-headless-shell" in done.stdout
