"""The limit that follows the load, as a real daemon tells it."""

from __future__ import annotations

from typing import Any

from testing.daemon import Misbehaving, wait_for


def test_a_daemon_tells_how_many_it_admits(misbehaving: Misbehaving) -> None:
    with misbehaving(
        max_sessions=5, dynamic_limits=True, dynamic_floor=2, session_need_bytes=1 << 50
    ) as daemon:

        def places() -> dict[str, Any]:
            found: dict[str, Any] = daemon.ask("GET", "/v1/status").json["sessions"]
            return found

        wait_for(lambda: places()["admitted"] == 2, "the limit has fallen to its floor")
        assert places()["max"] == 5
        assert places()["why"].endswith("of memory are left")
        assert daemon.ask("POST", "/v1/sessions").json["code"] == "insufficient_memory"


def test_a_daemon_with_fixed_limits_says_nothing_of_it(misbehaving: Misbehaving) -> None:
    with misbehaving(max_sessions=5) as daemon:
        assert daemon.ask("GET", "/v1/status").json["sessions"] == {"now": 0, "max": 5}
