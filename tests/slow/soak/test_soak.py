"""A hundred sessions of every kind, and nothing is left of them; ``make soak`` has thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak import broken, soak

SESSIONS = 102


@pytest.mark.timeout(600)
def test_nothing_is_left_of_sessions_of_every_kind(tmp_path: Path) -> None:
    """No descriptor, task, thread, control group, profile, mount, file, process or zombie; and the
    last tenth takes hardly more memory than the second."""
    tmp_path.chmod(0o755)
    report = soak(tmp_path, SESSIONS)
    assert broken(report) == []
    assert report["sessions"] == SESSIONS
    assert {"deleted", "client_closed", "crashed", "idle_timeout"} <= set(report["ended"])
