"""``chromepool serve``: everything from the settings to a running supervisor."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import prctl

from chromepool import tokens
from chromepool.config import Settings
from chromepool.logs import Log, set_up_logging
from chromepool.privileges import raise_file_limit
from chromepool.supervisor import host as hosts
from chromepool.supervisor import sockets
from chromepool.supervisor.chrome.launcher import ChromeLauncher
from chromepool.supervisor.history_folder import make_journal_folder
from chromepool.supervisor.linux.cgroup.tree import Tree
from chromepool.supervisor.loop import Supervisor, Written
from chromepool.supervisor.reconcile import reconcile
from chromepool.supervisor.systemd.fd_store import FdStore, StoredSession, find
from chromepool.supervisor.systemd.guardian import Guardian
from chromepool.supervisor.systemd.jobs import own_unit, pending_job
from chromepool.supervisor.systemd.notify import Notifier, listen_fds

log = Log("chromepool.supervisor")


def serve(read_settings: Callable[[], Settings]) -> None:
    """Runs the daemon until it is told to stop. Raises :class:`ChromepoolError` when it can't
    start: no Chrome, no sandbox, a port or folder that is taken.

    ``read_settings`` gives the settings as they are written now; SIGHUP calls it again.
    """
    faulthandler.enable()  # what the loop hangs in is told when the watchdog sends SIGABRT
    notifier, passed = Notifier(os.environ), listen_fds(os.environ)
    settings = read_settings()
    set_up_logging(settings.log_level)
    known = tokens.load(settings.tokens_file)
    secret = tokens.load_secret(settings.webhook_secret_file)
    sockets.find_group(settings.group)
    sockets.make_folders(settings)
    with contextlib.ExitStack() as stack:
        stack.callback(notifier.close)
        for folder in dict.fromkeys((settings.runtime_dir, settings.state_dir)):
            stack.callback(os.close, sockets.lock(folder))
        if os.geteuid() == 0:
            stack.callback(os.close, sockets.lock_uids(settings))
        make_journal_folder(settings)
        tree = hosts.open_tree(settings)
        stack.callback(_remove, tree)
        host = hosts.examine(settings, tree)
        for warning in host.warnings:
            log.warning("host.lacking", detail=warning)
        fd_store, stored_sessions = _open_fd_store(settings, notifier, passed)
        reconcile(settings, tree, [stored.meta.name for stored in stored_sessions])
        control, devtools = _listen(settings, passed, stack)
        raise_file_limit()
        prctl.set_child_subreaper(1)
        prctl.set_name("chromepool")
        supervisor = Supervisor(
            (settings, known, secret),
            host=host,
            launcher=ChromeLauncher(settings, host, tree, outliving=fd_store.is_open),
            listeners=(control, devtools),
            guardian=_guardian(settings, tree, fd_store),
            on_ready=functools.partial(_announce, settings, devtools),
            reload=functools.partial(_reload, read_settings),
            notifier=notifier,
            fd_store=fd_store,
            stays=lambda: fd_store.is_open and pending_job(own_unit()) == "restart",
        )
        for stored in stored_sessions:
            supervisor.take_back(stored)
        supervisor.run()
        if supervisor.leaving:
            log.info("daemon.left")
            stack.pop_all()  # all of it is the next daemon's
            return
    log.info("daemon.stopped")


_PATIENCE_S = 60.0
"""How long sessions wait for another daemon before they are ended."""


def _open_fd_store(
    settings: Settings, notifier: Notifier, passed: dict[str, list[int]]
) -> tuple[FdStore, list[StoredSession]]:
    """The vault, and the sessions in it."""
    is_open = settings.fd_store and notifier.listened_to
    if settings.fd_store and not is_open:
        log.warning("vault.closed", detail="fd_store needs systemd, and a unit of Type=notify")
    fd_store = FdStore(notifier, is_open=is_open)
    stored_sessions, useless = find(passed, wanted=is_open)
    fd_store.clear(useless)
    return fd_store, stored_sessions


def _guardian(settings: Settings, tree: Tree, fd_store: FdStore) -> Guardian:
    if not fd_store.is_open:
        return Guardian(tree)
    lock = Path(settings.state_dir) / "lock"
    return Guardian(tree, lock=lock, patience_s=_PATIENCE_S)


def _listen(
    settings: Settings, passed: dict[str, list[int]], stack: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    """Both sockets: the manager's where it passed them, else the daemon's own."""
    found = sockets.activated(passed)
    if "control" not in found:
        found["control"] = sockets.listen_control(settings)
        stack.callback(settings.control_socket.unlink, missing_ok=True)
    if "devtools" not in found:
        found["devtools"] = sockets.listen_devtools(settings)
    for sock in found.values():
        stack.enter_context(sock)
    return found["control"], found["devtools"]


def _reload(read_settings: Callable[[], Settings]) -> Written:
    settings = read_settings()
    secret = tokens.load_secret(settings.webhook_secret_file)
    return settings, tokens.load(settings.tokens_file), secret


def _remove(tree: Tree) -> None:
    """Groups that are still in use are left to the next life, which looks for them."""
    try:
        tree.remove()
    except OSError as error:
        log.error("cgroup.left", error=error)


def _announce(settings: Settings, devtools: socket.socket) -> None:
    """The line people wait for; on stdout, so that it can be told from the log."""
    host, port = devtools.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"chromepool is ready: ws://{shown}:{port}/ (control: {settings.control_socket})")
    sys.stdout.flush()
