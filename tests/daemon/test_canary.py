"""The canary, on demand and on a schedule, with real Chrome."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from testing.daemon import Daemon, Misbehaving, wait_for


def _fly(runtime_dir: Path) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(runtime_dir)]
    done = subprocess.run(
        [*argv, "canary", "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_a_canary_comes_back_and_leaves_nothing(shared_daemon: Daemon) -> None:
    code, flight = _fly(shared_daemon.runtime_dir)
    assert (code, flight["ok"], flight["error"]) == (0, True, "")
    assert list(flight["steps_s"]) == ["create", "connect", "load", "evaluate", "delete"]
    assert shared_daemon.ask("GET", "/v1/sessions").json == {"sessions": []}
    ended = shared_daemon.ask("GET", "/v1/sessions?all=1").json["sessions"][-1]
    assert ended["labels"] == {"chromepool": "canary"}


def test_one_that_does_not_tells_how_far_it_got(tmp_path: Path, misbehaving: Misbehaving) -> None:
    code, flight = _fly(tmp_path)
    assert (code, flight["ok"], flight["step"]) == (1, False, "create")
    assert "No daemon answers" in flight["error"]
    with misbehaving("die-at-start", start_attempts=1) as daemon:
        code, flight = _fly(daemon.runtime_dir)
        assert (code, flight["step"], flight["steps_s"]) == (1, "create", {})
        assert "I die" in flight["error"]


def test_on_a_schedule(folder: Path) -> None:
    with Daemon(folder, canary_interval_s=0.5) as daemon:

        def canaries() -> list[dict[str, Any]]:
            sessions = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
            return [s for s in sessions if s["labels"].get("chromepool") == "canary"]

        wait_for(lambda: len([s for s in canaries() if s["exit"]]) >= 2, "two have flown")
        assert {s["exit"]["reason"] for s in canaries() if s["exit"]} == {"deleted"}

        def counted() -> dict[str, int]:
            counts: dict[str, int] = daemon.ask("GET", "/v1/status").json["canaries"]
            return counts

        wait_for(lambda: counted()["passed"] >= 2, "both are counted")
        assert counted()["failed"] == 0


def test_on_a_schedule_it_has_a_token_where_one_is_needed(folder: Path) -> None:
    keys = folder / "tokens"
    keys.touch(mode=0o640)
    keys.write_text("somebody 0123456789abcdef0123456789abcdef\n")
    given = {"tokens_file": keys, "require_token": True}
    with Daemon(folder, canary_interval_s=0.5, **given) as daemon:

        def counted() -> dict[str, int]:
            counts: dict[str, int] = daemon.ask("GET", "/v1/status").json["canaries"]
            return counts

        wait_for(lambda: sum(counted().values()) >= 2, "two have flown")
        assert counted()["failed"] == 0, daemon.text


def test_one_that_fails_is_counted_logged_and_an_alert(
    folder: Path, misbehaving: Misbehaving
) -> None:
    given = {"canary_interval_s": 0.5, "start_attempts": 1, "state_dir": folder / "kept"}
    with misbehaving("die-at-start", **given) as daemon:

        def alerts() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = daemon.ask("GET", "/v1/status").json["alerts"]
            return [alert for alert in found if alert["name"] == "canary_failed"]

        (alert,) = wait_for(alerts, "it is an alert")
        assert "create: " in alert["text"]
        page = daemon.ask("GET", "/metrics").body.decode()
        assert 'chromepool_alert_raised{alert="canary_failed"} 1.0' in page
        counted = re.search(r'chromepool_canaries_total\{result="failed"\} (\S+)', page)
        assert counted is not None
        assert float(counted[1]) >= 1
        assert '"event": "canary.failed", "step": "create"' in daemon.text
