"""What the commands share: asking the daemon, and showing what it says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chromepool import config, config_sources
from chromepool.errors import ChromepoolError

if TYPE_CHECKING:  # the daemon itself needs none of it
    from chromepool.client import Client

T = TypeVar("T")
as_json = click.option("--json", "as_json", is_flag=True, help="JSON for programs.")


class Group(click.Group):
    """Errors of ours end in a sentence and exit code 1, not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except ChromepoolError as error:
            raise click.ClickException(str(error)) from error


def settings(ctx: click.Context, flags: dict[str, Any]) -> config.Settings:
    """As flags, environment and file have them."""
    file, outer, _ = ctx.obj
    given = {name: value for name, value in flags.items() if value is not None}
    return config_sources.load(outer | given, os.environ, file)


def ask(ctx: click.Context, question: Callable[[Client], Awaitable[T]]) -> T:
    """Runs ``question(client)`` against the daemon."""
    from chromepool.client import Client

    address = ctx.obj[2] or settings(ctx, {}).control_socket

    async def run() -> T:
        # In the environment, not among the arguments: those are everybody's to read.
        async with Client(address, token=os.environ.get("CHROMEPOOL_TOKEN", "")) as client:
            return await question(client)

    return asyncio.run(run())


def print_json(value: object) -> None:
    """For people's programs, and for people."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_line(value: object) -> None:
    """One line of JSON."""
    import msgspec

    click.echo(msgspec.json.encode(value))
