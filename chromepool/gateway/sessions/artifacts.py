"""The artifacts of a session: scripts, captured responses, console messages."""

import asyncio
from collections.abc import Callable

from chromepool.config import Settings
from chromepool.errors import CommandFailed, InvalidRequest, NoAnswer
from chromepool.gateway.browser.auto_attach import AutoAttacher
from chromepool.gateway.browser.hooks.capture import CaptureHook
from chromepool.gateway.browser.hooks.console import ConsoleHook
from chromepool.gateway.browser.hooks.scripts import ScriptsHook
from chromepool.gateway.spec import CaptureOptions
from chromepool.gateway.store.responses import Response
from chromepool.gateway.store.ring import Ring
from chromepool.gateway.store.scripts import Script, Scripts
from chromepool.schema.artifacts import ConsoleView

_CONSOLE_BYTES = 4 << 20


class Artifacts:
    """Scripts, responses and console messages of one session, kept while its Chrome runs; without
    cost until something is asked for."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        auto_attacher: Callable[[], AutoAttacher],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_change`` is called when the scripts have changed."""
        self._auto_attacher = auto_attacher
        self._on_change = on_change
        self.scripts = Scripts(settings.max_scripts, settings.max_script_bytes)
        """The persistent scripts, to be read; they are changed by the methods below."""
        self._scripting: ScriptsHook | None = None
        self._lock = asyncio.Lock()
        self._body_bytes = settings.response_body_bytes
        bounds = (settings.response_store_items, settings.response_store_bytes)
        self.responses: Ring[Response] = Ring(*bounds, clock, settings.response_store_ttl_s)
        self.console: Ring[ConsoleView] = Ring(settings.console_messages, _CONSOLE_BYTES, clock)

    async def begin(self, options: CaptureOptions) -> None:
        """Add the scripts and begin to capture; raise what :meth:`AutoAttacher.add_hook` raises,
        and :class:`StoreFull`, :class:`InvalidRequest`."""
        for script in options.scripts:
            self.scripts.add(script)
        if options.scripts:
            await self._tell("")
            self._on_change()
        if options.capture is not None:
            auto_attacher = self._auto_attacher()
            hook = CaptureHook(auto_attacher, options.capture, self.responses, self._body_bytes)
            await auto_attacher.add_hook(hook)
        if options.console:
            await self._auto_attacher().add_hook(ConsoleHook(self.console))

    def trim(self) -> None:
        """Drop what is too old, also when nothing new arrives."""
        self.responses.trim()
        self.console.trim()

    def clear(self) -> None:
        """Drop everything at once: the session is over."""
        self.responses.clear()
        self.console.clear()

    async def add_script(self, script: Script, *, run_now: bool) -> None:
        """Add a script, last in the order, to every target; where it raises to none, except for a
        page that hangs, until it answers. Raises :class:`ScriptExists`, :class:`StoreFull`,
        :class:`InvalidRequest`, and :class:`NoAnswer` where a page hangs."""
        async with self._lock:
            self.scripts.add(script)
            await self._tell_or_undo(script, None, run_now)

    async def put_script(self, script: Script, *, run_now: bool) -> bool:
        """Replace the script of this name, or add a new one (True); raise like
        :meth:`add_script`."""
        async with self._lock:
            before = next((s for s in self.scripts.all() if s.name == script.name), None)
            self.scripts.put(script)
            await self._tell_or_undo(script, before, run_now)
            return before is None

    async def remove_script(self, name: str) -> None:
        """Remove a script everywhere; raise :class:`ScriptNotFound`, and :class:`NoAnswer` where a
        page hangs, from which the script is removed as soon as it answers."""
        async with self._lock:
            self.scripts.remove(name)
            self._on_change()
            await self._tell("")

    async def _tell_or_undo(self, script: Script, before: Script | None, run_now: bool) -> None:
        try:
            await self._tell(script.name if run_now else "")
        except (CommandFailed, NoAnswer) as error:
            self._undo(script, before)
            if isinstance(error, NoAnswer):
                raise
            raise InvalidRequest(f"Chrome does not take the script: {error.detail}.") from error
        self._on_change()

    def _undo(self, script: Script, before: Script | None) -> None:
        """Restore the scripts as they were, without waiting: a page hangs or Chrome refuses."""
        if before is None:
            self.scripts.remove(script.name)
        else:
            self.scripts.put(before)
        if self._scripting is not None:
            self._auto_attacher().send_to_all(self._scripting)

    async def _tell(self, run_now: str) -> None:
        auto_attacher = self._auto_attacher()
        tell = auto_attacher.resend if self._scripting else auto_attacher.add_hook
        hook = self._scripting = self._scripting or ScriptsHook(auto_attacher, self.scripts)
        hook.run_now = run_now
        try:
            await tell(hook)
        finally:
            hook.run_now = ""
