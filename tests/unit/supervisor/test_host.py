"""What the daemon checks of its machine before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECK = """
import sys
from chromepool.config import Settings
from chromepool.supervisor.host import check_profiles
print(check_profiles(Settings(state_dir=sys.argv[1])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="groups are root's to change")
@pytest.mark.parametrize(("mode", "said"), [(0o711, ""), (0o710, "Permission denied")])
def test_what_only_root_s_group_may_pass_is_seen(folder: Path, mode: int, said: str) -> None:
    """A session has no group but its own, whatever groups the daemon is in."""
    state = folder / "state"
    (state / "profiles").mkdir(parents=True)
    state.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, state],
        extra_groups=[0],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().rpartition(": ")[2] == said, done.stdout
