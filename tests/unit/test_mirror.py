"""The order of the tests: unit tests mirror the package and start no daemon, and no test imports
another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("test_*.py"))
UNIT_TESTS = [path for path in FILES if path.is_relative_to(TESTS / "unit")]
OF_NO_MODULE = {
    "contract/test_contract",
    "test_architecture",
    "test_compatibility",
    "test_deploy",
    "test_docs",
    "test_mirror",
    "test_monitoring",
    "test_pictures",
    "test_prose",
    "test_site",
}
"""What they test is the package as a whole, its documentation, or its files for others."""
DAEMONS = {"Daemon", "DaemonPool", "Daemons", "Misbehaving"}


def _name(path: Path) -> str:
    return str(path.relative_to(TESTS))


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything that is imported, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=_name)
def test_each_unit_test_has_a_module_of_its_path(path: Path) -> None:
    name = path.relative_to(TESTS / "unit").with_suffix("")
    if str(name) in OF_NO_MODULE:
        return
    package = ROOT if name.parts[0] == "bench" else ROOT / "chromepool"
    module = package / name.parent / name.name.removeprefix("test_")
    assert module.with_suffix(".py").exists() or (module / "__init__.py").exists(), module


def test_the_exceptions_are_there() -> None:
    found = {str(path.relative_to(TESTS / "unit").with_suffix("")) for path in UNIT_TESTS}
    assert found >= OF_NO_MODULE


@pytest.mark.parametrize("path", UNIT_TESTS, ids=_name)
def test_no_unit_test_starts_a_daemon(path: Path) -> None:
    assert not DAEMONS & {name for _, name in _imports(path)}


def test_no_unit_test_is_marked_as_one_that_needs_a_daemon(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        if item.path.is_relative_to(TESTS / "unit"):
            assert item.get_closest_marker("daemon") is None, item.nodeid


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_test_imports_from_another(path: Path) -> None:
    for module, name in _imports(path):
        if module.split(".")[0] == "tests":
            assert ".test_" not in f"{module}.{name}"
