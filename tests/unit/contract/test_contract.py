"""The public contract of 0.1 holds: nothing of it is gone or changed, and what is new disturbs no
client that does not know of it. No daemon is needed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import record
from .compare import MAY_GROW, differences

Json = Any
RECORDED: dict[str, Json] = json.loads(
    Path(__file__).with_name("contract_0_1.json").read_text(encoding="utf-8")
)
FAULTS = 300
"""Faults planted in each section, at most, spread over all of it."""
GONE = object()


def test_every_section_is_recorded_and_compared() -> None:
    assert set(record.SECTIONS) == set(RECORDED) == set(MAY_GROW)
    assert all(RECORDED.values())


# -- the contract, section by section --


def check(section: str) -> None:
    """Compare a section of this tree with the recorded one."""
    found = differences(section, RECORDED[section], record.section(section))
    assert not found, "\n".join([f"the contract of 0.1 is broken in {section}:", *found])


def test_the_openapi_document() -> None:
    check("openapi")


def test_the_routes_of_each_listener() -> None:
    check("routes")


def test_the_command_line() -> None:
    check("cli")


def test_json_of_the_command_line_that_is_not_of_the_api() -> None:
    check("cli json")


def test_the_settings() -> None:
    check("settings")


def test_the_metrics() -> None:
    check("metrics")


def test_the_problems() -> None:
    check("problems")


def test_the_events() -> None:
    check("events")


def test_the_close_codes_of_websockets() -> None:
    check("close codes")


def test_the_queries_of_connect_and_go() -> None:
    check("queries")


def test_the_webhook() -> None:
    check("webhook")


def test_the_python_package() -> None:
    check("python")


def test_the_files() -> None:
    check("files")


# -- the comparison itself --


def places(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every key, item and leaf."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, each in items:
        yield (*path, key)
        yield from places(each, (*path, key))


def plant(value: Json, path: tuple[Any, ...], fault: object) -> Json:
    """Return a copy in which what is at the path is another, or gone."""
    planted = copy.deepcopy(value)
    at = planted
    for key in path[:-1]:
        at = at[key]
    if fault is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = fault
    return planted


def at(value: Json, path: tuple[Any, ...]) -> Json:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("section", RECORDED)
def test_what_is_the_same_has_no_differences(section: str) -> None:
    assert differences(section, RECORDED[section], copy.deepcopy(RECORDED[section])) == []


@pytest.mark.parametrize("section", RECORDED)
def test_what_is_gone_is_reported(section: str) -> None:
    recorded = RECORDED[section]
    every = list(places(recorded))
    for path in every[:: len(every) // FAULTS + 1]:
        found = differences(section, recorded, plant(recorded, path, GONE))
        assert len(found) == 1, (path, found)
        assert " > ".join(map(str, path[:-1])) in found[0]


@pytest.mark.parametrize("section", RECORDED)
def test_what_is_changed_is_reported(section: str) -> None:
    recorded = RECORDED[section]
    every = list(places(recorded))
    for path in every[:: len(every) // FAULTS + 1]:
        for fault in ("another", 4711, None if at(recorded, path) is not None else "something"):
            found = differences(section, recorded, plant(recorded, path, fault))
            assert found, (path, fault)


@pytest.mark.parametrize("section", RECORDED)
def test_a_section_that_is_empty_is_reported(section: str) -> None:
    assert differences(section, RECORDED[section], {})


CREATE = ("paths", "/v1/sessions", "post")
OPTION = {"required": False}
NEW = {"default": "0", "kind": "KEYWORD_ONLY"}


@pytest.mark.parametrize(
    ("section", "path", "value"),
    [
        ("openapi", ("paths", "/v1/new"), {"get": {}}),
        ("openapi", ("paths", "/v1/sessions", "put"), {}),
        ("openapi", (*CREATE, "parameters", "query new"), OPTION),
        ("openapi", ("schemas", "CreateSession", "properties", "new"), {"type": "string"}),
        ("openapi", ("schemas", "SessionView", "properties", "new"), {"type": "string"}),
        ("openapi", ("schemas", "NewView"), {"type": "object"}),
        ("routes", ("control", "/v1/new"), ["GET"]),
        ("routes", ("devtools", "/v1/new"), []),
        ("cli", ("commands", "new-command"), {}),
        ("cli", ("commands", "serve", "options", "--new"), OPTION),
        ("settings", ("settings", "new"), {"default": 1}),
        ("metrics", ("families", "chromepool_new"), {"kind": "gauge", "labels": []}),
        ("metrics", ("label values", "new"), ["a"]),
        ("problems", ("codes", "New"), "new"),
        ("events", ("documented", "session.new"), []),
        ("events", ("emitted", "session.new"), True),
        ("python", ("classes", "Client", "members", "new"), {"kind": "coroutine"}),
        ("python", ("classes", "Client", "members", "create", "parameters", "new"), NEW),
        ("python", ("errors", "New"), {"code": "new"}),
        ("files", ("units", "new.timer"), {}),
    ],
)
def test_what_disturbs_nobody_may_be_new(section: str, path: tuple[str, ...], value: Json) -> None:
    recorded = RECORDED[section]
    assert differences(section, recorded, plant(recorded, path, value)) == []


@pytest.mark.parametrize(
    ("section", "path", "item"),
    [
        ("openapi", ("schemas", "SessionView", "required"), "new"),
        ("routes", ("control", "/v1/status"), "PATCH"),
        ("cli", ("commands", "rm", "options", "--all", "opts"), "-a"),
        ("metrics", ("label values", "alert"), "new"),
        ("events", ("documented", "session.created"), "new"),
        ("python", ("exports",), "New"),
        ("queries", ("flags of sessions",), "--new"),
        ("webhook", ("body",), "new"),
        ("cli json", ("doctor",), "new"),
    ],
)
def test_what_disturbs_nobody_may_be_new_in_a_list(
    section: str, path: tuple[str, ...], item: str
) -> None:
    recorded = RECORDED[section]
    longer = sorted([*at(recorded, path), item])
    assert differences(section, recorded, plant(recorded, path, longer)) == []


@pytest.mark.parametrize(
    ("section", "path", "value"),
    [
        ("openapi", (*CREATE, "parameters", "query new"), {"required": True}),
        ("openapi", (*CREATE, "responses", "202"), {"content": {}}),
        ("openapi", (*CREATE, "requestBody", "required"), True),
        ("openapi", ("paths", "/healthz", "get", "asks for a token"), True),
        ("openapi", ("schemas", "SessionView", "additionalProperties"), False),
        ("routes", ("devtools", "/v1/sessions"), ["GET"]),
        ("routes", ("devtools", "/v1/new"), ["GET"]),
        ("routes", ("devtools with metrics_tcp", "/v1/status"), ["GET"]),
        ("cli", ("commands", "ls", "options", "--new"), {"required": True}),
        ("cli", ("commands", "new", "options", "--wait", "default"), 1.0),
        ("settings", ("settings", "port", "default"), 9223),
        ("settings", ("settings", "port", "live"), True),
        ("settings", ("settings", "no_sandbox", "default"), 0),
        ("metrics", ("families", "chromepool_sessions", "kind"), "counter"),
        ("problems", ("answers", "PoolFull", "http status"), 429),
        ("problems", ("codes", "PoolFull"), "full"),
        ("events", ("emitted", "session.created"), False),
        ("events", ("emitted", "session.new"), False),
        ("close codes", ("reasons", "crashed"), 1001),
        ("close codes", ("frames", "too long"), 1002),
        ("queries", ("read", "timeout=1500"), {"max_age_s": 1500.0}),
        ("python", ("classes", "Client", "members", "show", "returns"), "dict"),
        (
            "python",
            ("classes", "Client", "members", "show", "parameters", "new"),
            {**NEW, "default": None},
        ),
        ("files", ("places", "root", "control socket"), "/run/control.sock"),
        ("webhook", ("header",), "X-Signature"),
    ],
)
def test_what_disturbs_somebody_is_reported(
    section: str, path: tuple[str, ...], value: Json
) -> None:
    recorded = RECORDED[section]
    assert len(differences(section, recorded, plant(recorded, path, value))) == 1


@pytest.mark.parametrize(
    ("section", "path", "item"),
    [
        ("openapi", ("schemas", "AddScript", "required"), "world"),
        ("openapi", ("schemas", "Reason", "enum"), "new"),
        ("openapi", (*CREATE, "responses", "503", "codes"), "new"),
        ("routes", ("devtools", "/pdf"), "GET"),
        ("metrics", ("families", "chromepool_sessions", "labels"), "new"),
        ("problems", ("answers", "PoolFull", "keys"), "new"),
        ("files", ("units", "chromepool.socket", "ListenStream"), "0.0.0.0:9222"),
        ("close codes", ("documented",), "1013"),
    ],
)
def test_what_disturbs_somebody_is_reported_in_a_list(
    section: str, path: tuple[str, ...], item: str
) -> None:
    recorded = RECORDED[section]
    longer = [*at(recorded, path), item]
    assert len(differences(section, recorded, plant(recorded, path, longer))) == 1


def test_another_order_of_arguments_is_reported() -> None:
    recorded = RECORDED["python"]
    path = ("classes", "ApiError", "members", "__init__", "parameters")
    problem, status = at(recorded, path)["problem"], at(recorded, path)["status"]
    turned = plant(plant(recorded, (*path, "problem"), status), (*path, "status"), problem)
    assert len(differences("python", recorded, turned)) == 2
