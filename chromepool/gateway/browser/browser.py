"""A running Chrome: the daemon's own commands to it, and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import operator
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer
from chromepool.gateway.browser import popups
from chromepool.gateway.browser.pipe import Pipe
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.mux import Mux, OnAnswer, Port
from chromepool.gateway.cdp.paused_targets import PausedTargets
from chromepool.gateway.histogram import CdpLatency
from chromepool.gateway.log import get_logger
from chromepool.model import Reason

log = get_logger("chromepool.gateway.browser")


_ANSWER_S = 30.0
_RELEASE_S = 2.0
"""Time to resume a page that an earlier client had paused; a page that hangs delays nobody."""
_CRASHES = 100
"""Crashed tabs that are recorded for a session at most."""


@dataclasses.dataclass(slots=True)
class Traffic:
    """Messages and bytes between clients and Chrome."""

    messages_in: int = 0
    """Commands of clients."""
    messages_out: int = 0
    """Answers and events from Chrome, including those for the daemon itself."""
    bytes_in: int = 0
    bytes_out: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))


@dataclasses.dataclass(slots=True)
class Crash:
    """A tab that crashed while its session went on."""

    target_id: str
    status: str
    """Chrome's own word: ``crashed``, ``killed``, ``oom`` and others."""
    reason: Reason = Reason.CRASHED


class Client(Port, Protocol):
    """A mux port with a connection that can be flushed, held back and closed."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the client has not read yet."""

    def flush(self) -> None:
        """Send what was delivered."""

    def hold(self, held: bool) -> None:
        """Stop reading from the client while Chrome is behind, or read again."""

    def session_ended(self, reason: Reason, detail: str) -> None:
        """Close the connection: the session has begun to end."""

    def gateway_replaced(self) -> None:
        """Close the connection: the client may connect again, to the next gateway."""


