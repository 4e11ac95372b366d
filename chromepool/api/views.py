"""What the API shows and takes, as typed JSON."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

from chromepool.browser.browser import Crash
from chromepool.config import Settings
from chromepool.errors import InvalidRequest
from chromepool.model import Exit, Host, Limits, State, Usage
from chromepool.pool.session import Session

_Label = Annotated[str, msgspec.Meta(max_length=256)]
_LabelName = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
_Labels = Annotated[dict[_LabelName, _Label], msgspec.Meta(max_length=32)]


class LimitsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Limits a session may ask for, up to the operator's. What is left out is the operator's."""

    memory_bytes: Annotated[int, msgspec.Meta(ge=64 * 1024 * 1024)] | None = None
    heap_bytes: Annotated[int, msgspec.Meta(ge=16_000_000)] | None = None
    pids: Annotated[int, msgspec.Meta(ge=64)] | None = None
    cpu_cores: Annotated[float, msgspec.Meta(gt=0)] | None = None


class CreateSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /v1/sessions``; it may be left out."""

    labels: _Labels = {}
    limits: LimitsRequest = msgspec.field(default_factory=LimitsRequest)


class LimitsView(msgspec.Struct):
    """The limits of a session, and whether the kernel holds it to them."""

    memory_bytes: int
    heap_bytes: int
    pids: int
    cpu_cores: float
    enforced: bool


class ExitView(msgspec.Struct, omit_defaults=True):
    """How and why a session ended."""

    reason: str
    detail: str
    code: int | None = None
    signal: str | None = None
    oom_kills: int = 0
    stderr: str = ""


class SessionView(msgspec.Struct):
    """A session as the API shows it."""

    id: str
    state: State
    webSocketDebuggerUrl: str
    devtools_url: str
    created_at: datetime.datetime
    last_active_at: datetime.datetime
    expires_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    labels: dict[str, str]
    owner: str
    clients: int
    pid: int
    limits: LimitsView
    usage: Usage
    crashes: list[Crash]
    exit: ExitView | None


def read_body(data: bytes) -> CreateSession:
    """The request in a body; raises :class:`InvalidRequest` that says where it is wrong."""
    try:
        return msgspec.json.decode(data or b"{}", type=CreateSession)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not a session request: {error}.") from error


def ask_limits(request: LimitsRequest, settings: Settings) -> Limits:
    """The limits a session gets; raises :class:`InvalidRequest` above the operator's."""
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


def _exit_view(session: Session) -> ExitView | None:
    if session.reason is None:
        return None
    exit = session.exit or Exit()
    return ExitView(
        session.reason, session.detail, exit.code, exit.signal, exit.oom_kills, exit.stderr
    )


def show(session: Session, usage: Usage, host: Host, authority: str) -> SessionView:
    """A session as JSON; ``authority`` is the host and port people reach the endpoint at."""
    base = f"{authority}/sessions/{session.id}"
    limits = session.limits
    browser = session.browser
    return SessionView(
        id=session.id,
        state=session.state,
        webSocketDebuggerUrl=f"ws://{base}/devtools/browser/{session.guid}",
        devtools_url=f"http://{base}",
        created_at=session.created_at,
        last_active_at=session.last_active_at,
        expires_at=None,
        ended_at=session.ended_at,
        labels=session.labels,
        owner=session.owner,
        clients=len(browser.clients) if browser else 0,
        pid=session.pid,
        limits=LimitsView(
            limits.memory_bytes,
            limits.heap_bytes,
            limits.pids,
            limits.cpu_cores,
            enforced={"memory", "pids"} <= set(host.enforced),
        ),
        usage=usage,
        crashes=browser.crashes if browser else session.crashes,
        exit=_exit_view(session),
    )


def json_response(body: object, status: int = 200) -> web.Response:
    """``body`` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )
