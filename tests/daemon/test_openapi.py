"""A fuzzer that believes the API's own document finds that the daemon keeps it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromepool.gateway.http import openapi
from chromepool.schema.routes import CONTROL
from testing.daemon import Daemon, wait_for

TOKEN = "0123456789abcdef0123456789abcdef"
PLACES = 4
FUZZ_DEADLINE_S = 240.0

# What the fuzzer holds the daemon to: all of its checks but these.
#
# use_after_free: an ended session is still shown for a while, so that one can ask why it ended.
# ensure_resource_availability: the fuzzer asks for idle timeouts of microseconds, and gets them.
# positive_data_acceptance (POST /v1/sessions only): the document cannot tell which flags and how
#   much memory the operator allows, nor which locales and time zones Chrome knows.
#
# not_a_server_error takes a 503, since a full pool is one; that it comes with a problem document is
# for response_schema_conformance to see. A 500, 502 or 504 is a failure.
#
# Prefer is always the same: preferences that a server does not know it has to ignore (RFC 7240, 2),
# and the fuzzer would have it refuse them. It also waits for a place, as most of the requests do
# by their query: the fuzzer would else fill the pool at once, and see nothing but refusals then.
CONFIG = """
seed = {seed}
continue-on-failure = true
request-timeout = 60
[cache]
enabled = false
[headers]
Authorization = "Bearer {token}"
[generation]
max-examples = {examples}
database = "none"
no-shrink = true
[parameters]
"header.Prefer" = "wait=1"
"path.id" = {{ dictionary = "sessions", probability = 0.7 }}
"query.wait" = {{ dictionary = "waits", probability = 0.8 }}
[dictionaries.waits]
values = ["1"]
[dictionaries.sessions]
values = {ids}
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
use_after_free.enabled = false
ensure_resource_availability.enabled = false
[[operations]]
include-name = "POST /v1/sessions"
checks.positive_data_acceptance.enabled = false
"""


# -- a daemon that is asked over TCP --


def over_tcp(folder: Path, **settings: object) -> Daemon:
    """One whose control API takes a token. What a fuzzer creates it does not end: in this daemon
    nothing lives long unless it asks to."""
    tokens = folder / "tokens"
    tokens.write_text(f"ci {TOKEN}\n")
    tokens.chmod(0o600)
    brief = {"idle_timeout_s": 0.5, "longest_idle_timeout_s": 600, "queue_wait_s": 1}
    return Daemon(folder, tokens_file=tokens, control_tcp=True, **brief, **settings)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with over_tcp(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture
def fuzzed(tmp_path: Path) -> Iterator[Daemon]:
    tmp_path.chmod(0o755)
    with over_tcp(tmp_path, warm_sessions=1, max_sessions=PLACES) as running:
        yield running


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_document_is_served_to_everybody(asked: Daemon) -> None:
    for answer in (asked.get("/openapi.json"), asked.ask("GET", "/openapi.json")):
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.body == openapi.document()


@pytest.mark.parametrize("headers", [{}, bearer("f" * 32), {"Authorization": "Basic Y2k6eA=="}])
def test_operations_that_say_so_take_no_caller_without_a_token(
    asked: Daemon, headers: dict[str, str]
) -> None:
    paths = json.loads(openapi.document())["paths"]
    for route in CONTROL:
        answer = asked.get(route.url(id="0" * 32, name="x", number="1"), route.method, headers)
        if "401" in paths[route.path][route.method.lower()]["responses"]:
            assert (answer.status, answer.json["code"]) == (401, "unauthorized"), route.path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        else:
            assert answer.status == 200, route.path


# -- the fuzzer --


def config(folder: Path, ids: list[str], *, seed: int, examples: int) -> Path:
    path = folder / "schemathesis.toml"
    values = {"seed": seed, "examples": examples, "token": TOKEN, "ids": json.dumps(ids)}
    path.write_text(CONFIG.format(**values))
    return path


def fuzz(folder: Path, daemon: Daemon, settings: Path) -> dict[str, Any]:
    """What the fuzzer reports; its own words are the failure when it found something."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={settings}",
            "run",
            f"{daemon.http_url}/openapi.json",
            f"--report-json-path={report}",
            "--exclude-path=/v1/events",  # it never ends; tests/daemon/test_events.py has it
            "--no-color",
        ],
        cwd=folder,  # it keeps notes in a folder there
        env=os.environ | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=FUZZ_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@pytest.mark.chrome
def test_a_fuzzer_finds_the_daemon_as_its_document_has_it(fuzzed: Daemon, tmp_path: Path) -> None:
    """The ids that it knows from the start are those of a session, of one that has ended, and of
    somebody else's, which its token must not reach."""
    mine = fuzzed.get("/v1/sessions", "POST", bearer()).json["id"]
    ended = fuzzed.get("/v1/sessions", "POST", bearer()).json["id"]
    assert fuzzed.delete(ended) == 204
    other = fuzzed.new(idle_timeout_s=600)["id"]
    gateway = fuzzed.gateway.pid

    settings = config(tmp_path, [mine, ended, other], seed=1, examples=20)
    fuzz(tmp_path, fuzzed, settings)

    assert fuzzed.gateway.pid == gateway
    assert "request.failed" not in fuzzed.text

    assert fuzzed.show(other)["state"] == "ready"
    assert fuzzed.delete(other) == 204
    assert_it_created(fuzzed)
    wait_for(lambda: fuzzed.get("/readyz").status == 200, "there is room again")


def assert_it_created(daemon: Daemon) -> None:
    """Or it would have seen nothing but refusals."""
    sessions = daemon.get("/v1/sessions?all=1", headers=bearer()).json["sessions"]
    ends = {session["exit"]["reason"] for session in sessions if session["exit"]}
    assert len(sessions) > PLACES
    assert "idle_timeout" in ends