class Browser:
    """A running Chrome behind its pipe: commands of the daemon, and clients that share it."""

    def __init__(
        self,
        commands: int,
        events: int,
        *,
        on_end: Callable[[str], None],
        on_crash: Callable[[Crash], None],
        on_download: Callable[[dict[str, Any]], None],
        latency: CdpLatency,
        earlier: Traffic | None,
        session: int,
    ) -> None:
        """Take over both descriptors of Chrome's pipe.

        ``on_end`` is that of :class:`Pipe`, ``on_download`` gets ``Browser.download...`` events,
        ``earlier`` is the traffic under earlier gateways, None without any, see :meth:`take_over`;
        ``session`` is the number for the log.
        """
        self.log = log.bind(session=session)
        self._on_end = on_end
        self._on_crash = on_crash
        self._on_download = on_download
        self._latency = latency
        self._mux = Mux(self._on_event)
        self._waiting: set[asyncio.Future[cdp.Incoming]] = set()
        self._unflushed: list[Client] = []
        self._pipe = Pipe(
            commands,
            events,
            self._on_message,
            self._on_pipe_end,
            self._on_pressure,
            on_pause=self._flush_read,
            adopted=earlier is not None,
        )
        self._gone = "The session's Chrome is gone."
        self.base = ""
        """The CDP session below which everything is attached, or was under the earlier gateway."""
        self.clients: list[Client] = []
        self._full: set[Client] = set()
        self._traffic = earlier or Traffic()
        self.crashes: list[Crash] = []
        self.pages: list[str] = []
        """Target ids of the pages, the newest last."""
        self.version: dict[str, Any] = {}
        """Chrome's answer to the first ``Browser.getVersion``."""
        self.asked_to_close = False
        """True if a client has sent ``Browser.close``."""

    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> dict[str, Any]:
        """Send a command and return its result; ``session`` is a CDP session of the daemon. Raises
        :class:`CommandFailed`, :class:`BrowserGone`, and after ``timeout_s`` :class:`NoAnswer`:
        Chrome hangs, or waits for its only client to read."""

        def command(on_answer: OnAnswer) -> bytes:
            return self._mux.command(method, params or {}, on_answer, session)

        return await self._ask(method, command, timeout_s)

    @property
    def traffic(self) -> Traffic:
        """Messages and bytes so far, earlier gateways included."""
        return self._traffic + Traffic(0, self._pipe.read_messages, 0, self._pipe.read_bytes)

    @property
    def paused_targets(self) -> PausedTargets:
        """Targets that clients, the daemon's own included, hold paused."""
        return self._mux.paused_targets

    @property
    def backlog_bytes(self) -> int:
        """Bytes that Chrome has not taken yet."""
        return self._pipe.backlog_bytes

    async def begin(self, timeout_s: float = _ANSWER_S) -> None:
        """Attach the session that all clients are below. Raises like :meth:`call`."""
        answer = await self.call("Target.attachToBrowserTarget", timeout_s=timeout_s)
        self._mux.base = self.base = str(answer["sessionId"])

    async def take_over(self, base: str) -> None:
        """Detach everything that an earlier gateway attached below ``base``, with its settings
        there (interceptions, emulation), and resume paused targets. Raises like :meth:`call`."""
        self.base = base
        # The earlier gateway may have died in the middle of a message. One NUL ends it, and Chrome
        # answers at least with an error without an id, so that there is always one to drop.
        self._pipe.write(b"\0")
        if base:
            with contextlib.suppress(CommandFailed):  # the earlier gateway had detached it
                await self.call("Target.detachFromTarget", {"sessionId": base})
        targets = (await self.call("Target.getTargets", {"filter": [{}]}))["targetInfos"]
        self.pages = [info["targetId"] for info in targets if info["type"] == "page"]
        await asyncio.gather(
            *(self._release(info["targetId"]) for info in targets if info["type"] != "browser")
        )

    async def _release(self, target: str) -> None:
        """Resume a target: Chrome leaves a popup paused whose client vanished (measured)."""
        with contextlib.suppress(CommandFailed, NoAnswer):
            async with self.page(target) as session:
                run = "Runtime.runIfWaitingForDebugger"
                await self.call(run, session=session, timeout_s=_RELEASE_S)

    @contextlib.asynccontextmanager
    async def page(self, target: str) -> AsyncIterator[str]:
        """Attach to a page for the block: a session for :meth:`call`. Raises like it."""
        params = {"targetId": target, "flatten": True}
        base = self._mux.base
        session = str((await self.call("Target.attachToTarget", params, session=base))["sessionId"])
        try:
            yield session
        finally:
            with contextlib.suppress(CommandFailed, BrowserGone, NoAnswer):  # the page is gone
                await self.call("Target.detachFromTarget", {"sessionId": session}, session=base)

    @property
    def paused(self) -> bool:
        """True if Chrome has to wait for a client that does not read."""
        return self._pipe.paused

    @property
    def pressed(self) -> bool:
        """True if Chrome is far behind in reading, so that clients are held back."""
        return self._pipe.pressed

    async def attach(self, client: Client, target: str | None) -> None:
        """Attach a client to the browser, or to a target, as its root session."""
        self.clients.append(client)
        try:
            await self.join(client, target)
        except BaseException:
            self.detach(client)
            raise

    async def join(self, port: Port, target: str | None) -> None:
        """Attach a port without counting it among the clients."""
        command = partial(self._mux.attach, port, target)
        late = partial(self._leave, port)  # the client hung up while Chrome was attaching it
        await self._ask("Target.attachToTarget", command, _ANSWER_S, late)

    def detach(self, client: Client) -> None:
        """End everything that a client had in Chrome. May be called twice."""
        if client in self.clients:
            self.clients.remove(client)
        self._full.discard(client)
        self._leave(client)
        self._balance()

    def _leave(self, port: Port) -> None:
        by_tab = self._mux.has_paused_tabs(port)
        command = self._mux.detach(port)
        if command is not None:
            self._pipe.write(command)
        if by_tab:
            popups.release_orphaned(self._mux, self._pipe.write)

    def speak(self, port: Port, message: bytes) -> None:
        """Send a message for one of the daemon's own ports."""
        routed = self._mux.from_client(port, message)
        if routed is not None:
            self._pipe.write(routed)

    def forward(self, client: Client, messages: list[bytes]) -> None:
        """Send a client's messages to Chrome in one write."""
        began = time.perf_counter()
        routed = [self._mux.from_client(client, message) for message in messages]
        data = b"".join(message for message in routed if message is not None)
        if data:
            self._pipe.write(data)
        self._traffic.messages_in += len(messages)
        self._traffic.bytes_in += len(data)
        self._latency.to_chrome.sample(began)
        self.flush()

    def flush_later(self, client: Client) -> None:
        """Flush a client once no more messages are at hand."""
        self._unflushed.append(client)

    def flush(self) -> None:
        """Flush clients that have messages: one write for all the messages of one read."""
        while self._unflushed:
            self._unflushed.pop().flush()

    def _flush_read(self) -> None:
        self.flush()
        self._latency.to_client.sample(self._pipe.read_at)

    def throttle(self, client: Client, *, full: bool) -> None:
        """Note that a client reads too slowly (``full``) or has caught up."""
        if full:
            self._full.add(client)
        else:
            self._full.discard(client)
        self._balance()

    def _balance(self) -> None:
        """Make Chrome wait for a slow client while no other client is attached. Beside others, its
        messages are buffered, and its connection is closed when the buffer overflows."""
        if self._full and len(self.clients) == 1:
            self._pipe.pause()
        else:
            self._pipe.resume()

    def close(self, why: str) -> None:
        """Close the pipe and fail every waiting call with ``why``. May be called twice."""
        self._gone = why
        self._pipe.close()
        for answer in list(self._waiting):
            if not answer.done():
                answer.set_exception(BrowserGone(why))

    def release(self) -> None:
        """Break the reference cycles through mux and pipe; to be called after :meth:`close`."""
        self._mux = Mux()
        self._pipe.drop_callbacks()

    async def _ask(
        self,
        method: str,
        command: Callable[[OnAnswer], bytes],
        timeout_s: float,
        late: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Write a command and return its result; ``late`` gets the answer after the caller left."""
        if self._pipe.closed:
            raise BrowserGone(self._gone)
        answer: asyncio.Future[cdp.Incoming] = asyncio.get_running_loop().create_future()

        def on_answer(incoming: cdp.Incoming) -> None:
            if answer.done():
                late()
            else:
                answer.set_result(incoming)

        self._pipe.write(command(on_answer))
        self._waiting.add(answer)
        try:
            async with asyncio.timeout(timeout_s):
                incoming = await answer
        except TimeoutError:
            raise NoAnswer(f"Chrome did not answer {method} within {timeout_s:g} s.") from None
        finally:
            self._waiting.discard(answer)
        if incoming.error is not None:
            raise CommandFailed(f"{method}: {incoming.error.message}")
        return incoming.result

    def _on_message(self, message: bytes) -> None:
        try:
            self._mux.from_chrome(message)
        except (msgspec.DecodeError, KeyError, AttributeError) as error:
            self.log.error("browser.message_dropped", error=error)

    def _on_event(self, event: cdp.Incoming) -> None:
        target_id = str((event.params.get("targetInfo") or event.params).get("targetId", ""))
        if event.method == "Target.targetCreated" and target_id not in self.pages:
            self.pages.append(target_id)
        elif event.method == "Target.targetDestroyed" and target_id in self.pages:
            self.pages.remove(target_id)
        elif event.method == "Target.targetCrashed" and len(self.crashes) < _CRASHES:
            crash = Crash(target_id, str(event.params.get("status", "")))
            self.crashes.append(crash)
            self._on_crash(crash)
        elif event.method in ("Browser.downloadWillBegin", "Browser.downloadProgress"):
            self._on_download(event.params)

    def _on_pressure(self, pressed: bool) -> None:
        for client in self.clients:
            client.hold(pressed)

    def _on_pipe_end(self, why: str) -> None:
        self.close(why or self._gone)
        self._on_end(why)
