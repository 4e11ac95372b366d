"""``chromepool drain``: begin a drain, and wait for its end across a change of gateways."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from typing import TYPE_CHECKING

import click
import tenacity

from chromepool import errors

if TYPE_CHECKING:
    from chromepool.client import Client
    from chromepool.schema.admin import DrainView

_WAIT_S = 30.0
_AGAIN_S = 3.0
"""Pause after a lost answer. A daemon that leaves has exited by then: on a socket of systemd, a
request that comes any later would start another one."""
_PATIENCE_S = 120.0
"""Time for a gateway to serve again after it was replaced or has died."""
_BETWEEN_GATEWAYS = ("no_answer", errors.Restarting.code, errors.DaemonUnreachable.code)


async def _drained(client: Client, patience_s: float) -> None:
    """Return when no session is left; raise a refusal, or the failure after ``patience_s``."""
    look = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(lambda e: getattr(e, "code", "") in _BETWEEN_GATEWAYS),
        stop=tenacity.stop_after_delay(patience_s),
        wait=tenacity.wait_fixed(_AGAIN_S),
        reraise=True,
    )
    while True:
        view: DrainView = await look(client.draining, wait_s=_WAIT_S)
        if not view.draining:
            raise click.ClickException("The drain was cancelled: sessions are accepted again.")
        if not view.sessions:
            return


def _watch(pid: int, stack: contextlib.ExitStack) -> asyncio.Event:
    """Return an event that is set when the process has exited; raises :class:`HostError`."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise errors.HostError(
            f"The daemon's process {pid} cannot be watched from here: {error.strerror}.",
            remedy="Run drain --wait --exit on the daemon's machine, or in its container.",
        ) from None
    stack.callback(os.close, pidfd)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    stack.callback(loop.remove_reader, pidfd)
    return ended


async def _left(client: Client, ended: asyncio.Event) -> None:
    """Return when the daemon's process has exited. A connection could start the next daemon."""
    gone = asyncio.create_task(ended.wait())
    drained = asyncio.create_task(_drained(client, math.inf))
    try:
        await asyncio.wait((gone, drained), return_when=asyncio.FIRST_COMPLETED)
        if drained.done():
            await drained
    except errors.ChromepoolError as error:
        if error.code != errors.ShuttingDown.code:
            raise
    finally:
        gone.cancel()
        drained.cancel()
    await ended.wait()


async def drain(client: Client, deadline_s: float | None, *, leave: bool, wait: bool) -> None:
    """Drain the daemon; ``leave``: it exits afterwards, ``wait``: return when that is done."""
    with contextlib.ExitStack() as stack:
        ended = None
        if leave and wait:  # watched before it may be gone
            ended = _watch((await client.draining()).pid, stack)
        view = await client.drain(deadline_s=deadline_s, exit=leave)
        click.echo(f"draining: {view.sessions} sessions left")
        if not wait:
            return
        await (_left(client, ended) if ended else _drained(client, _PATIENCE_S))
    click.echo("drained")
