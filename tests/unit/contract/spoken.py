"""Texts that stand in chromepool's code: for names that can be looked for, but not called."""

from __future__ import annotations

import ast
import functools
import re

from . import adapters

_LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "bind"}
_FAMILY = re.compile(r"[a-z]+\\\.").match
"""Match of a pattern that begins with the first half of a dotted name."""


class Spoken(ast.NodeVisitor):
    """Collector of a module's texts, but for those that are logged, documented or compared."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.patterns: set[str] = set()
        self.names: set[str] = set()
        """Keyword arguments and annotated attributes, which become keys of JSON."""
        self.emits = False

    @property
    def words(self) -> set[str]:
        """Everything that may be a key of JSON."""
        return self.texts | self.names

    def says(self, name: str) -> bool:
        """Tell whether a dotted name is among the texts, or one with a gap that another fills."""
        if name in self.texts:
            return True
        found = (re.fullmatch(pattern, name) for pattern in self.patterns if _FAMILY(pattern))
        return any(match and all(map(_is_text, match.groups())) for match in found)

    def visit_Call(self, node: ast.Call) -> None:
        """Leave out calls of a log; note those that make events."""
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if isinstance(node.func, ast.Attribute) and called in _LOG_METHODS:
            return
        self.emits |= called in ("emit", "Event")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Leave out what is only compared with."""

    def visit_MatchValue(self, node: ast.MatchValue) -> None:
        """Leave out what is only compared with."""

    def visit_Set(self, node: ast.Set) -> None:
        """Leave out what is only compared with."""

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave out docstrings."""
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Take a text, also one of bytes."""
        if isinstance(node.value, str | bytes):
            value = node.value
            self.texts.add(value if isinstance(value, str) else value.decode(errors="replace"))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Take a text with gaps as the pattern of what it may become."""
        parts = [
            re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"([a-z_]+)"
            for part in node.values
        ]
        self.patterns.add("".join(parts))
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        """Take the name of an argument."""
        self.names.add(node.arg or "")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Take the name of an attribute."""
        if isinstance(node.target, ast.Name):
            self.names.add(node.target.id)
        self.generic_visit(node)


@functools.cache
def _modules() -> tuple[Spoken, ...]:
    found = []
    for path in sorted(adapters.PACKAGE.rglob("*.py")):
        found.append(Spoken())
        found[-1].visit(ast.parse(path.read_text()))
    return tuple(found)


def _is_text(word: str) -> bool:
    return any(word in module.texts for module in _modules())


def in_code(word: str) -> bool:
    """Tell whether a word stands in the package's code as it is."""
    return any(word in module.words for module in _modules())


def emitted(name: str) -> bool:
    """Tell whether code has an event's name, outside of what it logs and compares."""
    return any(module.says(name) for module in _modules())


def field_in_code(name: str, field: str) -> bool:
    """Tell whether a field's name stands where the event is made: in its module, or, where names
    of events are kept apart, in any module that makes events."""
    makers = [module for module in _modules() if module.emits]
    nearest = [module for module in makers if module.says(name)] or makers
    return any(field in module.words for module in nearest)
