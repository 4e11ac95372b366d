"""``/json/protocol``: the description of the protocol that this very Chrome speaks, which it serves
over HTTP only, never over the pipe. At the first request a Chrome without a session is started with
a port, asked, and ended; its answer is kept until the gateway ends."""

import asyncio
import dataclasses
import re
from collections.abc import Callable

import aiohttp

from chromepool import wire
from chromepool.errors import BrowserGone, StartFailed
from chromepool.gateway.runtime import Runtime
from chromepool.model import ChromeOptions

_LISTENING = re.compile(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/")
_TIMEOUT_S = 20.0
_POLL_S = 0.05


@dataclasses.dataclass(eq=False)
class ProtocolReader:
    """Reads the description once, and answers from memory afterwards."""

    runtime: Runtime
    next_key: Callable[[], int]
    """Returns a number on the wire that no session has."""
    _reading: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        """The description as JSON. Raises :class:`StartFailed`."""
        task = self._reading
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(task)  # others wait for it too

    async def _read(self) -> bytes:
        supervisor = self.runtime.supervisor
        settings = self.runtime.settings
        key = self.next_key()
        limits = settings.session_limits
        spawned = await supervisor.spawn(key, limits, ChromeOptions(), protocol_port=True)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                url = f"http://127.0.0.1:{await self._port(key)}/json/protocol"
                async with aiohttp.ClientSession() as http, http.get(url) as answer:
                    return await answer.read()
        except (TimeoutError, aiohttp.ClientError, BrowserGone) as error:
            raise StartFailed(f"Chrome did not give out its protocol: {error!r}.") from error
        finally:
            spawned.close()
            supervisor.send(wire.Stop(key, settings.term_timeout_s))

    async def _port(self, key: int) -> str:
        while True:
            words = (await self.runtime.supervisor.inspect(key)).stderr
            if match := _LISTENING.search(words):
                return match[1]
            await asyncio.sleep(_POLL_S)
