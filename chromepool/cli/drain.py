"""Commands for whoever operates the daemon: ``drain`` and ``reload``."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from chromepool.cli.rpc import ask
from chromepool.errors import (
    ChromepoolError,
    DaemonUnreachable,
    HostError,
    Restarting,
    ShuttingDown,
)

if TYPE_CHECKING:
    from chromepool.client import Client
    from chromepool.schema.admin import DrainView

_WAIT_S = 30.0
_AGAIN_S = 3.0
"""Pause after a lost answer. A daemon that leaves is gone within it: on a socket of systemd's the
next request would start another one."""
_PATIENCE_S = 120.0
"""A gateway that is replaced, or started again after it died, serves within that."""
_BETWEEN_GATEWAYS = ("no_answer", Restarting.code, DaemonUnreachable.code)


async def _look(client: Client, patience_s: float) -> DrainView:
    """How far it is. A gateway between its end and the next one's start is waited for; raises what
    came instead of an answer when there has been none for ``patience_s``, or there will be none."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return await client.draining(wait_s=_WAIT_S)
        except ChromepoolError as error:
            if error.code not in _BETWEEN_GATEWAYS or time.monotonic() > until:
                raise
        await asyncio.sleep(_AGAIN_S)


async def _drained(client: Client, patience_s: float) -> None:
    """Until no session is left."""
    while True:
        view = await _look(client, patience_s)
        if not view.draining:
            raise click.ClickException("The daemon drains no more: somebody has cancelled it.")
        if not view.sessions:
            return


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[asyncio.Event]:
    """An event that is set when the process has ended. Raises :class:`HostError` where it is not
    to be seen."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        said = f"The daemon's process {pid} is not to be seen here: {error.strerror}."
        raise HostError(
            said, remedy="Use --wait --exit on its machine, or in its container."
        ) from None
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        yield ended
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def _left(client: Client, ended: asyncio.Event) -> None:
    """Until the daemon is gone: seen by its process, since to connect may start the next one."""
    gone = asyncio.create_task(ended.wait())
    drained = asyncio.create_task(_drained(client, math.inf))
    try:
        await asyncio.wait((gone, drained), return_when=asyncio.FIRST_COMPLETED)
        if drained.done():
            _check(drained)
        await gone
    finally:
        for task in (gone, drained):
            task.cancel()


def _check(drained: asyncio.Task[None]) -> None:
    """Raises what it raised, except that the daemon stops: that is what is waited for."""
    try:
        drained.result()
    except ChromepoolError as error:
        if error.code != ShuttingDown.code:
            raise


async def _begin(client: Client, deadline_s: float | None, *, leave: bool) -> None:
    view = await client.drain(deadline_s=deadline_s, exit=leave)
    click.echo(f"draining: {view.sessions} sessions left")


async def _drain(client: Client, deadline_s: float | None, *, leave: bool, wait: bool) -> None:
    if not wait:
        await _begin(client, deadline_s, leave=leave)
        return
    if leave:
        with _watched((await client.draining()).pid) as ended:  # before it may be gone
            await _begin(client, deadline_s, leave=True)
            await _left(client, ended)
    else:
        await _begin(client, deadline_s, leave=False)
        await _drained(client, _PATIENCE_S)
    click.echo("drained")


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
        else:
            await _drain(client, deadline, leave=leave, wait=wait)

    ask(ctx, work)


@click.command()
@click.pass_context
def reload(ctx: click.Context) -> None:
    """Read the settings again and have a new gateway take over; sessions go on."""
    ask(ctx, lambda client: client.reload())
    click.echo("reloaded")
