"""A Chrome of which some ignore SIGTERM and ``Browser.close``, beside real ones."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PROGRAM = """#!/usr/bin/python3
import os, sys
from pathlib import Path

HERE = Path(__file__).parent
for mark in (HERE / "marks").iterdir():
    try:
        mark.unlink()
    except FileNotFoundError:
        continue
    os.execv(HERE / "fake", sys.argv)
os.execv({chrome!r}, sys.argv)
"""


@contextlib.contextmanager
def stubborn_chrome(chrome: str, stubborn: int) -> Iterator[Path]:
    """A program whose first ``stubborn`` runs are a Chrome that only SIGKILL ends, and whose others
    are ``chrome``. It lies where every uid can run it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="chromepool-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        program, fake, marks = (folder / n for n in ("headless-chrome", "fake", "marks"))
        program.write_text(_PROGRAM.format(chrome=chrome))
        shutil.copy(Path(__file__).parent / "misbehaving_chrome.py", fake)
        (folder / "faults").write_text("ignore-close ignore-term")
        for file in (program, fake):
            file.chmod(0o755)
        marks.mkdir()
        marks.chmod(0o777)
        for number in range(stubborn):
            (marks / str(number)).touch()
        yield program
