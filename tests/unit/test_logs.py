"""The log: one shape for every line of both processes, and nothing in it that is a secret."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chromepool
from chromepool import logs
from chromepool.errors import CommandFailed
from chromepool.gateway.log import get_logger, on_loop_fault
from chromepool.gateway.sessions.session import LAST_WORDS, Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Limits, Reason
from testing import ROOT
from testing.cdp import run

PAGE = (ROOT / "docs/reference/logs.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "critical"}
HEAD = ["time", "level", "logger", "event"]
SECRET_ID = "0123456789abcdef" * 2


def record(event: str = "some.event", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("chromepool.test", logging.INFO, "", 0, event, (), None)
    made.__dict__["fields"] = fields
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    text = logs.JsonFormatter().format(made)
    assert text.isascii()
    assert text.isprintable()
    line: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return line


def raised(work: Callable[[], object]) -> logging.LogRecord:
    """A record with the exception that work raises."""
    made = record()
    try:
        work()
    except BaseException as error:
        made.exc_info = (type(error), error, error.__traceback__)
    return made


def fail(error: BaseException, cause: BaseException | None = None) -> None:
    raise error from cause


# -- the shape of a line --


def test_a_line_has_its_head_first_and_then_the_fields() -> None:
    line = as_json(record(session=3, before="ready"))
    assert list(line) == [*HEAD, "session", "before"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["logger"]) == ("info", "chromepool.test")
    assert (line["event"], line["session"], line["before"]) == ("some.event", 3, "ready")


def test_a_field_cannot_take_the_place_of_the_head_and_none_is_left_out() -> None:
    line = as_json(record(level="wrong", logger="wrong", time=0, detail=None))
    assert list(line) == HEAD
    assert line["level"] == "info"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
def test_whatever_is_in_it_a_line_is_one_line(fields: dict[str, Any]) -> None:
    as_json(record(**fields))
    text = logs.TextFormatter().format(record(**fields))
    assert text.isprintable()
    (text + "\n").encode(errors="backslashreplace")


def test_values_are_cut() -> None:
    line = as_json(record(text="x" * 5000, many=list(range(5000)), deep={"a": ["y" * 5000]}))
    assert len(line["text"]) == len(line["deep"]["a"][0]) == logs.MOST_TEXT
    assert len(line["many"]) == 100


def test_a_terminal_is_not_steered() -> None:
    text = logs.TextFormatter().format(record(words="\x1b[2J\x9b31m\r\nnext\u202e", plain="a=b"))
    assert text.endswith(
        r'some.event words="\u001b[2J\x9b31m\r\nnext\u202e" plain="a=b"'
    ) or text.endswith(r'some.event words=\x1b[2J\x9b31m\r\nnext\u202e plain="a=b"')


def test_what_libraries_log_has_the_same_shape() -> None:
    made = logging.LogRecord("asyncio", logging.WARNING, "", 0, "took\n%s", ("long",), None)
    line = as_json(made)
    assert (line["event"], line["text"], line["level"]) == (
        "library.message",
        "took\nlong",
        "warning",
    )


@pytest.mark.parametrize(
    "text",
    [
        f"/sessions/{SECRET_ID}/json",
        f"a digest {SECRET_ID * 2}",
        f"'GET /?token={SECRET_ID[:20]} HTTP/1.1'",
        f"Authorization: Bearer {SECRET_ID[:20]}",
        f"Set-Cookie: name={SECRET_ID[:20]}; secure",
    ],
)
def test_what_looks_like_a_secret_is_struck_out(text: str) -> None:
    for formatter in (logs.JsonFormatter(), logs.TextFormatter()):
        assert SECRET_ID[:20] not in formatter.format(record(text=text, more=[{text: text}]))
        foreign = logging.LogRecord("aiohttp", logging.INFO, "", 0, text, (), None)
        assert SECRET_ID[:20] not in formatter.format(foreign)
    as_long_as_can_be = "z" * (logs.MOST_TEXT - 20) + " " + SECRET_ID
    assert "0123" not in as_json(record(text=as_long_as_can_be))["text"]


# -- exceptions --


def test_an_exception_is_on_the_line_with_its_cause_and_place() -> None:
    line = as_json(raised(lambda: fail(RuntimeError("second"), OSError(2, "first", SECRET_ID[:9]))))
    told = line["exception"]
    assert SECRET_ID[:9] not in told
    assert told.index("FileNotFoundError: [Errno 2] first\n") < told.index("RuntimeError: second")
    assert "in fail\n" in told
    assert told.count("\n") > 3


def test_an_exception_that_may_quote_somebody_says_only_what_it_is() -> None:
    for error in (
        KeyError("page text"),
        ValueError("page text"),
        CommandFailed("page text"),
        json.JSONDecodeError("page text", "page text", 0),
        ExceptionGroup("page text", [ValueError("page text"), UnicodeError("page text")]),
    ):
        told = as_json(raised(lambda error=error: fail(error)))["exception"]  # type: ignore[misc]
        assert type(error).__name__ in told
        assert "page text" not in told
    told = as_json(raised(lambda: fail(RuntimeError(f"id {SECRET_ID}"))))["exception"]
    assert SECRET_ID not in told


def test_an_exception_on_a_terminal_is_below_the_line() -> None:
    lines = logs.TextFormatter().format(raised(lambda: fail(RuntimeError("\x1b[2J")))).split("\n")
    assert lines[0].endswith("some.event")
    assert lines[-1] == r"    RuntimeError: \x1b[2J"


def test_an_endless_exception_is_cut() -> None:
    def deeper(n: int) -> None:
        try:
            deeper(n - 1) if n else fail(ValueError())
        except ValueError as error:
            raise RuntimeError("x" * 500) from error

    assert len(as_json(raised(lambda: deeper(100)))["exception"]) <= 8000


# -- structlog and the standard library meet --


def test_both_kinds_of_logger_make_the_same_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logs.Log("chromepool.a").info("some.event", session=1, detail="100 %s")
    bound = get_logger("chromepool.a").bind(session=1)
    bound.info("some.event", detail="100 %s")
    bound.debug("not.this")
    one, two = caplog.records
    assert as_json(one) | {"time": ""} == as_json(two) | {"time": ""}
    assert as_json(one)["detail"] == "100 %s"


def test_an_exception_through_structlog(caplog: pytest.LogCaptureFixture) -> None:
    try:
        fail(RuntimeError("why"))
    except RuntimeError:
        get_logger("chromepool.a").exception("some.failed", session=2)
    line = as_json(caplog.records[0])
    assert (line["event"], line["level"], line["session"]) == ("some.failed", "error", 2)
    assert "RuntimeError: why" in line["exception"]


def test_what_nobody_waited_for_is_told_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(on_loop_fault)

        async def work() -> None:
            raise ValueError(text)

        text = "page " + "text"
        loop.call_soon(lambda text: fail(ValueError(text)), text)
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        del task
        gc.collect()

    run(scenario())
    lines = [as_json(one) for one in caplog.records]
    assert [line["event"] for line in lines] == ["loop.failed"] * 2
    assert "page text" not in json.dumps(lines)
    assert all("ValueError" in line["exception"] for line in lines)
    assert any("work" in line.get("where", "") for line in lines)


FAULTS = """
import sys, threading, warnings
from chromepool.gateway.log import set_up
set_up("info")
warnings.warn("careful\\nnow")
class Bad:
    def __del__(self): raise RuntimeError("in del")
