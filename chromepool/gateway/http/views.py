"""From a session to what the API shows of it."""

from __future__ import annotations

import dataclasses

import msgspec
from aiohttp import web

from chromepool.gateway.sessions.session import Session
from chromepool.model import Exit, Host, Limits, Usage
from chromepool.schema.limits import REQUESTABLE, LimitsView
from chromepool.schema.session import CrashView, ExitView, SessionView, UsageView


def _limits(limits: Limits, host: Host) -> LimitsView:
    enforced = {"memory", "pids"} <= set(host.enforced)
    return LimitsView(enforced=enforced, **{name: getattr(limits, name) for name in REQUESTABLE})


def _usage(session: Session, usage: Usage) -> UsageView:
    traffic = session.browser.traffic if session.browser else session.traffic
    return UsageView(
        **dataclasses.asdict(usage),
        cdp_messages_in=traffic.messages_in,
        cdp_messages_out=traffic.messages_out,
        cdp_bytes_in=traffic.bytes_in,
        cdp_bytes_out=traffic.bytes_out,
    )


def _exit(session: Session) -> ExitView | None:
    if session.reason is None:
        return None
    exit = session.exit or Exit()
    return ExitView(
        session.reason, session.detail, exit.code, exit.signal, exit.oom_kills, exit.stderr
    )


def show(session: Session, usage: Usage, host: Host, authority: str) -> SessionView:
    """Show a session; ``authority`` is the host and port of the DevTools endpoint."""
    base = f"{authority}/sessions/{session.id}"
    browser = session.browser
    crashes = browser.crashes if browser else session.crashes
    return SessionView(
        id=session.id,
        number=session.key,
        state=session.state,
        webSocketDebuggerUrl=f"ws://{base}/devtools/browser/{session.guid}",
        devtools_url=f"http://{base}",
        created_at=session.created_at,
        last_active_at=session.last_active_at,
        expires_at=session.expires_at,
        ended_at=session.ended_at,
        labels=session.spec.labels,
        owner=session.owner,
        clients=len(browser.clients) if browser else 0,
        pid=session.pid,
        warm=session.warm,
        limits=_limits(session.limits, host),
        usage=_usage(session, usage),
        options=session.spec.options,
        crashes=[CrashView(crash.target_id, crash.status, crash.reason) for crash in crashes],
        exit=_exit(session),
    )


def json_response(body: object, status: int = 200) -> web.Response:
    """Make a response whose body is JSON."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )
