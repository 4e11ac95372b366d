"""Commands for the daemon: its state, its history, its drain, and the machine that it runs on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from chromepool.cli import output
from chromepool.cli.rpc import Options, as_json, print_line, show

if TYPE_CHECKING:  # an HTTP client, which the daemon does not need
    from chromepool.client import Client


@click.command()
@as_json
@click.pass_obj
def status(options: Options, as_json: bool) -> None:
    """Show the daemon's slots, queue and machine."""
    show(options.ask(lambda client: client.status()), output.print_status, as_json=as_json)


@click.command()
@as_json
@click.pass_obj
def queue(options: Options, as_json: bool) -> None:
    """List the callers that wait for a slot."""
    show(options.ask(lambda client: client.queue()), output.print_queue, as_json=as_json)


@click.command()
@click.argument("session_id", required=False)
@click.option("--since", help="Sessions that ended in the last 90s, 15m, 2h or 7d.")
@click.option("--owner", help="Sessions of this owner only.")
@click.option("--reason", help="Sessions that ended for this reason, such as crashed.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Most sessions."
)
@as_json
@click.pass_obj
def history(options: Options, /, session_id: str | None, as_json: bool, **asked: Any) -> None:
    """List past sessions, the newest first. With SESSION_ID, show that session and its events."""
    if session_id is not None:
        past = options.ask(lambda client: client.past(session_id))
        return show(past, output.print_past, as_json=as_json)
    given = {name: value for name, value in asked.items() if value is not None}
    page = options.ask(lambda client: client.history(**given))
    show(page.sessions, lambda _: output.print_history(page), as_json=as_json)


@click.command()
@click.option("--after", type=int, help="Number of the last event that is known already.")
@click.pass_obj
def events(options: Options, after: int | None) -> None:
    """Follow the events of sessions. They are printed as lines of JSON until Ctrl-C."""

    async def follow(client: Client) -> None:
        async for event in client.events(after):
            print_line(event)

    options.ask(follow)


@click.command()
@as_json
@click.pass_obj
def canary(options: Options, as_json: bool) -> None:
    """Try the whole path of a user. A session is created, used with pyppeteer and deleted."""
    from chromepool.canary import Canary

    result = options.ask(lambda client: Canary(client).fly())
    show(result, output.print_canary, as_json=as_json)
    sys.exit(not result.ok)


@click.command()
@click.option("--ready", is_flag=True, help="Check that one more session would be accepted.")
@click.pass_obj
def health(options: Options, ready: bool) -> None:
    """Check that the daemon answers. The exit code is 0 if it does."""
    from chromepool.cli import probe

    code, body = probe.ask(options.settings().control_socket, "/readyz" if ready else "/healthz")
    click.echo(body)
    sys.exit(code != 200)


@click.command()
@as_json
@click.pass_obj
def doctor(options: Options, as_json: bool) -> None:
    """Check this machine: Chrome, sandbox, limits."""
    from chromepool.cli.doctor import examine

    findings = examine(options.settings())
    show(findings, output.print_findings, as_json=as_json)
    sys.exit(any(finding.verdict == "fail" for finding in findings))


@click.command()
@click.option("--wait", is_flag=True, help="Return only when no session is left.")
@click.option("--deadline", type=float, help="Seconds after which running sessions are ended.")
@click.option("--exit", "leave", is_flag=True, help="Exit the daemon when no session is left.")
@click.option("--cancel", is_flag=True, help="Accept sessions again.")
@click.pass_obj
def drain(
    options: Options, *, wait: bool, deadline: float | None, leave: bool, cancel: bool
) -> None:
    """Accept no new sessions. Running ones end by themselves, or at a deadline."""
    from chromepool.cli import drain as draining

    async def work(client: Client) -> None:
        if cancel:
            await client.undrain()
        else:
            await draining.drain(client, deadline, leave=leave, wait=wait)

    options.ask(work)


@click.command()
@click.pass_obj
def reload(options: Options) -> None:
    """Read the settings again. A new gateway takes over; sessions continue."""
    options.ask(lambda client: client.reload())
    click.echo("reloaded")


COMMANDS: tuple[click.Command, ...] = (
    status,
    queue,
    history,
    events,
    canary,
    health,
    doctor,
    drain,
    reload,
)
