"""The documentation says what the code does: generated pages, routes, problem codes, links."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chromepool import config, wire
from chromepool.gateway.http import problems
from chromepool.gateway.http.identity import by_credentials
from chromepool.gateway.http.routes import control_app, devtools_app
from testing import ROOT
from testing.fakes import FakePool, fake_services
from testing.floors import FLOORS

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
API = (ROOT / "docs/reference/api.md").read_text()
GENERATOR = runpy.run_path(str(ROOT / "docs/generate_settings.py"))
GENERATED: dict[str, Any] = runpy.run_path(str(ROOT / "docs/generate.py"))


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", GENERATED["PAGES"])
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    page: Callable[[str], str] = GENERATED["page"]
    assert (ROOT / f"docs/reference/{name}.md").read_text() == page(name), "run: make docs"


def test_the_table_of_limits_tells_the_real_defaults() -> None:
    page = (ROOT / "docs/reference/limits.md").read_text()
    rows = re.findall(r"^\| .+ \| `(\w+)` \| (.+) \|$", page, re.M)
    assert rows
    for name, told in rows:
        field = config.FIELDS[name]
        assert told == GENERATOR["show"](field, field.default), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _apps(monkeypatch: pytest.MonkeyPatch) -> list[web.Application]:
    pool = FakePool(monkeypatch)
    services = fake_services(pool)
    control = control_app(services, by_credentials(pool.runtime), "127.0.0.1:9222")
    return [control, devtools_app(services)]


def test_every_route_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    described = set(re.findall(r"^### `([A-Z]+ \S+)`$", API, re.MULTILINE))
    served = set()
    for app in _apps(monkeypatch):
        for route in app.router.routes():
            assert route.resource is not None
            path = re.sub(r"\{(slash|list)\}$", "", route.resource.canonical)
            if route.method != "HEAD":
                served.add(f"{route.method} {path}")
    assert described == served


def test_every_problem_code_is_described() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", API, re.MULTILINE)
    described = {(int(status), code) for status, code in rows}
    expected = {(status, kind.code) for kind, status in problems.STATUSES.items()}
    expected |= set((status, code) for status, code in problems.HTTP_CODES.items())
    expected.add((500, "internal"))
    assert described == expected


def test_every_message_of_the_wire_and_every_floor_is_described() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    first_cells = "\n".join(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))
    told = set(re.findall(r"`(?:\w+/)*(\w+)(?:/|\.py)?`", first_cells))
    assert wire.KINDS.keys() <= told
    assert {part.rpartition(".")[2] for parts in FLOORS for part in parts} <= told


def test_every_folder_of_the_package_is_in_the_tree_of_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"^\| `(chromepool/(?:\w+/)+)` \|", page, re.MULTILINE)
    folders = {path.parent for path in (ROOT / "chromepool").rglob("*.py")} - {ROOT / "chromepool"}
    folders.add(ROOT / "chromepool/units")
    assert sorted(listed) == sorted(f"{path.relative_to(ROOT)}/" for path in folders)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_modules_that_are_named_exist(page: str) -> None:
    files = [f"/{path.relative_to(ROOT)}" for path in (ROOT / "chromepool").rglob("*.py")]
    files += [f"/{path.relative_to(ROOT)}" for path in (ROOT / "docs").glob("*.py")]
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", (ROOT / page).read_text())
    assert named
    assert not [name for name in named if not any(file.endswith(f"/{name}") for file in files)]


def test_tests_that_are_pointed_at_exist() -> None:
    told = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"`(test_\w+)`", page.read_text())
    }
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert told
    assert told <= set(re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE))
