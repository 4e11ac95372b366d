"""A running Chrome: the daemon's own commands to it, and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer
from chromepool.gateway.browser import popups
from chromepool.gateway.browser.pipe import Pipe
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.mux import Mux, Port
from chromepool.gateway.cdp.paused_targets import PausedTargets
from chromepool.gateway.histogram import SAMPLED, CdpLatency
from chromepool.gateway.log import get_logger
from chromepool.model import Reason

log = get_logger("chromepool.gateway.browser")


_ANSWER_S = 30.0
_RELEASE_S = 2.0
"""Time for a page to be let go that somebody had paused; one that hangs keeps nobody waiting."""
_CRASHES = 100
"""Crashed tabs that are remembered for a session."""


@dataclasses.dataclass(slots=True)
class Traffic:
    """What clients and Chrome have said to each other."""

    messages_in: int = 0
    """Commands of clients."""
    messages_out: int = 0
    """Answers and events of Chrome's, those for the daemon itself among them."""
    bytes_in: int = 0
    bytes_out: int = 0


@dataclasses.dataclass(slots=True)
class Crash:
    """A tab that crashed while its session went on."""

    target_id: str
    status: str
    """Chrome's word for it, such as ``crashed``, ``killed``, ``oom``."""
    reason: Reason = Reason.CRASHED


class Client(Port, Protocol):
    """A port with a connection that can be held and closed."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes waiting for the client to read them."""

    def flush(self) -> None:
        """Sends what was delivered."""

    def hold(self, held: bool) -> None:
        """Stops taking messages from the client while Chrome is behind, or takes them again."""

    def end(self, code: int, reason: str) -> None:
        """Closes its WebSocket with a code and a reason."""


