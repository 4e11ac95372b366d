"""Tables for people. What only describes a value, or draws it, is imported when it is needed."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from chromepool.cli.doctor import Finding
    from chromepool.schema.admin import CanaryResult, MemoryStatus, StatusView, WaiterView
    from chromepool.schema.history import HistoryPage, PastSession, PastSessionWithEvents
    from chromepool.schema.session import SessionView

_MIB = 1024 * 1024
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def _console() -> Console:
    """Make a console that cuts no line in a pipe: half an id or URL is of no use."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, width=400 if not sys.stdout.isatty() else None)


def _plain(text: str) -> str:
    """Strip markup and control characters: the text may be a client's or a page's."""
    from rich.markup import escape

    return escape("".join(letter for letter in text if letter.isprintable()))


def _age(then: datetime.datetime) -> str:
    return _duration((datetime.datetime.now(datetime.UTC) - then).total_seconds())


def _duration(value: float) -> str:
    seconds = int(value)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _mebibytes(value: int | None) -> str:
    return "-" if value is None else f"{value / _MIB:.0f} MiB"


def _state(session: SessionView) -> str:
    return f"{session.state} ({session.exit.reason})" if session.exit else session.state


def _labels(labels: dict[str, str]) -> str:
    return _plain(",".join(f"{name}={value}" for name, value in labels.items()))


def _columns(*names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True, overflow="ignore")
    return table


def _print_rows(rows: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/bold]", _plain(value))
    _console().print(table)


def print_sessions(sessions: list[SessionView]) -> None:
    """Print one line for each session."""
    table = _columns("ID", "STATE", "AGE", "OWNER", "CLIENTS", "MEMORY", "LABELS")
    for session in sessions:
        table.add_row(
            session.id,
            _state(session),
            _age(session.created_at),
            session.owner,
            str(session.clients),
            _mebibytes(session.usage.memory_bytes),
            _labels(session.labels),
        )
    _console().print(table)


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
        "created": session.created_at.isoformat() + (" (warm)" if session.warm else ""),
        "last active": session.last_active_at.isoformat(),
        "expires": "-" if session.exit else expires,
        "clients": str(session.clients),
        "memory": memory + ("" if limits.enforced else " (NOT enforced)"),
        "peak": _mebibytes(usage.memory_peak_bytes),
        "cpu": "-" if usage.cpu_s is None else f"{usage.cpu_s:.2f} s",
        "processes": str(usage.processes),
        "CDP": f"{usage.cdp_messages_in} messages in, {usage.cdp_messages_out} out",
    }
    if session.exit:
        rows["ended"] = f"{session.exit.reason}: {session.exit.detail}"
    _print_rows(rows)


def _memory(memory: MemoryStatus) -> str:
    left = "" if memory.left_bytes is None else f"{memory.left_bytes // _MIB} MiB left"
    return left if memory.cap_bytes is None else f"{left}, cap {memory.cap_bytes // _MIB} MiB"


def print_status(status: StatusView) -> None:
    """Print the state of the daemon."""
    warm, breaker = status.warm, status.breaker
    rows = {
        "version": status.version,
        "sessions": f"{status.sessions.now} of {status.sessions.max}",
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
    if status.sessions.admitted is not None:
        rows["sessions"] += f", {status.sessions.admitted} admitted"
    for alert in status.alerts:
        rows[f"alert {alert.name}"] = f"{alert.severity}: {alert.text}"
    for number, warning in enumerate(status.host.warnings, 1):
        rows[f"warning {number}"] = warning
    _print_rows(rows)


def print_queue(waiting: Sequence[WaiterView]) -> None:
    """Print one line for each waiting caller."""
    table = _columns("PLACE", "OWNER", "WAITING", "LABELS")
    for waiter in waiting:
        waited = f"{waiter.waiting_s:.0f} s"
        table.add_row(str(waiter.place), waiter.owner, waited, _labels(waiter.labels))
    _console().print(table)


def _span(session: PastSession) -> str:
    """Return the length of a session's life."""
    if session.ended_at is None:
        return "-"
    return _duration((session.ended_at - session.created_at).total_seconds())


def _used(session: PastSession, name: str) -> Any:
    return (session.usage or {}).get(name)


def print_history(page: HistoryPage) -> None:
    """Print one line for each past session."""
    table = _columns("ID", "CREATED", "LIVED", "REASON", "OWNER", "PEAK", "CPU", "LABELS")
    for session in page.sessions:
        cpu_s = _used(session, "cpu_s")
        table.add_row(
            session.id,
            session.created_at.isoformat(timespec="seconds"),
            _span(session),
            session.reason or "-",
            _plain(session.owner),
            _mebibytes(_used(session, "memory_peak_bytes")),
            "-" if cpu_s is None else f"{cpu_s:.2f} s",
            _labels(session.labels),
        )
    _console().print(table)
    if page.next:
        print("More sessions match: raise --limit, or narrow --since.", file=sys.stderr)


def print_past(session: PastSessionWithEvents) -> None:
    """Print the details of a past session, and its events."""
    rows = {
        "id": session.id,
        "owner": session.owner,
        "labels": ",".join(f"{name}={value}" for name, value in session.labels.items()),
        "created": session.created_at.isoformat() + (" (warm)" if session.warm else ""),
        "ended": session.ended_at.isoformat() if session.ended_at else "-",
        "why": f"{session.reason}: {session.detail}" if session.reason else "-",
        "peak": _mebibytes(_used(session, "memory_peak_bytes")),
    }
    for event in session.events:
        fields = [f"{name}={value}" for name, value in event.fields.items() if name != "usage"]
        rows[event.at.isoformat()] = f"{event.name} {', '.join(fields)}"
    _print_rows(rows)


def print_findings(findings: list[Finding]) -> None:
    """Print one line for each check of the machine, and the remedy below."""
    console = _console()
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        console.print(
            f"[{colour}]{finding.verdict:>4}[/{colour}]  {finding.name}: {_plain(finding.detail)}"
        )
        if finding.remedy:
            console.print(f"      -> {_plain(finding.remedy)}")


def print_canary(result: CanaryResult) -> None:
    """Print the steps of a canary."""
    console = _console()
    for step, seconds in result.steps_s.items():
        console.print(f"[green]  ok[/green]  {step}: {seconds * 1000:.1f} ms")
    if not result.ok:
        console.print(f"[red]fail[/red]  {result.step}: {_plain(result.error)}")
