"""Tables for people. What only describes a value, or draws it, is imported when it is needed."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from chromepool.setting import MIB

if TYPE_CHECKING:
    from rich.console import Console

    from chromepool.cli.doctor import Finding
    from chromepool.schema.admin import CanaryResult, MemoryStatus, StatusView, WaiterView
    from chromepool.schema.history import HistoryPage, PastSession, PastSessionWithEvents
    from chromepool.schema.session import SessionView

T = TypeVar("T")
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def _console() -> Console:
    """Make a console that cuts no line in a pipe: half an id or URL is of no use."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, width=400 if not sys.stdout.isatty() else None)


def _plain(text: str) -> str:
    """Strip markup and control characters: the text may be a client's or a page's."""
    from rich.markup import escape

    return escape("".join(letter for letter in text if letter.isprintable()))


def _duration(start: datetime.datetime, end: datetime.datetime | None = None) -> str:
    seconds = int(((end or datetime.datetime.now(datetime.UTC)) - start).total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _mebibytes(value: int | None) -> str:
    return "-" if value is None else f"{value / MIB:.0f} MiB"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _state(session: SessionView) -> str:
    return f"{session.state} ({session.exit.reason})" if session.exit else session.state


def _labels(one: SessionView | PastSession | WaiterView) -> str:
    return ",".join(f"{name}={value}" for name, value in one.labels.items())


def _created(session: SessionView | PastSession) -> str:
    return session.created_at.isoformat() + (" (warm)" if session.warm else "")


def _print_table(rows: Sequence[T], columns: dict[str, Callable[[T], object]]) -> None:
    """Print one line for each row; ``columns`` are headings with the text below them."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in columns:
        table.add_column(heading, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(_plain(str(show(row))) for show in columns.values()))
    _console().print(table)


def _print_details(details: dict[str, str]) -> None:
    """Print a line for each name and value."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    for name, value in details.items():
        table.add_row(f"[bold]{name}[/bold]", _plain(value))
    _console().print(table)


def print_sessions(sessions: list[SessionView]) -> None:
    """Print one line for each session."""
    columns: dict[str, Callable[[SessionView], object]] = {
        "ID": lambda session: session.id,
        "STATE": _state,
        "AGE": lambda session: _duration(session.created_at),
        "OWNER": lambda session: session.owner,
        "CLIENTS": lambda session: session.clients,
        "MEMORY": lambda session: _mebibytes(session.usage.memory_bytes),
        "LABELS": _labels,
    }
    _print_table(sessions, columns)


def print_session(session: SessionView) -> None:
    """Print the details of a session."""
    usage, limits = session.usage, session.limits
    memory = f"{_mebibytes(usage.memory_bytes)} of {_mebibytes(limits.memory_bytes)}"
    expires = session.expires_at.isoformat() if session.expires_at else "never"
    rows = {
        "id": session.id,
        "number": str(session.number),
        "state": _state(session),
        "WebSocket": session.webSocketDebuggerUrl,
        "HTTP": session.devtools_url,
        "owner": session.owner,
        "created": _created(session),
        "last active": session.last_active_at.isoformat(),
        "expires": "-" if session.exit else expires,
        "clients": str(session.clients),
        "memory": memory + ("" if limits.enforced else " (NOT enforced)"),
        "peak": _mebibytes(usage.memory_peak_bytes),
        "cpu": _seconds(usage.cpu_s),
        "processes": str(usage.processes),
        "CDP": f"{usage.cdp_messages_in} messages in, {usage.cdp_messages_out} out",
    }
    if session.exit:
        rows["ended"] = f"{session.exit.reason}: {session.exit.detail}"
    _print_details(rows)


def _memory(memory: MemoryStatus) -> str:
    left = "" if memory.left_bytes is None else f"{memory.left_bytes // MIB} MiB left"
    return left if memory.cap_bytes is None else f"{left}, cap {memory.cap_bytes // MIB} MiB"


def print_status(status: StatusView) -> None:
    """Print the state of the daemon."""
    warm, breaker, sessions = status.warm, status.breaker, status.sessions
    admitted = "" if sessions.admitted is None else f", {sessions.admitted} admitted"
    rows = {
        "version": status.version,
        "sessions": f"{sessions.now} of {sessions.max}{admitted}",
        "waiting": f"{status.queue.now} of {status.queue.max}",
        "warm": f"{warm.waiting} of {warm.wanted}, {warm.taken} taken",
        "limits": f"{status.limits.cgroup}: {', '.join(status.limits.enforced) or 'none'}",
        "memory": _memory(status.memory),
        "Chrome": status.host.chrome,
    }
    if status.drain.draining:
        rows["draining"] = f"{status.drain.sessions} sessions left"
    if breaker.open:
        rows["starts"] = f"fail; next try in {breaker.pause_s:.0f} s: {breaker.failure}"
    for alert in status.alerts:
        rows[f"alert {alert.name}"] = f"{alert.severity}: {alert.text}"
    for number, warning in enumerate(status.host.warnings, 1):
        rows[f"warning {number}"] = warning
    _print_details(rows)


def print_queue(waiting: Sequence[WaiterView]) -> None:
    """Print one line for each waiting caller."""
    columns: dict[str, Callable[[WaiterView], object]] = {
        "PLACE": lambda waiter: waiter.place,
        "OWNER": lambda waiter: waiter.owner,
        "WAITING": lambda waiter: f"{waiter.waiting_s:.0f} s",
        "LABELS": _labels,
    }
    _print_table(waiting, columns)


def _used(session: PastSession, name: str) -> Any:
    return (session.usage or {}).get(name)


def print_history(page: HistoryPage) -> None:
    """Print one line for each past session."""
    columns: dict[str, Callable[[PastSession], object]] = {
        "ID": lambda past: past.id,
        "CREATED": lambda past: past.created_at.isoformat(timespec="seconds"),
        "LIVED": lambda past: _duration(past.created_at, past.ended_at) if past.ended_at else "-",
        "REASON": lambda past: past.reason or "-",
        "OWNER": lambda past: past.owner,
        "PEAK": lambda past: _mebibytes(_used(past, "memory_peak_bytes")),
        "CPU": lambda past: _seconds(_used(past, "cpu_s")),
        "LABELS": _labels,
    }
    _print_table(page.sessions, columns)
    if page.next:
        print("More sessions match: raise --limit, or narrow --since.", file=sys.stderr)


def print_past(session: PastSessionWithEvents) -> None:
    """Print the details of a past session, and its events."""
    rows = {
        "id": session.id,
        "owner": session.owner,
        "labels": _labels(session),
        "created": _created(session),
        "ended": session.ended_at.isoformat() if session.ended_at else "-",
        "why": f"{session.reason}: {session.detail}" if session.reason else "-",
        "peak": _mebibytes(_used(session, "memory_peak_bytes")),
    }
    for event in session.events:
        fields = [f"{name}={value}" for name, value in event.fields.items() if name != "usage"]
        rows[event.at.isoformat()] = f"{event.name} {', '.join(fields)}"
    _print_details(rows)


def _print_check(verdict: str, text: str) -> None:
    colour = _COLOURS[verdict]
    _console().print(f"[{colour}]{verdict:>4}[/{colour}]  {_plain(text)}")


def print_findings(findings: list[Finding]) -> None:
    """Print one line for each check of the machine, and the remedy below."""
    for finding in findings:
        _print_check(finding.verdict, f"{finding.name}: {finding.detail}")
        if finding.remedy:
            _console().print(f"      -> {_plain(finding.remedy)}")


def print_canary(result: CanaryResult) -> None:
    """Print the steps of a canary."""
    for step, seconds in result.steps_s.items():
        _print_check("ok", f"{step}: {seconds * 1000:.1f} ms")
    if not result.ok:
        _print_check("fail", f"{result.step}: {result.error}")
