"""From the body of a creation to the specification of a session, within the operator's bounds."""

import dataclasses
import re

import msgspec

from chromepool import chrome_options as launches
from chromepool.config import Settings
from chromepool.errors import InvalidRequest
from chromepool.gateway.browser.hooks.emulation import Emulation, Viewport
from chromepool.gateway.spec import CaptureOptions, SessionSpec
from chromepool.gateway.store.responses import ResponseFilter
from chromepool.gateway.store.scripts import Script, Scripts
from chromepool.model import ChromeOptions, Limits
from chromepool.schema.session import CreateSession, LimitsRequest


def _limits(request: LimitsRequest, settings: Settings) -> Limits:
    most = settings.session_limits
    asked = {n: v for n, v in msgspec.structs.asdict(request).items() if v is not None}
    limits = dataclasses.replace(most, **asked)
    if name := limits.beyond(most):
        allowed = getattr(most, name)
        raise InvalidRequest(f"limits.{name} = {asked[name]} is over the operator's {allowed}.")
    return limits


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
    viewport = msgspec.convert(body.viewport, Viewport | None, from_attributes=True)
    texts = (body.user_agent or "", body.locale or "", body.timezone or "")
    return Emulation(viewport, *texts)


def _capture_options(body: CreateSession, settings: Settings) -> CaptureOptions:
    scripts = Scripts(settings.max_scripts, settings.max_script_bytes)
    for script in body.scripts:  # refused here, before there is a Chrome
        scripts.add(Script(script.name, script.source, script.world))
    wanted = msgspec.convert(body.capture, ResponseFilter | None, from_attributes=True)
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
        chrome_options=_launch(body, owner, settings),
        emulation=_emulation(body),
        capture_options=_capture_options(body, settings),
        downloads=body.downloads or "",
        idle_timeout_s=idle_s,
        max_age_s=_within("max_age_s", body.max_age_s, most_s, most_s),
        grace_s=grace_s,
        options={n: v for n, v in options.items() if n not in ("labels", "limits", "scripts")},
    )
