"""One more limit of a session is declared, enforced and tested, and mentioned nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import chromepool
from chromepool.model import Limits

ROOT = Path(chromepool.__file__).parent

_ONE_MORE = """
import dataclasses

from chromepool import model, setting


@dataclasses.dataclass(frozen=True, slots=True)
class Limits(model.Limits):
    disk_bytes: int = model._size(
        1000, "Disk space of one session.", low=10, alias="MAX_DISK", adjustable=False
    )


model.Limits = Limits  # before any other module of the package takes it
"""

_SETTINGS = """
from chromepool import config, config_sources, wire

for variable, text in (("CHROMEPOOL_SESSION_DISK_BYTES", "2 KiB"), ("MAX_DISK", "2048")):
    settings = config_sources.load({}, {variable: text})
    assert settings.session_limits.disk_bytes == 2048
host = model.Host(False, "none", (), private_mounts=False, sandbox=True, chrome="/chrome")
packet = wire.encode(wire.Welcome(settings.values(), host, {}))
assert config.Settings.from_values(wire.decode(packet).settings) == settings
assert config.merge_live(config_sources.load({}, {}), settings) == (settings, [])
"""

_FLAG = """
import click
from chromepool.cli.main import cli

shown = cli.commands["serve"].get_help(click.Context(cli.commands["serve"]))
assert "--session-disk-bytes" in shown
assert "Disk space of one session" in shown
"""

_REQUEST = """
from chromepool.config import Settings
from chromepool.errors import InvalidRequest
from chromepool.gateway.http import session_requests
from chromepool.gateway.http.requests import read_json
from chromepool.schema.session import CreateSession

def make(text):
    body = read_json(b'{"limits": {"disk_bytes": %d}}' % text, CreateSession)
    return session_requests.make_spec(body, "uid:1", Settings())

def refused(value):
    try:
        make(value)
    except InvalidRequest as error:
        return str(error)

assert make(10).limits.disk_bytes == 10
assert "disk_bytes" in refused(9)
assert "limits.disk_bytes = 1001 is over the operator's 1000" in refused(1001)
assert not make(10).suits_warm(Settings().session_limits)
assert make(1000).suits_warm(Settings().session_limits)
"""

_ANSWER = """
import json
from chromepool.gateway.http import openapi
from chromepool.gateway.http.services import view
from chromepool.schema.session import LimitsView

assert view(LimitsView, Limits(disk_bytes=7), enforced=True).disk_bytes == 7
schemas = json.loads(openapi.document())["components"]["schemas"]
for name in ("LimitsRequest", "LimitsView"):
    assert "disk_bytes" in schemas[name]["properties"]
"""

_SUPERVISOR = """
from chromepool import wire
from chromepool.config import Settings
from chromepool.errors import StartFailed
from chromepool.supervisor.chrome.launcher import check_limits

message = wire.decode(wire.encode(wire.Spawn(1, Limits(disk_bytes=1001))))
assert message.limits.disk_bytes == 1001
try:
    check_limits(message.limits, Settings())
except StartFailed as error:
    assert "disk_bytes" in str(error)
else:
    raise AssertionError("the limit was not checked")
"""


@pytest.mark.parametrize("check", [_SETTINGS, _FLAG, _REQUEST, _ANSWER, _SUPERVISOR])
def test_a_limit_that_is_only_declared_is_everywhere_but_enforced(check: str) -> None:
    argv = [sys.executable, "-c", _ONE_MORE + check]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["heap_bytes", "file_bytes", "cpu_weight"])
def test_a_limit_is_named_where_it_is_declared_and_enforced_only(name: str) -> None:
    files = {
        path.relative_to(ROOT)
        for path in ROOT.rglob("*.py")
        if re.search(rf"\b{name}\b", path.read_text())
    }
    assert Path("model.py") in files
    others = files - {Path("model.py")}
    assert others
    assert all(path.parts[0] == "supervisor" for path in others), others


LIMITS = Limits(memory_bytes=100, pids=10, cpu_cores=2.0)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Limits(100, pids=10, cpu_cores=2.0), ""),
        (Limits(99, pids=1, cpu_cores=0.1), ""),
        (Limits(101, pids=10, cpu_cores=2.0), "memory_bytes"),
        (Limits(100, pids=0, cpu_cores=2.0), "pids"),
        (Limits(100, pids=-1, cpu_cores=2.0), "pids"),
        (Limits(100, pids=10, cpu_cores=0.0), "cpu_cores"),
        (Limits(100, pids=10, cpu_cores=float("nan")), "cpu_cores"),
    ],
)
def test_limits_beyond_those_that_are_allowed(wanted: Limits, found: str) -> None:
    assert wanted.beyond(LIMITS) == found


def test_where_0_is_no_cap_the_bound_of_the_setting_holds() -> None:
    assert Limits(cpu_cores=4096).beyond(Limits()) == ""
    assert Limits(cpu_cores=4097).beyond(Limits()) == "cpu_cores"
    assert Limits(cpu_cores=0).beyond(Limits()) == ""


def test_a_running_chrome_can_be_given_what_its_control_group_holds() -> None:
    adjusted = Limits(memory_bytes=1, pids=1, cpu_cores=1.0, cpu_weight=1)
    assert adjusted.reachable_from(Limits())
    for settled in (Limits(heap_bytes=1), Limits(files=1), Limits(file_bytes=1)):
        assert not settled.reachable_from(Limits())
