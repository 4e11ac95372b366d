"""Runs the other tests of this folder on a machine that has what it needs.

``CHROMEPOOL_SYSTEM_RUNNER`` names a program that runs a command on such a machine:
``RUNNER --share FOLDER --timeout S -- COMMAND...``, FOLDER being the working directory there. Users
of that machine must be able to read it. Where one is missing the test is skipped, or fails with
``CHROMEPOOL_SYSTEM_TESTS=1``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from testing import ROOT

RUNNER = os.environ.get("CHROMEPOOL_SYSTEM_RUNNER", "")
_TIMEOUT_S = 900
_COMMAND = (
    "PYTHONPATH=$PWD/packages:$PWD PYTHONDONTWRITEBYTECODE=1 "
    "/usr/bin/python3 -m pytest -p no:cacheprovider -ra -q --timeout=400 "
    "tests/slow/systemd --ignore=tests/slow/systemd/test_system.py"
)


def _lacks(runner: str) -> str:
    """Why nothing can be run on such a machine from here; "" where it can."""
    if not runner:
        return "CHROMEPOOL_SYSTEM_RUNNER names no runner"
    if not os.access(runner, os.X_OK):
        return f"{runner} cannot be run"
    if sys.version_info[:2] != (3, 11):
        return "the runner's Python is 3.11"
    return ""


def _need(runner: str) -> None:
    why = _lacks(runner)
    if why:
        (pytest.fail if os.environ.get("CHROMEPOOL_SYSTEM_TESTS") == "1" else pytest.skip)(why)


@pytest.mark.parametrize(
    ("must", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_what_is_missing_fails_only_where_they_must_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, must: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CHROMEPOOL_SYSTEM_TESTS", must)
    (tmp_path / "runner").touch(mode=0o600)
    with pytest.raises(outcome, match="names no runner"):
        _need("")
    with pytest.raises(outcome, match="cannot be run"):
        _need(str(tmp_path / "runner"))


@pytest.mark.timeout(2 * _TIMEOUT_S)
def test_on_a_machine_with_systemd_and_cgroup_v2(folder: Path) -> None:
    _need(RUNNER)
    shutil.copytree(sysconfig.get_path("purelib"), folder / "packages", symlinks=True)
    for name in ("chromepool", "testing", "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    command = [RUNNER, "--mem", "3072", "--timeout", str(_TIMEOUT_S), "--share", str(folder)]
    try:
        done = subprocess.run(
            [*command, "--", "bash", "-c", _COMMAND],
            capture_output=True,
            text=True,
            timeout=2 * _TIMEOUT_S,
            check=False,
        )
    finally:
        shutil.rmtree(folder / "packages")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout, done.stdout[-2000:]
