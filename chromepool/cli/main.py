"""``chromepool``: the daemon and the commands that talk to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chromepool import __version__, config
from chromepool.cli.drain import drain, reload
from chromepool.cli.install import install, uninstall
from chromepool.cli.rpc import Group, as_json, ask, print_json, print_line, settings
from chromepool.logs import set_up_logging

if TYPE_CHECKING:  # the daemon itself needs none of it
    from chromepool.client import Client
    from chromepool.schema.session import SessionView


@click.group(cls=Group)
@click.version_option(__version__)
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file of settings.")
@click.option("--runtime-dir", help="Folder of the daemon's control socket.")
@click.option(
    "--address",
    envvar="CHROMEPOOL_ADDRESS",
    help="http://HOST:PORT of a daemon with control_tcp; its token in CHROMEPOOL_TOKEN.",
)
@click.pass_context
def cli(
    ctx: click.Context, file: Path | None, runtime_dir: str | None, address: str | None
) -> None:
    """A Chrome of its own for every session, inside hard limits, cleaned up completely."""
    ctx.obj = (file, {"runtime_dir": runtime_dir} if runtime_dir else {}, address)


def _setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """One flag for each setting of the table."""
    for name, field in reversed(config.FIELDS.items()):
        text = field.metadata["help"]
        default = f" [{field.default}]" if field.default not in ("", False) else ""
        switch: dict[str, Any] = {}
        if isinstance(field.default, bool):
            switch = {"is_flag": True, "default": None}
        flag = config.flag_of(name)
        if field.default is True:
            flag, default = f"{flag}/--no-{flag[2:]}", " [on]"
        option = click.option(flag, name, help=text + default, **switch)
        command = option(command)
    return command


@cli.command()
@_setting_flags
@click.pass_context
def serve(ctx: click.Context, /, **flags: Any) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    from chromepool.supervisor import main as daemon

    daemon.serve(lambda: settings(ctx, flags))


@cli.command("after-stop", hidden=True)
@click.option("--keep-controllers", is_flag=True)
@click.pass_context
def after_stop(ctx: click.Context, keep_controllers: bool) -> None:
    """What the unit's ExecStopPost= runs."""
    from chromepool.supervisor.systemd import after_stop as stopped

    set_up_logging("info")
    stopped.after_stop(settings(ctx, {}), os.environ, keep_controllers=keep_controllers)


