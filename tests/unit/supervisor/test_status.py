"""The daemon's status, as a manager that lags gets it."""

from __future__ import annotations

import math
import time
from typing import Any, cast

import pytest

from chromepool.supervisor.status import ServiceStatus
from chromepool.supervisor.systemd.notify import Notifier


class _Manager:
    """A notifier whose manager takes nothing while it is full."""

    watchdog_s = 0.0
    connected = True

    def __init__(self) -> None:
        self.full = True
        self.taken: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def notify(*words: str) -> bool:
            if not self.full:
                self.taken.append(name)
            return not self.full

        return notify


@pytest.fixture
def manager() -> _Manager:
    return _Manager()


@pytest.fixture
def status(manager: _Manager) -> ServiceStatus:
    return ServiceStatus(cast(Notifier, manager))


def _tick(status: ServiceStatus, now: float) -> None:
    status.tick(now, sessions=0, slots=10, gateway=True)


def test_readiness_that_is_not_taken_is_sent_again(
    manager: _Manager, status: ServiceStatus
) -> None:
    status.ready()
    assert status.due <= time.monotonic() + 1
    _tick(status, time.monotonic() + 1)
    manager.full = False
    assert "ready" not in manager.taken
    _tick(status, time.monotonic() + 2)
    assert manager.taken.count("ready") == 1
    assert status.due == math.inf
    _tick(status, time.monotonic() + 3)
    assert manager.taken.count("ready") == 1


def test_a_daemon_that_stops_is_not_ready_any_more(
    manager: _Manager, status: ServiceStatus
) -> None:
    status.ready()
    status.stopping(0)
    assert status.due == math.inf
    manager.full = False
    _tick(status, time.monotonic() + 1)
    assert "ready" not in manager.taken


def test_without_a_manager_nothing_is_due(manager: _Manager, status: ServiceStatus) -> None:
    manager.connected = False
    status.ready()
    assert status.due == math.inf
