"""From the body of a creation to the specification of a session, within the operator's bounds."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import msgspec

from chromepool import chrome_options as launches
from chromepool.config import Settings
from chromepool.errors import InvalidRequest
from chromepool.gateway.browser.hooks.emulation import Emulation, Viewport
from chromepool.gateway.sessions.artifacts import CaptureOptions
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.store.responses import Wanted
from chromepool.gateway.store.scripts import Script, Scripts
from chromepool.model import ChromeOptions, Limits
from chromepool.schema.session import CreateSession, LimitsRequest


def _limits(request: LimitsRequest, settings: Settings) -> Limits:
    most = settings.session_limits
    chosen: dict[str, Any] = {}
    for name in request.__struct_fields__:
        asked, allowed = getattr(request, name), getattr(most, name)
        if asked is None:
            continue
        if asked > allowed and not (name == "cpu_cores" and allowed == 0):
            raise InvalidRequest(f"limits.{name} = {asked} is over the operator's {allowed}.")
        chosen[name] = asked
    return dataclasses.replace(most, **chosen)


def _launch(body: CreateSession, owner: str, settings: Settings) -> ChromeOptions:
    folder = re.sub(r"[^A-Za-z0-9.-]", "_", owner)
    launch = ChromeOptions(
        proxy=body.proxy or "",
        proxy_bypass=body.proxy_bypass or "",
        ignore_certificate_errors=body.ignore_certificate_errors,
        flags=tuple(body.flags),
        profile=f"{folder}/{body.profile}" if body.profile else "",
    )
    launches.check(launch, settings.allowed_flags)
    return launch


def _emulation(body: CreateSession) -> Emulation:
    asked = body.viewport
    return Emulation(
        viewport=None if asked is None else Viewport(**msgspec.structs.asdict(asked)),
        user_agent=body.user_agent or "",
        locale=body.locale or "",
        timezone=body.timezone or "",
    )


def _capture_options(body: CreateSession, settings: Settings) -> CaptureOptions:
    scripts = Scripts(settings.max_scripts, settings.max_script_bytes)
    for script in body.scripts:  # refused here, before there is a Chrome
        scripts.add(Script(script.name, script.source, script.world))
    wanted = None
    if body.capture is not None:
        urls, types, statuses = body.capture.urls, body.capture.types, body.capture.statuses
        wanted = Wanted(tuple(urls), tuple(types), tuple(statuses), body.capture.bodies)
    return CaptureOptions(tuple(scripts.all()), wanted, body.console)


def _within(name: str, asked: float | None, standard: float, most: float) -> float:
    """Return what was asked for, or the standard; raise above ``most``, where 0 is no bound."""
    if asked is None:
        return standard
    if most and asked > most:
        raise InvalidRequest(f"{name} = {asked:g} is over the operator's {most:g}.")
    return asked


def make_spec(
    body: CreateSession, owner: str, settings: Settings, grace_s: float | None = None
) -> SessionSpec:
    """Make the specification of a session; raise :class:`InvalidRequest` beyond the bounds."""
    longest = settings.longest_idle_timeout_s
    idle_s = _within("idle_timeout_s", body.idle_timeout_s, settings.idle_timeout_s, longest)
    most_s = settings.max_age_s
    options = msgspec.to_builtins(body)
    return SessionSpec(
        owner=owner,
        limits=_limits(body.limits, settings),
        labels=body.labels,
        launch=_launch(body, owner, settings),
        emulation=_emulation(body),
        capture_options=_capture_options(body, settings),
        downloads=body.downloads or "",
        idle_timeout_s=idle_s,
        max_age_s=_within("max_age_s", body.max_age_s, most_s, most_s),
        grace_s=grace_s,
        options={n: v for n, v in options.items() if n not in ("labels", "limits", "scripts")},
    )
