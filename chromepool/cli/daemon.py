"""Commands for the daemon: its state, its history, its drain, and the machine that it runs on."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chromepool.cli import output
from chromepool.cli.rpc import Options, as_json, command, show
from chromepool.errors import HostError

if TYPE_CHECKING:  # an HTTP client, which the daemon does not need
    from chromepool.client import Client

_PROBE_TIMEOUT_S = 5.0
_LONGEST_PROBE = 64 * 1024


@command
@as_json
def status(options: Options, as_json: bool) -> None:
    """Show the daemon's slots, queue and machine."""
    show(options.ask(lambda client: client.status()), output.print_status, as_json=as_json)


@command
@as_json
def queue(options: Options, as_json: bool) -> None:
    """List the callers that wait for a slot."""
    show(options.ask(lambda client: client.queue()), output.print_queue, as_json=as_json)


@command
@click.argument("session_id", required=False)
@click.option("--since", help="Sessions that ended in the last 90s, 15m, 2h or 7d.")
@click.option("--owner", help="Sessions of this owner only.")
@click.option("--reason", help="Sessions that ended for this reason, such as crashed.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Most sessions."
)
@as_json
def history(options: Options, /, session_id: str | None, as_json: bool, **asked: Any) -> None:
    """List past sessions, the newest first. With SESSION_ID, show that session and its events."""
    if session_id is not None:
        past = options.ask(lambda client: client.past(session_id))
        return show(past, output.print_past, as_json=as_json)
    page = options.ask(lambda client: client.history(**asked))
    show(page.sessions, lambda _: output.print_history(page), as_json=as_json)


@command
@click.option("--after", type=int, help="Number of the last event that is known already.")
def events(options: Options, after: int | None) -> None:
    """Follow the events of sessions. They are printed as lines of JSON until Ctrl-C."""

    import msgspec

    async def follow(client: Client) -> None:
        async for event in client.events(after):
            click.echo(msgspec.json.encode(event))

    options.ask(follow)


@command
@as_json
def canary(options: Options, as_json: bool) -> None:
    """Try the whole path of a user. A session is created, used with pyppeteer and deleted."""
    from chromepool.canary import Canary

    result = options.ask(lambda client: Canary(client).fly())
    show(result, output.print_canary, as_json=as_json)
    sys.exit(not result.ok)


def _probe(control_socket: Path, path: str) -> tuple[int, str]:
    """Return status and body of ``GET path``; raises :class:`HostError` without an answer.

    A plain socket is enough: the HTTP client of the other commands takes longer to load than the
    daemon to answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PROBE_TIMEOUT_S)
            connection.connect(str(control_socket))
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            with connection.makefile(encoding="utf-8", errors="replace", newline="") as file:
                head, _, body = file.read(_LONGEST_PROBE).partition("\r\n\r\n")
        status = re.match(r"\S+ +(\d+)", head)
        if status is None:
            raise ConnectionError("the answer is not that of a chromepool daemon")
    except OSError as error:
        raise HostError(
            f"No daemon answers on {control_socket}: {error}.",
            remedy="Start one with `chromepool serve`, or give its --runtime-dir.",
        ) from error
    return int(status[1]), body.strip()


@command
@click.option("--ready", is_flag=True, help="Check that one more session would be accepted.")
def health(options: Options, ready: bool) -> None:
    """Check that the daemon answers. The exit code is 0 if it does."""
    code, body = _probe(options.settings().control_socket, "/readyz" if ready else "/healthz")
    click.echo(body)
    sys.exit(code != 200)


@command
@as_json
def doctor(options: Options, as_json: bool) -> None:
    """Check this machine: Chrome, sandbox, limits."""
    from chromepool.cli.doctor import examine

    findings = examine(options.settings())
    show(findings, output.print_findings, as_json=as_json)
    sys.exit(any(finding.verdict == "fail" for finding in findings))


@command
@click.option("--wait", is_flag=True, help="Return only when no session is left.")
@click.option("--deadline", type=float, help="Seconds after which running sessions are ended.")
@click.option("--exit", "leave", is_flag=True, help="Exit the daemon when no session is left.")
@click.option("--cancel", is_flag=True, help="Accept sessions again.")
def drain(
    options: Options, *, wait: bool, deadline: float | None, leave: bool, cancel: bool
) -> None:
    """Accept no new sessions. Running ones end by themselves, or at a deadline."""
    from chromepool.cli import drain as draining

    if cancel:
        return options.ask(lambda client: client.undrain())
    options.ask(lambda client: draining.drain(client, deadline, leave=leave, wait=wait))


@command
def reload(options: Options) -> None:
    """Read the settings again. A new gateway takes over; sessions continue."""
    options.ask(lambda client: client.reload())
    click.echo("reloaded")
