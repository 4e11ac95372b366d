"""The connection of a session to its Chrome, and the first commands to it."""

import dataclasses
import functools
from typing import Any

from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, InvalidRequest, NoAnswer
from chromepool.gateway.browser.browser import Browser, Crash, Traffic
from chromepool.gateway.browser.hooks.emulation import Emulation, EmulationHook
from chromepool.gateway.histogram import CdpLatency
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.downloads import Downloads
from chromepool.gateway.sessions.events import PipeClosed, SessionChanged, TabCrashed
from chromepool.gateway.sessions.session import Session, measure
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.supervisor import Spawned
from chromepool.model import Reason

log = get_logger("chromepool.gateway.sessions")

_DISCOVERY = {"discover": True, "filter": [{"type": "page"}, {"exclude": True}]}
_PING_S = 2.0
"""Time that a warm Chrome has to show that it lives; it usually takes two milliseconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Connector:
    """Connects sessions to their Chromes, and publishes what the Chromes report."""

    runtime: Runtime
    latency: CdpLatency
    """Shared by all browsers."""

    def connect(self, session: Session, pipe: Spawned, adopted: Traffic | None = None) -> Browser:
        """Give a session the browser behind this pipe, which the browser closes; ``adopted`` is the
        traffic under earlier gateways, of a session that had one."""
        runtime = self.runtime

        def on_download(params: dict[str, Any]) -> None:
            if session.downloads is not None:
                session.downloads.on_event(params)

        def on_failure(name: str, why: str) -> None:
            emit = runtime.events.emit
            emit("session.download_failed", session.id, session.owner, file=name, why=why)

        browser = Browser(
            pipe.commands,
            pipe.events,
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
        on_change = functools.partial(runtime.bus.publish, SessionChanged(session))
        session.artifacts = Artifacts(
            runtime.settings, runtime.clock, session.auto_attacher, on_change
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


async def initialize(browser: Browser, settings: Settings) -> None:
    """Get a Chrome's version and attach to it; raise :class:`BrowserGone`, :class:`NoAnswer`."""
    timeout_s = settings.start_timeout_s
    browser.version = await browser.call("Browser.getVersion", timeout_s=timeout_s)
    await browser.call("Target.setDiscoverTargets", _DISCOVERY, timeout_s=timeout_s)
    await browser.begin(timeout_s)


async def ping(session: Session, browser: Browser) -> bool:
    """Return whether a warm Chrome still answers."""
    try:
        await browser.call("Browser.getVersion", timeout_s=_PING_S)
    except (BrowserGone, CommandFailed, NoAnswer) as error:
        log.warning("session.unanswered", session=session.key, error=error)
        return False
    return True


async def apply_options(session: Session, browser: Browser, spec: SessionSpec) -> None:
    """Set the options that CDP can set after the start; raise :class:`InvalidRequest` where Chrome
    refuses one, :class:`BrowserGone`, :class:`NoAnswer`."""
    try:
        if spec.downloads:
            params: dict[str, Any] = {"behavior": spec.downloads}
            if spec.downloads != "deny":
                params |= {"downloadPath": f"{session.profile}/Downloads", "eventsEnabled": True}
            await browser.call("Browser.setDownloadBehavior", params)
        if spec.emulation != Emulation():
            user_agent = str(browser.version.get("userAgent", ""))
            await session.auto_attacher().add_hook(EmulationHook(spec.emulation, user_agent))
        if session.artifacts is not None:
            await session.artifacts.begin(spec.capture_options)
    except CommandFailed as error:
        raise InvalidRequest(f"Chrome refuses an option: {error.detail}.") from error
