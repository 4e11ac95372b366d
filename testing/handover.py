"""Handovers: another gateway takes over all sessions, and returns when it has."""

from __future__ import annotations

import signal

import pytest

from testing.daemon import Daemon, wait_for


def serving(daemon: Daemon) -> int:
    return daemon.text.count("chromepool is ready")


def kill_gateway(daemon: Daemon, number: int = signal.SIGKILL) -> None:
    """Return when another gateway serves."""
    before = serving(daemon)
    daemon.gateway.send_signal(number)
    wait_taken_over(daemon, before)


def reload(daemon: Daemon) -> None:
    before = serving(daemon)
    daemon.process.send_signal(signal.SIGHUP)
    wait_taken_over(daemon, before)


def wait_taken_over(daemon: Daemon, before: int) -> None:
    """On a busy machine it serves before each Chrome has answered it."""
    wait_for(lambda: serving(daemon) > before, "another gateway serves")
    wait_for(lambda: "resuming" not in states(daemon), "it has taken over all sessions")


def states(daemon: Daemon) -> list[str]:
    sessions = daemon.ask("GET", "/v1/sessions").json["sessions"]
    return [session["state"] for session in sessions]


def replace(daemon: Daemon, how: str) -> None:
    """By force, or as it is meant to be done."""
    (kill_gateway if how == "killed" else reload)(daemon)


HOWS = pytest.mark.parametrize("how", ["killed", "reloaded"])
