"""The units of a user's own manager: no root, and caps all the same."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.cdp import connect
from testing.cdp import run as run_async
from testing.daemon import wait_for
from testing.unit import DEADLINE_S, MIB, Unit, lacks, leaf_of, make_command, run

pytestmark = pytest.mark.skipif(bool(lacks()), reason=lacks())

_USER = f"chromepool-{os.getpid()}"
_PORT = 9333
_SOCKETS = f"""[Socket]
ListenStream=
ListenStream=%t/chromepool/control.sock
ListenStream=127.0.0.1:{_PORT}
"""


@pytest.fixture(scope="module")
def unit() -> Iterator[Unit]:
    folder = Path("/opt/chromepool-user-test")
    command = make_command(folder)
    run("useradd", "--create-home", _USER)
    try:
        run("loginctl", "enable-linger", _USER)
        entry = pwd.getpwnam(_USER)
        runtime = Path(f"/run/user/{entry.pw_uid}")
        wait_for((runtime / "systemd" / "private").exists, "a manager", DEADLINE_S, 0.2)
        prefix = ["runuser", "-u", _USER, "--", "env", f"XDG_RUNTIME_DIR={runtime}"]
        home = Path(entry.pw_dir)
        drop_in = home / ".config/systemd/user/chromepool.socket.d/port.conf"
        run("runuser", "-u", _USER, "--", "mkdir", "-p", drop_in.parent)
        drop_in.write_text(_SOCKETS)
        unit = Unit(
            runtime / "chromepool",
            home / ".local/state/chromepool",
            port=_PORT,
            prefix=prefix,
        )
        wait_for(
            lambda: unit.systemctl("is-system-running", check=False) in ("running", "degraded"),
            "the manager runs",
            DEADLINE_S,
            0.2,
        )
        run(*prefix, command, "install", "--user")
        yield unit
        run(*prefix, command, "uninstall", "--user")
        assert unit.cgroups() == []
    finally:
        run("loginctl", "disable-linger", _USER, check=False)
        run("loginctl", "terminate-user", _USER, check=False)
        wait_for(
            lambda: "exist" in run("userdel", "--remove", _USER, check=False),
            "the user is gone",
            DEADLINE_S,
            0.5,
        )
        run("rm", "-rf", folder)


def test_systemd_finds_nothing_wrong_with_the_units(unit: Unit) -> None:
    files = unit.told("FragmentPath"), unit.told("FragmentPath").replace(".service", ".socket")
    assert unit.manager("systemd-analyze", "--user", "verify", *files) == ""


def test_a_session_has_caps_without_root(unit: Unit) -> None:
    assert unit.told("ActiveState") == "active"
    enforced = unit.ask("GET", "/v1/status").json["limits"]["enforced"]
    assert {"memory", "pids"} <= set(enforced)
    session = unit.new(limits={"memory_bytes": 200 * MIB, "pids": 300})
    leaf = leaf_of(session)
    assert leaf.is_relative_to(unit.unit_group)
    assert (leaf / "memory.max").read_text().strip() == str(200 * MIB)
    assert (leaf / "pids.max").read_text().strip() == "300"

    async def drive() -> object:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            return await client.evaluate("6 * 7", page)

    assert run_async(drive()) == 42
    assert unit.delete(session["id"]) == 204


def test_a_killed_daemon_is_started_again(unit: Unit) -> None:
    unit.kill_daemon()
    assert unit.delete(unit.new()["id"]) == 204


def test_a_stop_leaves_nothing(unit: Unit) -> None:
    unit.new()
    unit.stop_unit()
