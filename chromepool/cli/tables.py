"""Tables for people."""

from __future__ import annotations

import datetime
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chromepool.cli.doctor import Finding

_MIB = 1024 * 1024
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def _console() -> Console:
    """As wide as it takes: an id or a URL that was cut is of no use."""
    return Console(soft_wrap=True, highlight=False, width=400 if not sys.stdout.isatty() else None)


def _plain(text: str) -> str:
    """Text of somebody else's, without markup and without control characters for the terminal."""
    return escape("".join(letter for letter in text if letter.isprintable()))


def _age(created_at: str) -> str:
    then = datetime.datetime.fromisoformat(created_at)
    seconds = int((datetime.datetime.now(datetime.UTC) - then).total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _mebibytes(value: int | None) -> str:
    return "-" if value is None else f"{value / _MIB:.0f} MiB"


def _state(session: dict[str, Any]) -> str:
    ended = session["exit"]
    return f"{session['state']} ({ended['reason']})" if ended else session["state"]


def print_sessions(sessions: list[dict[str, Any]]) -> None:
    """One line each."""
    table = Table(box=None, pad_edge=False)
    for column in ("ID", "STATE", "AGE", "OWNER", "CLIENTS", "MEMORY", "LABELS"):
        table.add_column(column, no_wrap=True, overflow="ignore")
    for session in sessions:
        labels = _plain(",".join(f"{name}={value}" for name, value in session["labels"].items()))
        table.add_row(
            session["id"],
            _state(session),
            _age(session["created_at"]),
            session["owner"],
            str(session["clients"]),
            _mebibytes(session["usage"]["memory_bytes"]),
            labels,
        )
    _console().print(table)


def print_session(session: dict[str, Any]) -> None:
    """All of one."""
    usage, limits, ended = session["usage"], session["limits"], session["exit"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    enforced = "" if limits["enforced"] else " (NOT enforced)"
    rows = {
        "id": session["id"],
        "state": _state(session),
        "WebSocket": session["webSocketDebuggerUrl"],
        "HTTP": session["devtools_url"],
        "owner": session["owner"],
        "created": session["created_at"],
        "last active": session["last_active_at"],
        "clients": str(session["clients"]),
        "memory": f"{_mebibytes(usage['memory_bytes'])} of {_mebibytes(limits['memory_bytes'])}"
        + enforced,
        "peak": _mebibytes(usage["memory_peak_bytes"]),
        "cpu": "-" if usage["cpu_s"] is None else f"{usage['cpu_s']:.2f} s",
        "processes": str(usage["processes"]),
    }
    if ended:
        rows["ended"] = f"{ended['reason']}: {ended['detail']}"
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/bold]", _plain(value))
    _console().print(table)


def print_findings(findings: list[Finding]) -> None:
    """One line each, and the remedy below what needs one."""
    console = _console()
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        console.print(
            f"[{colour}]{finding.verdict:>4}[/{colour}]  {finding.name}: {finding.detail}"
        )
        if finding.remedy:
            console.print(f"      -> {finding.remedy}")
