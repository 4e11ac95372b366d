"""The unprivileged half: ``python -m chromepool.gateway``, started by the supervisor alone.

Everything is imported before root is dropped, because the code may lie where only root can read
(/root, say), and root is dropped before the first byte that is not the supervisor's is read.
"""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401  # imported late by aiohttp and socket otherwise
import logging
import os
import resource
import signal
import socket

import prctl
from aiohttp import web

from chromepool import canary, structured, wire
from chromepool.api.control import Control
from chromepool.api.devtools import DevTools
from chromepool.api.identity import by_credentials
from chromepool.api.scrape import measure
from chromepool.config import Settings
from chromepool.monitor.health import Health
from chromepool.monitor.metrics import Metrics
from chromepool.monitor.watch import Watch
from chromepool.monitor.webhook import Webhook
from chromepool.pool.chronicle import Chronicle
from chromepool.pool.creation import Creator
from chromepool.pool.link import Link
from chromepool.pool.manager import Manager
from chromepool.pool.sweeper import Sweeper
from chromepool.supervisor.gateway_process import CONTROL_FD, DEVTOOLS_FD, WIRE_FD

try:
    import uvloop
except ImportError:  # not on every platform; the loop of the standard library serves as well
    uvloop = None  # type: ignore[assignment]

log = structured.get("chromepool.gateway")

_NO_CANARY_S = 60.0
"""How often it is looked whether canaries are wanted by now."""
_HANDLERS_S = 2.0
"""Time the last requests have once every session has ended."""
_JOURNAL_S = 1.0
"""Of that, the time to write the last of the journal."""


def welcome(sock: socket.socket) -> tuple[Settings, wire.Welcome]:
    """The supervisor's first message, and the settings in it."""
    received = wire.receive(sock)
    if received is None or not isinstance(received[0], wire.Welcome):
        raise SystemExit("the supervisor did not send its welcome")
    message = received[0]
    return Settings(**message.settings), message


def drop_root(uid: int) -> None:
    """Becomes ``uid``, for good, and dies with the supervisor (a change of uid clears that)."""
    parent = os.getppid()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    prctl.set_no_new_privs(1)
    prctl.set_pdeathsig(signal.SIGKILL)
    prctl.set_name("chromepool-gw")
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")


def raise_file_limit() -> None:
    """Every client, Chrome and pipe takes descriptors: as many as are allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def authority_of(sock: socket.socket) -> str:
    """Host and port to reach a listener at from this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_LINE_BYTES = 32768
"""Longest request line and header: connect-and-go takes a whole launch in its URL."""


def _without_content(record: logging.LogRecord) -> bool:
    """What aiohttp logs of a request that it cannot read quotes the request, token and all."""
    error = record.exc_info[1] if record.exc_info else None
    record.msg, record.args = "request.unreadable", ()
    record.__dict__["fields"] = {"error": type(error).__name__}
    record.exc_info = record.exc_text = None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"  # anybody can send them
    return logging.getLogger("aiohttp.server").isEnabledFor(logging.DEBUG)


async def _start_site(app: web.Application, sock: socket.socket) -> web.AppRunner:
    # A caller that hangs up while its session starts cancels the start, and no place is lost.
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_HANDLERS_S,
        handler_cancellation=True,
        max_line_size=_LINE_BYTES,
        max_field_size=_LINE_BYTES,
    )
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner


async def serve(sock: socket.socket, settings: Settings, told: wire.Welcome) -> None:
    """Serves until the supervisor says stop, then ends every session and returns."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(structured.on_loop_fault)
    stop: asyncio.Future[float] = loop.create_future()
    manager = Manager(settings, told.host)
    manager.tokens, manager.webhook_secret = told.tokens, told.webhook_secret
    creator = Creator(manager)

    def on_shutdown(timeout_s: float) -> None:
        if not stop.done():
            stop.set_result(timeout_s)

    manager.on_shutdown = on_shutdown
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)  # the wire decides when to stop
    control, devtools = socket.socket(fileno=CONTROL_FD), socket.socket(fileno=DEVTOOLS_FD)
    manager.link = Link(sock, manager)
    identify = by_credentials(manager)
    apps = (
        (Control(manager, creator, identify, authority_of(devtools)).app(), control),
        (DevTools(manager, creator).app(), devtools),
    )
    health = Health(manager)
    metrics = Metrics(manager, creator, told.restarts)
    webhook = Webhook(lambda: (manager.settings.webhook_url, manager.webhook_secret))
    for app, _ in apps:
        measure(app, metrics)
    chronicle = Chronicle(manager) if settings.journal else None
    if chronicle is not None:
        await chronicle.start()
    runners = [await _start_site(app, listener) for app, listener in apps]
    manager.link.ready()
    watching = [
        asyncio.create_task(work)
        for work in (
            Sweeper(manager, creator).run(),
            health.run(),
            canary.fly_forever(manager),
            metrics.lag.watch(),
            Watch(manager, creator, webhook.send).run(),
        )
    ]
    sending = asyncio.create_task(webhook.run())
    timeout_s = await stop
    for task in watching:
        task.cancel()
    try:
        # The supervisor has the last word at its deadline; a little before, it is told the truth.
        await manager.end_all(max(0.0, timeout_s - _HANDLERS_S))
    except TimeoutError:
        log.error("gateway.sessions_left", within_s=timeout_s)
    if chronicle is not None:
        await chronicle.close(_JOURNAL_S)
    for runner in runners:
        await runner.cleanup()
    sending.cancel()
    manager.link.close()


def main() -> None:
    """Entry of the gateway's process."""
    sock = socket.socket(fileno=WIRE_FD)
    settings, told = welcome(sock)
    structured.set_up(settings.log_level)
    logging.getLogger("aiohttp.server").addFilter(_without_content)
    if settings.canary_interval_s:
        canary.preload()
    drop_root(settings.gateway_uid)
    raise_file_limit()
    work = serve(sock, settings, told)
    if uvloop is None:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    main()
