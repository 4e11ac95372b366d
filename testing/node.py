"""Scripts for Node.js, beside the clients that are installed in ``tests/clients``."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from testing import ROOT

SCRIPTS = ROOT / "tests/clients"
SCRIPT_DEADLINE_S = 120.0


def script(*argv: str, node: str = "node") -> Any:
    """Return what a script prints as JSON; fail the test with the script's words when it fails.

    ``argv`` is a file there and its arguments, or what :func:`inline` makes of a text.
    """
    done = subprocess.run(
        [node, *argv],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=SCRIPT_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def inline(text: str, *arguments: object) -> list[str]:
    """The ``argv`` of a module that is no file: its arguments are in ``process.argv`` from 1 on."""
    return ["--input-type=module", "-e", text, "--", *map(str, arguments)]
