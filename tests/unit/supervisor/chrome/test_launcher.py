"""Limits that a gateway asks for are checked by the supervisor."""

from __future__ import annotations

import dataclasses

import pytest

from chromepool.config import Settings
from chromepool.errors import StartFailed
from chromepool.model import Limits
from chromepool.supervisor.chrome.launcher import check_limits


def test_limits_beyond_the_settings_are_refused() -> None:
    settings = Settings(session_limits=Limits(cpu_cores=2.0))
    most = settings.session_limits
    check_limits(most, settings)
    for name, value in dataclasses.asdict(most).items():
        for beyond in (value + 1, -1):
            with pytest.raises(StartFailed, match=name):
                check_limits(dataclasses.replace(most, **{name: beyond}), settings)
    endless = dataclasses.replace(most, cpu_cores=1000.0)
    check_limits(endless, Settings())
