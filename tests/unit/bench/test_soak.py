"""What the soak test calls a broken bound."""

from __future__ import annotations

import pytest

from bench.soak import broken


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
