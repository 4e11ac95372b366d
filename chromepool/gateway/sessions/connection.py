"""The connection of a session to its Chrome: browser, artifacts, downloads."""

from __future__ import annotations

import dataclasses
from typing import Any

from chromepool.gateway.browser.browser import Browser, Crash, Traffic
from chromepool.gateway.histogram import CdpLatency
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.downloads import Downloads
from chromepool.gateway.sessions.events import PipeClosed, SessionChanged, TabCrashed
from chromepool.gateway.sessions.session import Session, measure
from chromepool.model import Reason

log = get_logger("chromepool.gateway.sessions")


@dataclasses.dataclass(frozen=True, slots=True)
class Connector:
    """Connects sessions to their Chromes, and publishes what the Chromes report."""

    runtime: Runtime
    latency: CdpLatency
    """Shared by all browsers."""

    def connect(
        self, session: Session, commands: int, events: int, adopted: Traffic | None = None
    ) -> Browser:
        """Give a session the browser behind these descriptors, which the browser closes.

        ``adopted`` is the traffic under earlier gateways, of a session that had one.
        """
        runtime = self.runtime

        def on_download(params: dict[str, Any]) -> None:
            if session.downloads is not None:
                session.downloads.on_event(params)

        def on_failure(name: str, why: str) -> None:
            fields = {"file": name, "why": why}
            event = "session.download_failed"
            runtime.events.emit(event, session.id, session.owner, **fields)

        browser = Browser(
            commands,
            events,
            on_end=lambda why: runtime.bus.publish(PipeClosed(session, why)),
            on_crash=lambda crash: runtime.tasks.start(self._explain(session, crash)),
            on_download=on_download,
            latency=self.latency,
            earlier=adopted,
            session=session.key,
        )
        session.browser = browser
        session.downloads = Downloads(
            runtime, session.key, browser, lambda: session.created_at, on_failure
        )
        session.artifacts = Artifacts(
            runtime.settings,
            runtime.clock,
            session.auto_attacher,
            lambda: runtime.bus.publish(SessionChanged(session)),
        )
        return browser

    async def _explain(self, session: Session, crash: Crash) -> None:
        """Publish a crashed tab, with a kill by the kernel for memory as the reason, if any."""
        killed = (await measure(session, self.runtime.supervisor)).oom_kills or 0
        if killed > session.oom_kills_seen or crash.status == "oom":
            crash.reason = Reason.OUT_OF_MEMORY
        session.oom_kills_seen = max(killed, session.oom_kills_seen)
        fields = {"reason": crash.reason, "status": crash.status}
        log.warning("session.tab_crashed", session=session.key, **fields)
        self.runtime.events.emit("session.tab_crashed", session.id, session.owner, **fields)
        self.runtime.bus.publish(TabCrashed(session, crash))
