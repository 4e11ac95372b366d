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
    ledger = soak(tmp_path, SESSIONS)
    assert broken(ledger) == []
    assert ledger["sessions"] == SESSIONS
    assert {"deleted", "client_closed", "crashed", "idle_timeout"} <= set(ledger["ended"])


@pytest.mark.parametrize(
    ("sessions", "growth", "found"),
    [
        (102, 1.15, []),
        (102, 1.16, ["gateway_rss_growth is 1.16, over 1.15"]),
        (2000, 1.1, []),
        (2000, 1.11, ["gateway_rss_growth is 1.11, over 1.1"]),
        (102, 0.0, ["gateway_rss_growth is 0.0, over 1.15"]),  # no sample was taken
    ],
)
def test_memory_that_grows_breaks_a_bound(sessions: int, growth: float, found: list[str]) -> None:
    kept = {"left_over": {}, "gateway_restarted": False, "errors": []}
    growths = {"gateway_rss_growth": growth, "supervisor_rss_growth": 1.0}
    assert broken({"sessions": sessions, **kept, **growths}) == found
