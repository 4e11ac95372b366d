"""The event loop's lag is measured."""

from __future__ import annotations

import asyncio

from chromepool.gateway.monitor.lag import Lag
from testing.cdp import run


def test_lag_is_measured() -> None:
    async def main() -> None:
        lag = Lag()
        task = asyncio.create_task(lag.watch())
        async with asyncio.timeout(60):
            while lag.durations.count < 1:
                await asyncio.sleep(0.01)
        task.cancel()
        assert 0 <= lag.durations.total_s < 5

    run(main())
