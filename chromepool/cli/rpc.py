"""Shared parts of the commands: the options before them, requests to the daemon, output."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chromepool import config, config_sources
from chromepool.errors import ChromepoolError

if TYPE_CHECKING:  # the daemon, which is a command too, needs no HTTP client and no asyncio
    from chromepool.client import Client

T = TypeVar("T")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def command(function: Callable[..., object]) -> click.Command:
    """Make a command of a function whose first argument are the :class:`Options`."""
    return click.command()(click.pass_obj(function))


class Group(click.Group):
    """A group whose commands end with a sentence and exit code 1 on an error of chromepool."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ChromepoolError as error:
            raise click.ClickException(str(error)) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before the command: they name the settings and the daemon."""

    file: Path | None = None
    """YAML file of settings; None: the default one, if it exists."""
    runtime_dir: str | None = None
    address: str | None = None
    """URL of a daemon with ``control_tcp``; None: the control socket of this machine's daemon."""

    def settings(self, flags: dict[str, Any] | None = None) -> config.Settings:
        """Load the settings from flags, environment and file."""
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        outer = {"runtime_dir": self.runtime_dir or None}
        return config_sources.load(outer | given, os.environ, self.file)

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Return the answer of the daemon: run ``question(client)``."""
        import asyncio

        from chromepool.client import Client

        address = self.address or self.settings().control_socket

        async def run() -> T:
            # From the environment: every user can read the arguments of a process.
            async with Client(address, token=os.environ.get("CHROMEPOOL_TOKEN", "")) as client:
                return await question(client)

        return asyncio.run(run())


def show(value: T, print_table: Callable[[T], None], *, as_json: bool) -> None:
    """Print a value as JSON for programs, or as a table for people."""
    if not as_json:
        return print_table(value)
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
