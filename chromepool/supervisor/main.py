"""``chromepool serve``: everything from the settings to a running supervisor."""

import contextlib
import faulthandler
import functools
import os
import socket
from collections.abc import Callable

import prctl

from chromepool.config import Settings
from chromepool.logs import Log, set_up_logging
from chromepool.startup import raise_file_limit
from chromepool.supervisor import configuration, folders, locks, sockets
from chromepool.supervisor import host as hosts
from chromepool.supervisor.linux.cgroup.tree import Tree
from chromepool.supervisor.loop import Supervisor
from chromepool.supervisor.reconcile import reconcile
from chromepool.supervisor.systemd.fd_store import FdStore, StoredSession, find
from chromepool.supervisor.systemd.notify import Notifier, listen_fds

log = Log("chromepool.supervisor")


def serve(read_settings: Callable[[], Settings]) -> None:
    """Run the daemon, with what ``read_settings`` returns at each call, until a signal stops it.

    Raises :class:`ChromepoolError` where it cannot start: no Chrome or sandbox, or a port in use.
    """
    # The watchdog ends a loop that hangs with SIGABRT: print where.
    faulthandler.enable()
    # Take what systemd passed out of the environment, before a child could inherit it.
    notifier = Notifier(os.environ)
    passed = listen_fds(os.environ)
    # Read the configuration, as SIGHUP does again: a mistake ends the start before all else.
    load = functools.partial(configuration.load, read_settings)
    configured = load()
    settings = configured.settings
    set_up_logging(settings.log_level)
    sockets.find_group(settings.group)
    with contextlib.ExitStack() as stack:
        stack.callback(notifier.close)
        # Make the folders and lock them: what lies in them is this daemon's from here on.
        _take_folders(settings, stack)
        # Find out what this machine can do, and refuse to start without a Chrome or its sandbox.
        tree = hosts.open_tree(settings)
        stack.callback(_remove, tree)
        host = hosts.examine(settings, tree)
        # Find the sessions that an earlier daemon left with systemd, and end all that it did not.
        fd_store, stored_sessions = _open_fd_store(settings, notifier, passed)
        reconcile(settings, tree, [stored.meta.name for stored in stored_sessions])
        # Become the parent of every orphan below, so that each can be reaped.
        prctl.set_child_subreaper(1)
        prctl.set_name("chromepool")
        raise_file_limit()
        # Listen, and serve until every session has ended or waits for the next daemon.
        supervisor = Supervisor(
            configured,
            reload=load,
            host=host,
            tree=tree,
            listeners=_listen(settings, passed, stack),
            notifier=notifier,
            fd_store=fd_store,
        )
        supervisor.run(stored_sessions)
        if supervisor.sessions_stay:
            stack.pop_all()  # locks, groups and sockets are the next daemon's
            log.info("daemon.exited")
            return
    log.info("daemon.stopped")


def _take_folders(settings: Settings, stack: contextlib.ExitStack) -> None:
    folders.make_folders(settings)
    for folder in dict.fromkeys((settings.runtime_dir, settings.state_dir)):
        stack.callback(os.close, locks.lock_folder(folder))
    if os.geteuid() == 0:
        stack.callback(os.close, locks.lock_uids(settings))
    folders.make_history_folder(settings)


def _open_fd_store(
    settings: Settings, notifier: Notifier, passed: dict[str, list[int]]
) -> tuple[FdStore, list[StoredSession]]:
    enabled = settings.fd_store and notifier.connected
    if settings.fd_store and not enabled:
        log.warning("store.disabled", detail="fd_store needs systemd and a unit of Type=notify")
    fd_store = FdStore(notifier, enabled=enabled)
    stored_sessions, useless = find(passed, wanted=enabled)
    fd_store.remove_names(useless)
    return fd_store, stored_sessions


def _listen(
    settings: Settings, passed: dict[str, list[int]], stack: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    found = sockets.activated(passed)
    if "control" not in found:
        found["control"] = sockets.listen_control(settings)
        stack.callback(settings.control_socket.unlink, missing_ok=True)
    if "devtools" not in found:
        found["devtools"] = sockets.listen_devtools(settings)
    for sock in found.values():
        stack.enter_context(sock)
    return found["control"], found["devtools"]


def _remove(tree: Tree) -> None:
    try:
        tree.remove()
    except OSError as error:  # those still in use are left to the next start
        log.error("cgroup.removal_failed", error=error)