Bad()
thread = threading.Thread(target=lambda: 1 / 0, name="worker"); thread.start(); thread.join()
raise RuntimeError("the\\nend")
"""


def test_what_nobody_catches_is_a_line_too() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        "library.message",
        "exception.ignored",
        "thread.failed",
        "process.failed",
    ]
    assert "careful" in lines[0]["text"]
    assert lines[1]["where"] == "Bad.__del__"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert "RuntimeError: the\nend" in lines[3]["exception"]
    assert done.returncode == 1


# -- what stderr is --

SAY = """
import logging
from chromepool import logs
logs.set_up_logging("debug")
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(logs.log, level)("some.event", detail="a b")
logging.getLogger("asyncio").log(25, "odd")
"""


def said(write: int, environment: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    subprocess.run([sys.executable, "-c", SAY], stderr=write, env=kept | environment, check=True)
    os.close(write)


def read_all(fd: int) -> list[str]:
    data = b""
    with contextlib.suppress(OSError):  # EIO: the other end of a terminal is closed
        while select.select([fd], [], [], 60)[0] and (got := os.read(fd, 65536)):
            data += got
    os.close(fd)
    return data.decode().splitlines()


def piped(journal: Callable[[os.stat_result], str] | None = None) -> list[str]:
    read, write = os.pipe()
    said(write, {} if journal is None else {"JOURNAL_STREAM": journal(os.fstat(write))})
    return read_all(read)


def test_to_the_journal_lines_begin_with_their_priority() -> None:
    lines = piped(lambda stat: f"{stat.st_dev}:{stat.st_ino}")
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<6>"]
    for line in lines:
        json.loads(line[3:])


@pytest.mark.parametrize(
    "journal",
    [
        None,
        lambda stat: f"{stat.st_dev}:{stat.st_ino + 1}",
        lambda stat: f"{stat.st_dev + 1}:{stat.st_ino}",
        lambda stat: "",
        lambda stat: "nonsense",
    ],
)
def test_to_anything_else_they_do_not(journal: Callable[[os.stat_result], str] | None) -> None:
    assert [json.loads(line)["level"] for line in piped(journal)][:5] == [
        "debug",
        "info",
        "warning",
        "error",
        "critical",
    ]


def test_on_a_terminal_they_are_for_people() -> None:
    ours, theirs = pty.openpty()
    said(theirs, {})
    lines = read_all(ours)
    assert len(lines) == 6
    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} info     some\.event detail="a b"', lines[1])


def test_nobody_who_reads_is_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)
    said(write, {})


# -- sessions --


def test_what_chrome_said_last_is_in_the_detail_but_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    session = Session(7, SessionSpec("uid:0", Limits(1, 1, 1, 1.0, 1, 1)), lambda: 0.0)
    session.begin_end(Reason.UNHEALTHY, f"it is stopped{LAST_WORDS}page text")
    line = as_json(caplog.records[0])
    assert session.detail.endswith("page text")
    assert {name: line[name] for name in line if name not in HEAD} == {
        "session": 7,
        "owner": "uid:0",
        "before": "starting",
        "after": "closing",
        "reason": "unhealthy",
        "detail": "it is stopped",
    }


# -- the code and the page of the reference --


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger's method in the package, with its level."""
    for path in Path(chromepool.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name == "log" and node.func.attr in LEVELS | {"exception"}:
                level = {"exception": "error"}.get(node.func.attr, node.func.attr)
                yield level, node


SPREAD = {"session.moved": {"owner", "before", "after", "reason", "detail"}}
SPREAD["session.tab_crashed"] = {"reason", "status"}
"""Fields that are given as ``**fields``."""


def test_every_event_is_listed_with_its_level_and_fields() -> None:
    found: dict[str, tuple[str, set[str]]] = {
        "request.unreadable": ("debug", {"error"})  # made of a record of aiohttp's
    }
    for level, call in _calls():
        assert len(call.args) == 1, ast.unparse(call)
        assert isinstance(call.args[0], ast.Constant), ast.unparse(call)
        event = str(call.args[0].value)
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", event), event
        fields = {keyword.arg for keyword in call.keywords if keyword.arg} - {"exc_info"}
        if any(keyword.arg is None for keyword in call.keywords):
            fields |= SPREAD[event]
        before = found.setdefault(event, (level, set()))
        assert before[0] == level, event
        before[1].update(fields)
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\w+) \| (.*?) ?\| .+ \|$", PAGE, re.MULTILINE)
    listed = {event: (level, set(re.findall(r"`(\w+)`", fields))) for event, level, fields in rows}
    bound = {"browser.message_dropped", "answer.dropped", "options.unanswered"}
    for event in bound:  # by the logger
        found[event][1].add("session")
    assert listed == found
    assert [row[0] for row in rows] == sorted(listed)


def test_nobody_logs_past_it() -> None:
    for path in Path(chromepool.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if path.name not in ("logs.py", "log.py"):
            assert not re.search(r"getLogger\((?!\"aiohttp\.server\")", text), path
        assert "structlog" not in text or path.name in ("log.py",), path
    imported = "import sys, chromepool.supervisor.main; assert 'structlog' not in sys.modules"
    subprocess.run([sys.executable, "-c", imported], check=True)


# -- a daemon's life --


def test_set_up_twice_logs_once() -> None:
    before, hooks = list(logging.getLogger().handlers), (sys.excepthook, sys.unraisablehook)
    level, shown = logging.getLogger().level, warnings.showwarning
    try:
        for _ in range(2):
            logs.set_up_logging("error")
        assert len(logging.getLogger().handlers) == len(before) + 1
    finally:
        logging.getLogger().handlers[:] = before
        logging.getLogger().setLevel(level)
        logging.raiseExceptions = True
        logging.captureWarnings(capture=False)
        sys.excepthook, sys.unraisablehook = hooks
        assert warnings.showwarning is shown
