"""Commands for sessions: ``new``, ``url``, ``ls``, ``show``, ``keepalive`` and ``rm``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from chromepool.cli import output, rpc
from chromepool.cli.rpc import Options, as_json, command

if TYPE_CHECKING:  # an HTTP client, which the daemon does not need
    from chromepool.client import Client
    from chromepool.schema.session import SessionView


def _pairs(values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
    return dict(value.split("=", 1) for value in values)


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic only for the type checker
    """A size as WIDTHxHEIGHT."""

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
        "--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label, repeatable."
    ),
    click.option("--memory-bytes", type=int, help="Memory cap in bytes, up to the operator's."),
    click.option("--idle-timeout", "idle_timeout_s", type=float, help="Idle timeout in seconds."),
    click.option("--max-age", "max_age_s", type=float, help="Longest life in seconds."),
    click.option("--viewport", type=_Size(), help="Size of every page in CSS pixels."),
    click.option("--user-agent", help="User agent that pages and servers see."),
    click.option("--locale", help="Locale of every page, such as de-DE."),
    click.option("--timezone", help="Time zone of every page, such as Europe/Berlin."),
    click.option("--proxy", metavar="URL", help="Proxy as scheme://host:port."),
    click.option("--profile", help="Name of a kept profile."),
    click.option("--downloads", type=click.Choice(["allow", "deny"]), help="Saving of downloads."),
    click.option(
        "--flag", "flags", multiple=True, metavar="--NAME=VALUE", help="Chrome flag, repeatable."
    ),
    click.option("--wait", "wait_s", type=float, default=0.0, help="Wait for a slot in seconds."),
)
"""Options of a session, for each command that creates one."""


def _session_options(command: Callable[..., None]) -> Callable[..., None]:
    return functools.reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


def _create(options: Options, given: dict[str, Any]) -> SessionView:
    request = {name: value for name, value in given.items() if value not in (None, ())}
    request["labels"] = _pairs(given["labels"])
    if "memory_bytes" in request:
        request["limits"] = {"memory_bytes": request.pop("memory_bytes")}
    return options.ask(lambda client: client.create(**request))


@command
@_session_options
@as_json
def new(options: Options, /, as_json: bool, **given: Any) -> None:
    """Create a session."""
    rpc.show(_create(options, given), output.print_session, as_json=as_json)


@command
@_session_options
@click.argument("session_id", required=False)
def url(options: Options, /, session_id: str | None, **given: Any) -> None:
    """Print the WebSocket URL of SESSION_ID, or of a new session."""
    if session_id is None:
        session = _create(options, given)
    else:
        session = options.ask(lambda client: client.show(session_id))
        if session.exit:
            raise click.ClickException(f"The session has ended: {session.exit.detail}.")
    click.echo(session.webSocketDebuggerUrl)


@command
@click.option("--all", "ended", is_flag=True, help="List sessions that have ended as well.")
@as_json
def ls(options: Options, ended: bool, as_json: bool) -> None:
    """List sessions."""
    sessions = options.ask(lambda client: client.list(ended=ended))
    rpc.show(sessions, output.print_sessions, as_json=as_json)


@command
@click.argument("session_id")
@as_json
def show(options: Options, session_id: str, as_json: bool) -> None:
    """Show one session."""
    session = options.ask(lambda client: client.show(session_id))
    rpc.show(session, output.print_session, as_json=as_json)


@command
@click.argument("session_id")
def keepalive(options: Options, session_id: str) -> None:
    """Restart the idle timeout of a session."""
    session = options.ask(lambda client: client.keepalive(session_id))
    click.echo("never" if session.expires_at is None else session.expires_at.isoformat())


@command
@click.argument("session_ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="End every session that `ls` lists.")
def rm(options: Options, session_ids: tuple[str, ...], every: bool) -> None:
    """End sessions. An id is printed once nothing of its session is left."""
    if not session_ids and not every:
        raise click.UsageError("Name a session, or use --all.")

    async def end(client: Client) -> None:
        listed = [session.id for session in await client.list()] if every else []
        for session_id in dict.fromkeys((*session_ids, *listed)):
            await client.delete(session_id)
            click.echo(session_id)

    options.ask(end)
