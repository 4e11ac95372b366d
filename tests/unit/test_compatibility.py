"""What version 0.1 has left in memory, on the wire and with systemd, read by this version.

After an upgrade a supervisor of 0.1 starts a gateway of this version, and a daemon of this version
restores the sessions of a daemon of 0.1. The files in ``data/`` were written by the code of 0.1.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chromepool import wire
from chromepool.config import Settings
from chromepool.gateway.handover import snapshot
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Limits, Reason
from chromepool.supervisor.systemd.fd_store import SessionMeta, find

_DATA = Path(__file__).parent / "data"


def _recorded(name: str) -> Any:
    return json.loads((_DATA / f"{name}_0_1.json").read_text())


def _memory(content: Any) -> int:
    fd = os.memfd_create("recorded")
    os.write(fd, json.dumps(content).encode())
    return fd


WELCOME, ADOPT = _recorded("welcome"), _recorded("adopt")
PACKETS: list[dict[str, Any]] = [WELCOME, ADOPT, *_recorded("messages")]
SNAPSHOTS: list[dict[str, Any]] = _recorded("snapshot")


@pytest.mark.parametrize("packet", PACKETS, ids=lambda packet: str(packet["kind"]))
def test_a_message_is_read_and_written_as_before(packet: dict[str, Any]) -> None:
    """Both ways: a gateway of this version also sends to a supervisor of 0.1."""
    message = wire.decode(json.dumps(packet).encode())
    assert type(message).__name__ == packet["kind"]
    assert json.loads(wire.encode(message)) == packet


def test_every_message_was_recorded() -> None:
    assert {packet["kind"] for packet in PACKETS} == wire.KINDS.keys()


def test_the_settings_of_a_welcome_are_understood() -> None:
    welcome = wire.decode(json.dumps(WELCOME).encode())
    assert isinstance(welcome, wire.Welcome)
    settings = Settings.from_values(welcome.settings)
    assert {name: settings.values()[name] for name in welcome.settings} == welcome.settings
    assert settings.session_limits.memory_bytes == WELCOME["settings"]["session_memory_bytes"]


@pytest.mark.parametrize("recorded", SNAPSHOTS, ids=["full", "default"])
def test_a_snapshot_is_read_without_loss(recorded: dict[str, Any]) -> None:
    fd = _memory(recorded)
    read = snapshot.read(fd)
    os.close(fd)
    written = snapshot.write(read)
    assert msgspec.json.decode(os.pread(written, 1 << 20, 0)) == recorded
    os.close(written)


def test_a_snapshot_has_its_values_in_the_right_fields() -> None:
    fd = _memory(SNAPSHOTS[0])
    read = snapshot.read(fd)
    os.close(fd)
    assert (read.reason, read.base, read.traffic.bytes_out) == (Reason.IDLE_TIMEOUT, "BASE", 4)
    assert isinstance(read.spec, SessionSpec)
    assert read.spec.chrome_options.profile == "uid_1000/shop"
    assert [script.name for script in read.spec.capture_options.scripts] == ["greet"]
    assert read.spec.emulation.timezone == "Europe/Berlin"


def test_a_session_with_systemd_is_found() -> None:
    recorded = _recorded("meta")
    stored = {
        name: [_memory(recorded["ledger"] if "ledger" in name else {})]
        for name in recorded["names"]
    }
    passed = dict(stored)
    (session,), useless = find(passed, wanted=True)
    assert (passed, useless) == ({}, [])
    assert dataclasses.asdict(session.meta) == recorded["ledger"]
    assert session.meta.limits == Limits(**recorded["ledger"]["limits"])
    assert session.versions == {"ledger": 1, "record": 1}
    assert session.snapshot == stored["s7.record1"][0]
    assert session.pidfd == stored["s7.process"][0]
    written = session.meta.write()
    assert SessionMeta.read(written) == session.meta
    for fd in (session.commands, session.events, session.stderr, session.pidfd, session.snapshot):
        os.close(fd)
    os.close(written)
