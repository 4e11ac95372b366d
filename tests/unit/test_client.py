"""The Python client where there is no daemon, and what the package offers."""

from __future__ import annotations

from pathlib import Path

import pytest

import chromepool
from chromepool.errors import DaemonUnreachable
from testing.cdp import run


def test_no_daemon_is_told_as_that(tmp_path: Path) -> None:
    async def ask(address: str) -> None:
        async with chromepool.Client(address) as client:
            await client.status()

    for address in (str(tmp_path / "none.sock"), "http://127.0.0.1:1"):
        with pytest.raises(DaemonUnreachable, match="No daemon answers"):
            run(ask(address))


def test_the_package_offers_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = chromepool.Sesion
