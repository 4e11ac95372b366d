"""The house: who may import whom, and how long things may be."""

from __future__ import annotations

import ast
import functools
import statistics
import sys
from pathlib import Path

import chromepool

ROOT = Path(chromepool.__file__).parent
SHARED = {
    "channel",
    "errors",
    "model",
    "setting",
    "config",
    "config_sources",
    "chrome_options",
    "logs",
    "tokens",
    "wire",
    "startup",
    "psi",
}
"""The ground both processes stand on: the standard library only."""
FLOORS: tuple[tuple[str, ...], ...] = (
    tuple(sorted(SHARED)),
    ("schema",),
    ("supervisor",),
    ("client",),
    ("gateway.log", "gateway.histogram", "gateway.bus", "gateway.tasks"),
    ("gateway.cdp",),
    ("gateway.browser", "gateway.store"),
    ("gateway.spec", "gateway.supervisor", "gateway.event_stream", "gateway.alert"),
    ("gateway.runtime", "gateway.capacity"),
    ("gateway.sessions",),
    ("gateway.handover", "gateway.history"),
    ("canary",),
    ("gateway.monitor",),
    ("gateway.http",),
    ("gateway",),
    ("cli",),
)
"""From the ground up. The package's own ``__init__`` holds the version and lies below all."""
OF_THE_SUPERVISOR = {
    "cli.main": {"systemd.after_stop", "main"},
    "cli.doctor": {"chrome.command_line", "host"},
}
"""Who above the supervisor takes what of it, other than over the wire."""
SUPERVISORS_OWN = {"prctl", "psutil", "chromepool"}
MOST_WITH_REGISTRY = 8
LONGEST_FUNCTION, LONGEST_FILE, MEDIAN_FUNCTION = 60, 500, 10
"""A long file is a smell: cohesion decides, and a shard beside a full neighbour is no better."""


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def _floor(module: str) -> int:
    """The height of the longest prefix that has a floor of its own."""
    name = module.removeprefix("chromepool").removeprefix(".")
    if not name:
        return -1
    heights = {part: height for height, parts in enumerate(FLOORS) for part in parts}
    while name not in heights:
        assert "." in name, f"{module} has no floor"
        name = name.rpartition(".")[0]
    return heights[name]


def _targets(node: ast.AST) -> list[str]:
    """Modules that an import statement names: ``from a import b`` may mean ``a.b``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        module = node.module or ""
        names = [f"{module}.{alias.name}" for alias in node.names]
        return [name if name in FILES else module for name in names]
    return []


def _imports(module: str) -> set[str]:
    """All that a module imports, inside functions and for typing included."""
    return {target for node in ast.walk(_tree(module)) for target in _targets(node)}


def _own(module: str) -> set[str]:
    return {name for name in _imports(module) if name.split(".")[0] == "chromepool"}


def _outside(module: str) -> set[str]:
    return {name.split(".")[0] for name in _imports(module)}


def _lazily(module: str) -> set[str]:
    """What a module imports inside functions only."""
    at_once = {target for node in _tree(module).body for target in _targets(node)}
    return _imports(module) - at_once


def test_every_module_has_a_floor() -> None:
    for module in FILES:
        _floor(module)


def test_imports_exist_and_go_down_or_sideways() -> None:
    for module in FILES:
        for target in _own(module) if module != "chromepool" else ():
            assert target in FILES, f"{module} imports {target}, which is not there"
            assert _floor(target) <= _floor(module), f"{module} imports {target}, which lies above"


def test_no_module_imports_itself_in_a_circle() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' > '.join((*path, module))}"
        if module not in finished:
            for target in sorted(_own(module) if module != "chromepool" else ()):
                visit(target, (*path, module))
            finished.add(module)

    for module in FILES:
        visit(module, ())


def test_the_package_itself_imports_nothing_until_it_is_asked() -> None:
    """``chromepool.Client`` is there for its users; to the daemon it costs nothing."""
    assert _own("chromepool") == _own("chromepool") & _lazily("chromepool")
    assert _outside("chromepool") <= {"chromepool", *sys.stdlib_module_names}


def test_the_supervisor_stays_small() -> None:
    for module in [m for m in FILES if m.startswith("chromepool.supervisor")]:
        assert _outside(module) <= SUPERVISORS_OWN | sys.stdlib_module_names
        banned = {"asyncio", "threading", "concurrent", "multiprocessing", "http"}
        assert not _outside(module) & banned


def test_few_take_anything_of_the_supervisor_but_over_the_wire() -> None:
    own = "chromepool.supervisor."
    found = {
        module.removeprefix("chromepool."): {t.removeprefix(own) for t in _own(module) if own in t}
        for module in FILES
        if module != "chromepool" and not module.startswith("chromepool.supervisor")
    }
    assert {module: taken for module, taken in found.items() if taken} == OF_THE_SUPERVISOR


def test_neither_process_imports_the_other() -> None:
    """What both need is shared ground: the gateway runs without root, the supervisor without
    asyncio."""
    for one, other in (("gateway", "supervisor"), ("supervisor", "gateway")):
        for module in [m for m in FILES if m.startswith(f"chromepool.{one}.")]:
            crossing = {t for t in _own(module) if t.startswith(f"chromepool.{other}.")}
            assert not crossing, f"{module} imports {crossing}"


def test_the_ground_is_of_the_standard_library() -> None:
    for module in [m for m in FILES if m.split(".")[-1] in SHARED and m.count(".") == 1]:
        foreign = _outside(module) - sys.stdlib_module_names - {"chromepool"}
        if module == "chromepool.config_sources":
            assert foreign <= {"yaml"}
            assert foreign <= {name.split(".")[0] for name in _lazily(module)}
        else:
            assert not foreign


def test_the_protocol_does_no_io() -> None:
    for module in [m for m in FILES if m.startswith("chromepool.gateway.cdp")]:
        banned = {
            "asyncio",
            "socket",
            "os",
            "select",
            "selectors",
            "time",
            "threading",
            "subprocess",
        }
        assert not _outside(module) & banned


def _callables(source: str) -> set[str]:
    """Names of attributes that hold a callback: annotated as Callable, or called ``on_...``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and "Callable" in ast.unparse(node.annotation):
            target = node.target
            found |= {target.attr} if isinstance(target, ast.Attribute) else set()
    return found


