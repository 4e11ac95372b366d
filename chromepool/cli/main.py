"""``chromepool``: the daemon and the commands that talk to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from chromepool import __version__, config
from chromepool.errors import ChromepoolError

T = TypeVar("T")
_json = click.option("--json", "as_json", is_flag=True, help="JSON for programs.")


class _Group(click.Group):
    """Errors of ours end in a sentence and exit code 1, not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ChromepoolError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
@click.version_option(__version__)
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file of settings.")
@click.option("--runtime-dir", help="Folder of the daemon's control socket.")
@click.pass_context
def cli(ctx: click.Context, file: Path | None, runtime_dir: str | None) -> None:
    """A Chrome of its own for every session, inside hard limits, cleaned up completely."""
    ctx.obj = (file, {"runtime_dir": runtime_dir} if runtime_dir else {})


def _settings(ctx: click.Context, flags: dict[str, Any]) -> config.Settings:
    file, outer = ctx.obj
    given = {name: value for name, value in flags.items() if value is not None}
    return config.load(outer | given, os.environ, file)


def _setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """One flag for each setting of the table."""
    for name, field in reversed(config.FIELDS.items()):
        text = field.metadata["help"]
        default = f" [{field.default}]" if field.default not in ("", False) else ""
        switch: dict[str, Any] = {}
        if isinstance(field.default, bool):
            switch = {"is_flag": True, "default": None}
        option = click.option(config.flag_of(name), name, help=text + default, **switch)
        command = option(command)
    return command


@cli.command()
@_setting_flags
@click.pass_context
def serve(ctx: click.Context, /, **flags: Any) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    from chromepool.supervisor import daemon

    daemon.serve(_settings(ctx, flags))


def _ask(ctx: click.Context, question: Callable[..., Awaitable[T]]) -> T:
    """Runs ``question(client)`` against the daemon."""
    from chromepool.client import Client

    async def run() -> T:
        async with Client(_settings(ctx, {}).control_socket) as client:
            return await question(client)

    return asyncio.run(run())


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _pairs(values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
    return dict(value.split("=", 1) for value in values)


_label = click.option("--label", "labels", multiple=True, help="NAME=VALUE, may be repeated.")
_memory = click.option("--memory-bytes", type=int, help="Memory cap, up to the operator's.")


def _create(ctx: click.Context, labels: tuple[str, ...], memory_bytes: int | None) -> Any:
    limits = {} if memory_bytes is None else {"memory_bytes": memory_bytes}
    return _ask(ctx, lambda client: client.create(_pairs(labels), limits))


@cli.command()
@_label
@_memory
@_json
@click.pass_context
def new(
    ctx: click.Context, labels: tuple[str, ...], memory_bytes: int | None, as_json: bool
) -> None:
    """Create a session."""
    from chromepool.cli import tables

    session = _create(ctx, labels, memory_bytes)
    if as_json:
        _print_json(session)
    else:
        tables.print_session(session)


@cli.command()
@_label
@_memory
@click.argument("session_id", required=False)
@click.pass_context
def url(
    ctx: click.Context,
    session_id: str | None,
    labels: tuple[str, ...],
    memory_bytes: int | None,
) -> None:
    """Print a WebSocket URL: of SESSION_ID, or of a new session."""
    if session_id is None:
        session = _create(ctx, labels, memory_bytes)
    else:
        session = _ask(ctx, lambda client: client.show(session_id))
        if session["exit"]:
            raise click.ClickException(f"The session is over: {session['exit']['detail']}.")
    click.echo(session["webSocketDebuggerUrl"])


@cli.command()
@click.option("--all", "ended", is_flag=True, help="Also sessions that are over.")
@_json
@click.pass_context
def ls(ctx: click.Context, ended: bool, as_json: bool) -> None:
    """List sessions."""
    from chromepool.cli import tables

    sessions = _ask(ctx, lambda client: client.list(ended=ended))
    if as_json:
        _print_json(sessions)
    else:
        tables.print_sessions(sessions)


@cli.command()
@click.argument("session_id")
@_json
@click.pass_context
def show(ctx: click.Context, session_id: str, as_json: bool) -> None:
    """Show one session."""
    from chromepool.cli import tables

    session = _ask(ctx, lambda client: client.show(session_id))
    if as_json:
        _print_json(session)
    else:
        tables.print_session(session)


@cli.command()
@click.argument("session_ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every session.")
@click.pass_context
def rm(ctx: click.Context, session_ids: tuple[str, ...], every: bool) -> None:
    """End sessions; each is gone completely when its id is printed."""
    if not session_ids and not every:
        raise click.UsageError("Name a session, or say --all.")

    async def end(client: Any) -> None:
        listed = [session["id"] for session in await client.list()] if every else []
        for session_id in dict.fromkeys((*session_ids, *listed)):
            await client.delete(session_id)
            click.echo(session_id)

    _ask(ctx, end)


@cli.command()
@_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: Chrome, sandbox, control groups, /dev/shm, limits."""
    from chromepool.cli import tables
    from chromepool.cli.doctor import examine

    findings = examine(_settings(ctx, {}))
    if as_json:
        _print_json([finding.as_dict() for finding in findings])
    else:
        tables.print_findings(findings)
    sys.exit(any(finding.verdict == "fail" for finding in findings))


def main() -> None:
    """The console script."""
    cli()


if __name__ == "__main__":
    main()
