"""Commands for whoever operates the daemon: ``drain`` and ``reload``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from chromepool.cli.asking import ask
from chromepool.errors import ClientBlocked

if TYPE_CHECKING:
    from chromepool.client import Client

_LOOK_S = 0.5


async def _wait(client: Client, *, leaving: bool) -> None:
    """Until no session is left, or, if it is to exit, until the daemon is gone."""
    try:
        while True:
            view = await client.draining()
            if not view.draining:
                raise click.ClickException("The daemon drains no more: somebody has cancelled it.")
            if not view.sessions and not leaving:
                return
            await asyncio.sleep(_LOOK_S)
    except ClientBlocked:
        if not leaving:
            raise


@click.command()
@click.option("--wait", is_flag=True, help="Return when no session is left.")
@click.option("--deadline", type=float, help="Seconds after which those that run are ended.")
@click.option("--exit", "leave", is_flag=True, help="Have the daemon exit when none is left.")
@click.option("--cancel", is_flag=True, help="Take sessions again.")
@click.pass_context
def drain(
    ctx: click.Context, *, wait: bool, deadline: float | None, leave: bool, cancel: bool
) -> None:
    """Take no new sessions; those that run end by themselves, or at a deadline."""

    async def work(client: Client) -> None:
        if cancel:
            await client.undrain()
            return
        view = await client.drain(deadline_s=deadline, exit=leave)
        click.echo(f"draining: {view.sessions} sessions left")
        if wait:
            await _wait(client, leaving=leave)
            click.echo("drained")

    ask(ctx, work)


@click.command()
@click.pass_context
def reload(ctx: click.Context) -> None:
    """Read the settings again and have a new gateway take over; sessions go on."""
    ask(ctx, lambda client: client.reload())
    click.echo("reloaded")
