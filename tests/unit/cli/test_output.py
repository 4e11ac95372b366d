"""Text of clients, pages and machines is printed as it is: no markup, no terminal codes."""

from __future__ import annotations

import datetime

import pytest

from chromepool.cli import output
from chromepool.cli.doctor import Finding
from chromepool.schema.admin import CanaryResult
from chromepool.schema.history import HistoryPage, PastSession


def test_a_finding_is_one_line_and_its_remedy_another(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_findings(
        [
            Finding("Chrome", "fail", "[Errno 2] \x1b[31m no [/b]", "Install [chrome]."),
            Finding("memory", "ok", "1 MiB"),
        ]
    )
    assert capsys.readouterr().out.splitlines() == [
        "fail  Chrome: [Errno 2] [31m no [/b]",
        "      -> Install [chrome].",
        "  ok  memory: 1 MiB",
    ]


def test_a_canary_ends_with_the_step_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_canary(CanaryResult(False, "load", "[timeout]", {"create": 0.01234}))
    assert capsys.readouterr().out.splitlines() == [
        "  ok  create: 12.3 ms",
        "fail  load: [timeout]",
    ]


def test_a_page_of_history_that_is_not_the_last_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    session = PastSession("f", "[uid]", {"a": "[b]"}, now, None, None, "", False, {}, None, None)
    output.print_history(HistoryPage([session], next="1"))
    printed = capsys.readouterr()
    assert "[uid]" in printed.out
    assert "a=[b]" in printed.out
    assert printed.err == "More sessions match: raise --limit, or narrow --since.\n"
    output.print_history(HistoryPage([session], next=None))
    assert capsys.readouterr().err == ""