class Browser:
    """Chrome behind its pipe."""

    def __init__(
        self,
        commands: int,
        events: int,
        on_end: Callable[[str], None],
        delays: CdpLatency | None = None,
        *,
        adopted: bool = False,
    ) -> None:
        """Takes over both descriptors. ``on_end`` is called once, when Chrome closes its end, or
        with words when the pipe is closed for what Chrome sent; ``delays`` takes the gateway's own
        time, which browsers may share; ``adopted``: it had another gateway before, see
        :meth:`take_over`."""
        self._delays = delays or CdpLatency()
        self._to_sample = self._from_sample = SAMPLED
        self._mux = Mux(self._on_event)
        self._on_end = on_end
        self.log = log
        """With the session's number bound, once it is one's."""
        self._waiting: set[asyncio.Future[cdp.Incoming]] = set()
        self._unflushed: list[Client] = []
        self._pipe = Pipe(
            commands,
            events,
            self._on_message,
            self._on_pipe_end,
            self._on_pressure,
            on_pause=self._flush_read,
            adopted=adopted,
        )
        self._gone = "The session's Chrome is gone."
        self._former_base = ""
        self.clients: list[Client] = []
        self._full: set[Client] = set()
        self._sent = self._sent_bytes = 0
        self.before = Traffic()
        """What was said under the gateways before."""
        self.crashes: list[Crash] = []
        self.pages: list[str] = []
        """Target ids of its pages, the newest last."""
        self.on_download: Callable[[dict[str, Any]], None] = lambda params: None
        """Told how a download goes on, where the session may download."""
        self.on_crash: Callable[[Crash], None] = lambda crash: None
        self.version: dict[str, Any] = {}
        """What it answered to the first ``Browser.getVersion``."""
        self.asked_to_close = False
        """Whether a client has sent ``Browser.close``."""

    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> dict[str, Any]:
        """A command's result; ``session`` is a CDP session of the daemon's own.

        Raises :class:`CommandFailed`, :class:`BrowserGone`, and in the end :class:`NoAnswer`:
        Chrome hangs, or has much to say to an only client that does not read.
        """
        answer = self._answer()
        self._pipe.write(self._mux.command(method, params or {}, _settle(answer), session))
        return self._result(method, await self._wait(method, answer, timeout_s))

    @property
    def traffic(self) -> Traffic:
        """What was said so far."""
        before, pipe = self.before, self._pipe
        return Traffic(
            before.messages_in + self._sent,
            before.messages_out + pipe.read_messages,
            before.bytes_in + self._sent_bytes,
            before.bytes_out + pipe.read_bytes,
        )

    @property
    def base(self) -> str:
        """The session below which all is attached; before :meth:`begin` that of the gateway before,
        or ""."""
        return self._mux.base or self._former_base

    @property
    def paused_targets(self) -> PausedTargets:
        """What its clients, and the daemon's own, hold paused."""
        return self._mux.paused_targets

    @property
    def backlog_bytes(self) -> int:
        """Bytes that Chrome has not taken yet."""
        return self._pipe.backlog_bytes

    async def begin(self, timeout_s: float = _ANSWER_S) -> None:
        """Attaches the session below which all clients' are. Raises like :meth:`call`."""
        answer = await self.call("Target.attachToBrowserTarget", timeout_s=timeout_s)
        self._mux.base = str(answer["sessionId"])

    async def take_over(self, base: str) -> None:
        """Ends all that an earlier gateway had attached below ``base``, with what it had set there
        (interceptions, emulation), and lets go what it had paused. Raises like :meth:`call`."""
        self._former_base = base
        # It may have died in the middle of a message: this ends it, and Chrome answers at least
        # with an error that has no id, so that there is something to be dropped in any case.
        self._pipe.write(b"\0")
        if base:
            with contextlib.suppress(CommandFailed):  # it had ended it itself
                await self.call("Target.detachFromTarget", {"sessionId": base})
        targets = (await self.call("Target.getTargets", {"filter": [{}]}))["targetInfos"]
        self.pages = [info["targetId"] for info in targets if info["type"] == "page"]
        await asyncio.gather(
            *(self._release(info["targetId"]) for info in targets if info["type"] != "browser")
        )

    async def _release(self, target: str) -> None:
        """Chrome itself leaves a popup paused whose client vanished (measured)."""
        with contextlib.suppress(CommandFailed, NoAnswer):
            async with self.page(target) as session:
                run = "Runtime.runIfWaitingForDebugger"
                await self.call(run, session=session, timeout_s=_RELEASE_S)

    @contextlib.asynccontextmanager
    async def page(self, target: str) -> AsyncIterator[str]:
        """A CDP session of the daemon's own on a page, for :meth:`call`; raises what it raises."""
        params = {"targetId": target, "flatten": True}
        base = self._mux.base
        session = str((await self.call("Target.attachToTarget", params, session=base))["sessionId"])
        try:
            yield session
        finally:
            with contextlib.suppress(CommandFailed, BrowserGone, NoAnswer):  # it went by itself
                detach = {"sessionId": session}
                await self.call("Target.detachFromTarget", detach, session=base)

    @property
    def paused(self) -> bool:
        """Whether Chrome has to wait, for a client that does not read."""
        return self._pipe.paused

    @property
    def pressed(self) -> bool:
        """Whether Chrome is far behind in reading, so that clients are to be held."""
        return self._pipe.pressed

    async def attach(self, client: Client, target: str | None) -> None:
        """Gives a client its root session: the browser's, or the target's."""
        self.clients.append(client)
        try:
            await self.join(client, target)
        except BaseException:
            self.detach(client)
            raise

    async def join(self, port: Port, target: str | None) -> None:
        """Gives a port its root session, without counting it among the clients."""
        answer, given_up = self._answer(), False

        def on_answer(incoming: cdp.Incoming) -> None:
            _settle(answer)(incoming)
            if given_up:  # it hung up while Chrome was attaching it
                self._leave(port)

        try:
            self._pipe.write(self._mux.attach(port, target, on_answer))
            self._result("Target.attachToTarget", await self._wait("attaching", answer, _ANSWER_S))
        except BaseException:
            given_up = True
            raise

    def detach(self, client: Client) -> None:
        """Ends all that a client had in Chrome. May be called twice."""
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
        """Passes on a message of a port of the daemon's own."""
        routed = self._mux.from_client(port, message)
        if routed is not None:
            self._pipe.write(routed)

    def forward(self, client: Client, messages: list[bytes]) -> None:
        """Passes a client's messages on, in one write."""
        began = time.perf_counter()
        routed = [self._mux.from_client(client, message) for message in messages]
        data = b"".join(message for message in routed if message is not None)
        if data:
            self._pipe.write(data)
        self._sent += len(messages)
        self._sent_bytes += len(data)
        self._to_sample -= 1
        if not self._to_sample:
            self._to_sample = SAMPLED
            self._delays.to_chrome.add(time.perf_counter() - began)
        self.flush()

    def flush_later(self, client: Client) -> None:
        """The client has something to send; it is told when no more is at hand."""
        self._unflushed.append(client)

    def flush(self) -> None:
        """Lets the clients send what was delivered: one write for all the messages of one read."""
        while self._unflushed:
            self._unflushed.pop().flush()

    def _flush_read(self) -> None:
        self.flush()
        self._from_sample -= 1
        if not self._from_sample:
            self._from_sample = SAMPLED
            self._delays.to_client.add(time.perf_counter() - self._pipe.read_at)

    def throttle(self, client: Client, *, full: bool) -> None:
        """A client reads too slowly (``full``), or has caught up."""
        if full:
            self._full.add(client)
        else:
            self._full.discard(client)
        self._balance()

    def _balance(self) -> None:
        """Makes Chrome wait for a slow client while nobody else wants to hear from it.

        Others must not wait for it: then it has its buffer, and its port ends it when that
        overflows.
        """
        if self._full and len(self.clients) == 1:
            self._pipe.pause()
        else:
            self._pipe.resume()

    def close(self, why: str) -> None:
        """Closes the pipe and fails every waiting call with ``why``. May be called twice."""
        self._gone = why
        self._pipe.close()
        for answer in list(self._waiting):
            if not answer.done():
                answer.set_exception(BrowserGone(why))

    def let_go(self) -> None:
        """After :meth:`close`: holds nothing any more, and is held by nothing of its own. What was
        kept of a session can be megabytes, and the next search for cycles may be far away."""
        self._mux = Mux()
        self._pipe.drop_callbacks()
        self.on_crash = lambda crash: None
        self.on_download = lambda params: None

    def _answer(self) -> asyncio.Future[cdp.Incoming]:
        if self._pipe.closed:
            raise BrowserGone(self._gone)
        return asyncio.get_running_loop().create_future()

    async def _wait(
        self, what: str, answer: asyncio.Future[cdp.Incoming], timeout_s: float
    ) -> cdp.Incoming:
        self._waiting.add(answer)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise NoAnswer(f"Chrome did not answer {what} within {timeout_s:g} s.") from None
        finally:
            self._waiting.discard(answer)

    @staticmethod
    def _result(method: str, incoming: cdp.Incoming) -> dict[str, Any]:
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
            target, status = event.params.get("targetId", ""), event.params.get("status", "")
            crash = Crash(str(target), str(status))
            self.crashes.append(crash)
            self.on_crash(crash)
        elif event.method in ("Browser.downloadWillBegin", "Browser.downloadProgress"):
            self.on_download(event.params)

    def _on_pressure(self, pressed: bool) -> None:
        for client in self.clients:
            client.hold(pressed)

    def _on_pipe_end(self, why: str) -> None:
        self.close(why or self._gone)
        self._on_end(why)


def _settle(answer: asyncio.Future[cdp.Incoming]) -> Callable[[cdp.Incoming], None]:
    def on_answer(incoming: cdp.Incoming) -> None:
        if not answer.done():
            answer.set_result(incoming)

    return on_answer