def late_callbacks(source: str, callables: set[str]) -> list[str]:
    """Assignments of a callback to an attribute of another object."""
    return [
        f"{target.lineno}: {ast.unparse(target)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute)
        and (target.attr in callables or target.attr.startswith("on_"))
        and ast.unparse(target.value) != "self"
    ]


def test_no_callback_is_assigned_from_another_module() -> None:
    """A callback comes in by a constructor, or an event goes over the bus: who reacts is visible
    where the parts are put together."""
    sources = {module: path.read_text() for module, path in FILES.items()}
    callables = set[str]().union(*(_callables(source) for source in sources.values()))
    found = {module: late_callbacks(source, callables) for module, source in sources.items()}
    assert {module: lines for module, lines in found.items() if lines} == {}


def test_a_planted_callback_is_found() -> None:
    planted = "class A:\n    def __init__(self):\n        self.hook: Callable[[], None] = noop\n"
    assert _callables(planted) == {"hook"}
    for line in ("a.hook = print", "a.b.on_end = print", "browser.on_crash = lambda crash: None"):
        assert late_callbacks(line, {"hook"})
    assert not late_callbacks("self.hook = print\nself._on_end = on_end\na.b = 1", {"hook"})


def test_few_modules_know_the_registry_of_sessions() -> None:
    registry = "chromepool.gateway.sessions.registry"
    assert len([module for module in FILES if registry in _own(module)]) <= MOST_WITH_REGISTRY


def test_only_main_subscribes_to_events() -> None:
    for module, path in FILES.items():
        if module not in ("chromepool.gateway.main", "chromepool.gateway.bus"):
            assert "bus.subscribe(" not in path.read_text(), module


def test_only_the_supervisor_forks() -> None:
    for module in [m for m in FILES if not m.startswith("chromepool.supervisor")]:
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("fork", "forkpty", "posix_spawn", "Popen")


def _functions() -> dict[str, int]:
    found = {}
    for module in FILES:
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                found[f"{module}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    return found


def test_functions_are_short() -> None:
    lengths = _functions()
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}
    assert statistics.median(lengths.values()) <= MEDIAN_FUNCTION


def test_files_are_short() -> None:
    for path in FILES.values():
        assert len(path.read_text().splitlines()) <= LONGEST_FILE, path


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    nothing = {"util", "utils", "helper", "helpers", "common", "misc", "base"}
    assert not nothing & {part for module in FILES for part in module.split(".")}
