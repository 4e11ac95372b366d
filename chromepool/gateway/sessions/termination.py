"""The end of a session, from a polite request to the last file."""

import asyncio
import dataclasses
import functools

from chromepool import wire
from chromepool.errors import BrowserGone, CommandFailed, NoAnswer, ShuttingDown
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import Runtime, is_set
from chromepool.gateway.sessions.admission import Gate
from chromepool.gateway.sessions.events import PipeClosed, SlotFreed
from chromepool.gateway.sessions.registry import SessionRegistry
from chromepool.gateway.sessions.session import Session, explain_exit
from chromepool.model import Reason, State, Usage

log = get_logger("chromepool.gateway.sessions")

_STOPPING_S = 30.0
"""Seconds after which a caller may try again while the daemon stops."""


@dataclasses.dataclass(frozen=True, slots=True)
class Termination:
    """Ends sessions, and follows those that end by themselves.

    The ladder, each step only where the one before did not do it in time::

        end()              state CLOSING, clients are closed with the reason
          Browser.close    Chrome closes its tabs and exits        close_timeout_s
          SIGTERM          to Chrome's main process                term_timeout_s
          SIGKILL          to the whole control group, until it is empty
        Exited             the exit status is known, waiting calls fail
        Gone               control group, profile and mounts are removed: state CLOSED
    """

    runtime: Runtime
    registry: SessionRegistry
    gate: Gate

    async def end(self, session: Session, reason: Reason, detail: str) -> None:
        """End a session, and return when every process, control group and file of it is gone. May
        be called again and by several at once; the first reason stays."""
        frozen = session.state is State.FROZEN
        if self._begin(session, reason, detail):
            if frozen:  # a frozen Chrome could not read that it is asked to close
                self.runtime.supervisor.send(wire.Thaw(session.key, session.limits))
            self.runtime.tasks.start(self._escalate(session))  # also if the caller is cancelled
        await session.is_gone.wait()

    def end_later(self, session: Session, reason: Reason, detail: str) -> None:
        """End a session in the background."""
        self.runtime.tasks.start(self.end(session, reason, detail))

    async def end_all(self, timeout_s: float) -> None:
        """End every session because the daemon stops; raise TimeoutError after ``timeout_s``."""
        self.gate.stopping = True
        remedy = "Use another daemon, or this one once it has been started again."
        self.gate.close(
            ShuttingDown("The daemon is stopping.", remedy=remedy, retry_after_s=_STOPPING_S)
        )
        self.runtime.events.emit("daemon.stopping")
        end = functools.partial(self.end, reason=Reason.SHUTDOWN, detail="the daemon is stopping")
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*map(end, self.registry.chromes))

    # -- sessions that never came to be --

    async def discard(self, session: Session, why: str) -> None:
        """End a session whose start failed."""
        session.held = False
        if self.registry.by_key(session.key) is not None:
            await self.end(session, Reason.START_FAILED, why)
        elif session.begin_end(Reason.START_FAILED, why):
            self._finish(session, Usage())

    def abandon(self, session: Session) -> None:
        """End a session in the background whose creator hung up: nobody knows its id."""
        session.held = False
        self.end_later(session, Reason.CLIENT_CLOSED, "its creator hung up")

    # -- sessions that end from inside --

    def end_by_client(self, session: Session) -> None:
        """End a session whose client sent ``Browser.close``, even if Chrome ignores that."""
        self.runtime.tasks.start(self._end_after_answer(session))

    async def _end_after_answer(self, session: Session) -> None:
        """Wait first: Chrome answers the command before it exits, and the client is owed that."""
        if not await is_set(session.is_gone, self.runtime.settings.close_timeout_s):
            await self.end(session, Reason.CLIENT_CLOSED, "a client closed the browser")

    def on_pipe_closed(self, event: PipeClosed) -> None:
        """Stop a Chrome without a pipe; ``Exited`` gives the reason, unless Chrome sent what no
        Chrome sends."""
        session = event.session
        if self.registry.by_key(session.key) is None:
            return
        if event.why:
            self._begin(session, Reason.UNHEALTHY, event.why.rstrip("."))
        self._stop(session)

    def on_exited(self, message: wire.Exited) -> None:
        """Note the exit of a Chrome, with its reason unless one was given before."""
        session = self.registry.by_key(message.key)
        if session is None:
            return
        session.exit = message.exit
        asked = session.browser is not None and session.browser.asked_to_close
        reason, detail = explain_exit(message.exit, asked_to_close=asked)
        if session.state is State.STARTING:
            reason = Reason.START_FAILED
        self._begin(session, reason, detail)
        if session.browser is not None:
            session.browser.close(f"The session ended: {session.detail}.")

    def on_gone(self, message: wire.Gone) -> None:
        """Close a session of which nothing is left."""
        session = self.registry.remove(message.key)
        if session is not None:
            session.begin_end(Reason.START_FAILED, "it never started")
            self._finish(session, message.usage)
            self.runtime.bus.publish(SlotFreed())

    # -- steps of the ladder --

    def _stop(self, session: Session) -> None:
        runtime = self.runtime
        runtime.supervisor.send(wire.Stop(session.key, runtime.settings.term_timeout_s))

    def _begin(self, session: Session, reason: Reason, detail: str) -> bool:
        """Move to CLOSING and close the clients; False where the session was ending already."""
        if not session.begin_end(reason, detail):
            return False
        if session.browser is not None:
            for client in list(session.browser.clients):
                client.session_ended(reason, detail)
        return True

    async def _escalate(self, session: Session) -> None:
        """Send ``Browser.close``, and SIGTERM where something is left after a while."""
        browser = session.browser
        if browser is not None:
            try:
                async with asyncio.timeout(self.runtime.settings.close_timeout_s):
                    try:
                        await browser.call("Browser.close")
                    except (BrowserGone, CommandFailed, NoAnswer) as error:
                        log.debug("session.close_refused", session=session.key, error=error)
                    await session.is_gone.wait()
                    return
            except TimeoutError:
                log.warning("session.close_late", session=session.key)
        self._stop(session)

    def _finish(self, session: Session, usage: Usage) -> None:
        session.finish(usage)
        session.release_browser()
        self.registry.keep_ended(session)