def _pairs(values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
    return dict(value.split("=", 1) for value in values)


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic only for the type checker
    """WIDTHxHEIGHT."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, int]:
        width, _, height = str(value).partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            self.fail(f"{value!r} is not WIDTHxHEIGHT")
        return {"width": int(width), "height": int(height)}


_OPTIONS = (
    click.option(
        "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label, may be repeated."
    ),
    click.option("--memory-bytes", type=int, help="Memory cap, from 67108864 to the operator's."),
    click.option(
        "--idle-timeout",
        "idle_timeout_s",
        type=float,
        help="Seconds without a CDP command until it ends.",
    ),
    click.option("--max-age", "max_age_s", type=float, help="Seconds it lives at most."),
    click.option("--viewport", type=_Size(), help="Size of every page."),
    click.option("--user-agent", help="What pages and servers are told."),
    click.option("--locale", help="Such as de-DE."),
    click.option("--timezone", help="Such as Europe/Berlin."),
    click.option("--proxy", metavar="URL", help="scheme://host:port."),
    click.option("--profile", help="Name of a profile that is kept."),
    click.option(
        "--downloads", type=click.Choice(["allow", "deny"]), help="Whether files are saved."
    ),
    click.option(
        "--flag",
        "flags",
        multiple=True,
        metavar="--NAME=VALUE",
        help="A flag of Chrome's, may be repeated.",
    ),
    click.option("--wait", "wait_s", type=float, default=0.0, help="Seconds to wait for a place."),
)
"""What a session may be given, for each command that makes one."""


def _session_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _create(ctx: click.Context, given: dict[str, Any]) -> SessionView:
    options = {name: value for name, value in given.items() if value not in (None, ())}
    options["labels"] = _pairs(given["labels"])
    memory_bytes = options.pop("memory_bytes", None)
    if memory_bytes is not None:
        options["limits"] = {"memory_bytes": memory_bytes}
    return ask(ctx, lambda client: client.create(**options))


@cli.command()
@_session_options
@as_json
@click.pass_context
def new(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Create a session."""
    from chromepool.cli import output

    session = _create(ctx, given)
    if as_json:
        print_json(session)
    else:
        output.print_session(session)


@cli.command()
@_session_options
@click.argument("session_id", required=False)
@click.pass_context
def url(ctx: click.Context, /, session_id: str | None, **given: Any) -> None:
    """Print a WebSocket URL: of SESSION_ID, or of a new session."""
    if session_id is None:
        session = _create(ctx, given)
    else:
        session = ask(ctx, lambda client: client.show(session_id))
        if session.exit:
            raise click.ClickException(f"The session is over: {session.exit.detail}.")
    click.echo(session.webSocketDebuggerUrl)


@cli.command()
@click.argument("session_id")
@click.pass_context
def keepalive(ctx: click.Context, session_id: str) -> None:
    """Begin a session's idle timeout anew."""
    session = ask(ctx, lambda client: client.keepalive(session_id))
    click.echo("never" if session.expires_at is None else session.expires_at.isoformat())


@cli.command()
@as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show the daemon: places, queue, warm Chromes, what it found on its machine."""
    from chromepool.cli import output

    found = ask(ctx, lambda client: client.status())
    if as_json:
        print_json(found)
    else:
        output.print_status(found)


@cli.command()
@as_json
@click.pass_context
def queue(ctx: click.Context, as_json: bool) -> None:
    """List callers that wait for a place."""
    from chromepool.cli import output

    waiting = ask(ctx, lambda client: client.queue())
    if as_json:
        print_json(waiting)
    else:
        output.print_queue(waiting)


@cli.command()
@click.argument("session_id", required=False)
@click.option("--since", help="Those that ended in the last 90s, 15m, 2h, 7d.")
@click.option("--owner", help="Of this owner only.")
@click.option("--reason", help="Those that ended for this reason, such as crashed.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many."
)
@as_json
@click.pass_context
def history(ctx: click.Context, /, session_id: str | None, as_json: bool, **asked: Any) -> None:
    """List sessions of the past, the newest first, or show what happened to SESSION_ID."""
    from chromepool.cli import output

    if session_id is not None:
        past = ask(ctx, lambda client: client.past(session_id))
        return print_json(past) if as_json else output.print_past(past)
    given = {name: value for name, value in asked.items() if value is not None}
    page = ask(ctx, lambda client: client.history(**given))
    return print_json(page.sessions) if as_json else output.print_history(page)


@cli.command()
@as_json
@click.pass_context
def canary(ctx: click.Context, as_json: bool) -> None:
    """Go the whole way a user goes: create, connect, load, evaluate, delete."""
    from chromepool.canary import Canary
    from chromepool.cli import output

    flight = ask(ctx, lambda client: Canary(client).fly())
    if as_json:
        print_json(flight.as_dict())
    else:
        output.print_flight(flight)
    sys.exit(not flight.ok)


@cli.command()
@click.option("--after", type=int, help="Number of the last event that is known.")
@click.pass_context
def events(ctx: click.Context, after: int | None) -> None:
    """Follow what happens to sessions, a line of JSON each, until Ctrl-C."""

    async def follow(client: Client) -> None:
        async for event in client.events(after):
            print_line(event)

    ask(ctx, follow)


@cli.command()
@click.option("--all", "ended", is_flag=True, help="Also sessions that are over.")
@as_json
@click.pass_context
def ls(ctx: click.Context, ended: bool, as_json: bool) -> None:
    """List sessions."""
    from chromepool.cli import output

    sessions = ask(ctx, lambda client: client.list(ended=ended))
    if as_json:
        print_json(sessions)
    else:
        output.print_sessions(sessions)


@cli.command()
@click.argument("session_id")
@as_json
@click.pass_context
def show(ctx: click.Context, session_id: str, as_json: bool) -> None:
    """Show one session."""
    from chromepool.cli import output

    session = ask(ctx, lambda client: client.show(session_id))
    if as_json:
        print_json(session)
    else:
        output.print_session(session)


@cli.command()
@click.argument("session_ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every session.")
@click.pass_context
def rm(ctx: click.Context, session_ids: tuple[str, ...], every: bool) -> None:
    """End sessions; each is gone completely when its id is printed."""
    if not session_ids and not every:
        raise click.UsageError("Name a session, or say --all.")

    async def end(client: Client) -> None:
        listed = [session.id for session in await client.list()] if every else []
        for session_id in dict.fromkeys((*session_ids, *listed)):
            await client.delete(session_id)
            click.echo(session_id)

    ask(ctx, end)


@cli.command()
@click.option("--ready", is_flag=True, help="Whether one more session would be taken.")
@click.pass_context
def health(ctx: click.Context, ready: bool) -> None:
    """Ask whether the daemon answers: exit code 0 when it does. For probes."""
    from chromepool.cli import probe

    code, body = probe.ask(settings(ctx, {}).control_socket, "/readyz" if ready else "/healthz")
    click.echo(body)
    sys.exit(code != 200)


@cli.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: Chrome, sandbox, control groups, /dev/shm, limits."""
    from chromepool.cli import output
    from chromepool.cli.doctor import examine

    findings = examine(settings(ctx, {}))
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        output.print_findings(findings)
    sys.exit(any(finding.verdict == "fail" for finding in findings))


for command in (drain, reload, install, uninstall):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    cli()


if __name__ == "__main__":
    main()
