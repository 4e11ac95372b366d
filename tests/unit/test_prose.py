"""The prose rules of CONTRIBUTING.md as a gate: docstrings, and strings that a user can meet."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from chromepool import config
from chromepool.cli.main import cli
from chromepool.gateway.http import openapi
from chromepool.gateway.monitor.metric_table import FAMILIES
from testing import ROOT

SOURCES = sorted((ROOT / "chromepool").rglob("*.py"))
HELPERS = sorted(
    path for name in ("bench", "docs", "testing") for path in (ROOT / name).rglob("*.py")
)
_PRONOUNS = frozenset(
    re.findall(
        r"\S+",
        "It It's Its One One's Ones Those These This That They Their Them He She His Her "
        "We Our You Your What Whatever Which Who Whoever Whom Whose When Whenever Where "
        "Wherever Whether Why How As So Such Somebody Somebody's Someone Something Nobody "
        "Nothing Anybody Anything Everybody Everything If And Or But Nor Likewise Also Of "
        "Than Then Same ",
    )
)
_OUT = re.compile(
    r"\banew\b|\bbeside\b|\bbesides these\b|\blets? go\b|\bso long\b|\bso many\b|\bgoes on\b"
    r"|\bis to be\b|\bare to be\b|\bwas to be\b|\bnobody's\b|\bof ours\b"
)
"""Phrases that CONTRIBUTING.md rules out, in strings for users."""
_THIRD_PERSON = re.compile(
    r"(Accept|Add|Adopt|Allow|Answer|Apply|Appli|Ask|Assign|Attach|Begin|Break|Build|Call|Change|Check"
    r"|Close|Collect|Compare|Compute|Connect|Convert|Count|Create|Decide|Decode|Delete|Deliver|Detach"
    r"|Disconnect|Drop|Emit|Empti|Encode|End|Enter|Escape|Fill|Find|Finish|Flush|Follow|Forget|Format"
    r"|Freeze|Give|Grant|Handle|Hold|Implement|Keep|Kill|Leave|List|Listen|Load|Look|Make|Mark|Measure"
    r"|Move|Number|Open|Parse|Pass|Pause|Print|Publish|Put|Queue|Raise|Read|Receive|Record|Refuse"
    r"|Release|Remember|Remove|Rename|Replace|Replie|Report|Reserve|Reset|Resume|Return|Run|Send|Serve"
    r"|Set|Show|Sign|Sort|Start|Stop|Store|Subscribe|Sweep|Take|Tell|Thaw|Touch|Trie|Trim|Turn|Unmask"
    r"|Update|Wait|Wake|Watch|Wrap|Write)e?s"
)
"""Verbs in the third person; the first line of a function's docstring is an imperative."""


# -- docstrings --


def docstrings(source: str) -> Iterator[tuple[int, str, bool]]:
    """Line and text of each docstring, attributes' included, and whether it is a function's."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        owner = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for before, statement in zip([None, *body], body, strict=False):
            first = before is None and owner
            attribute = isinstance(before, ast.Assign | ast.AnnAssign)
            if not (first or attribute) or not isinstance(statement, ast.Expr):
                continue
            value = statement.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and first
                yield statement.lineno, value.value, function


def first_word(text: str) -> str:
    """The first word, without quotes and punctuation."""
    return re.split(r"[\s,;:.!?]", text.strip().lstrip("`*\"'("), maxsplit=1)[0]


def faults_of_docstring(text: str, *, function: bool) -> list[str]:
    """What is wrong with a docstring."""
    word = first_word(text)
    found = []
    if word in _PRONOUNS:
        found.append(f"begins with {word!r}")
    if word[:1].islower() and not text.strip().startswith("`"):
        found.append("begins in the middle of a sentence")
    if function and _THIRD_PERSON.fullmatch(word):
        found.append(f"begins with {word!r} instead of an imperative")
    if text.strip().endswith((",", ";", ":", "and")):
        found.append("ends in the middle of a sentence")
    return found


@pytest.mark.parametrize("path", SOURCES + HELPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {fault}: {text.splitlines()[0]}"
        for line, text, function in docstrings(path.read_text())
        for fault in faults_of_docstring(text, function=function)
    ]
    assert not found, "\n".join(found)


# -- strings that users meet --


_LOWER_CASE = {"asyncio", "chmod", "control", "groupadd", "launch", "systemd", "uid"}
"""Names that stand in lower case at the beginning of a sentence, too."""
_VALUE = "X"
"""Stands for a value in an f-string."""


def faults_of_sentence(text: str) -> list[str]:
    """What keeps a text from standing alone as a sentence or a noun phrase."""
    found = []
    word = first_word(text)
    if word in _PRONOUNS:
        found.append(f"begins with {word!r}")
    start = text.split(maxsplit=1)[0]
    is_name = word in _LOWER_CASE or re.search(r"[_.=]\w|[_=]", start) is not None
    if word[:1].islower() and not is_name and not text.lstrip().startswith(("`", "http", '"')):
        found.append("begins in lower case")
    if len(text.split()) < 2:
        found.append("has one word")
    is_command = re.search(r": [a-z]+ [-\w ]+$", text) is not None
    ends = text.rstrip().endswith((".", "?", "`", ")", _VALUE)) or is_command
    if not ends or text.rstrip().endswith(",."):
        found.append("does not end as a sentence")
    match = _OUT.search(text)
    if match:
        found.append(f"has {match[0]!r}")
    return found


_UNITS = {
    "_s": r"second|minute|hour|\bday|time|pause",
    "_bytes": r"byte|memory|size|heap|\bfile",
    "_days": r"\bday",
    "_percent": r"percent",
    "_per_minute": r"minute",
    "_cores": r"\bcore",
}


def faults_of_setting(name: str, text: str) -> list[str]:
    """What is wrong with a setting's help: a sentence that names its unit."""
    found = faults_of_sentence(text)
    unit = next((pattern for end, pattern in _UNITS.items() if name.endswith(end)), "")
    if unit and not re.search(unit, text, re.IGNORECASE):
        found.append("does not name its unit")
    return found


def descriptions(document: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Each description and summary of an OpenAPI document, with its place."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == "description" and isinstance(value, str):
                yield where, value
            else:
                yield from descriptions(value, f"{where}/{name}")
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from descriptions(value, f"{where}/{number}")


def _texts(node: ast.AST) -> Iterator[ast.expr]:
    """The detail and the remedy that a call gives to an error, if it makes one."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "remedy")
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in _ERRORS and node.args:
            yield node.args[0]


def _assigned(function: ast.AST) -> Iterator[ast.expr]:
    """The values of the variables that a function gives to errors as details and remedies."""
    nodes = list(ast.walk(function))
    texts = [text for node in nodes for text in _texts(node)]
    names = {text.id for text in texts if isinstance(text, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names:
            yield node.value


def errors_of(source: str) -> Iterator[tuple[int, str]]:
    """The literal details and remedies of the errors that a module raises."""
    nodes = list(ast.walk(ast.parse(source)))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    texts = [text for node in nodes for text in _texts(node)]
    for text in texts + [text for function in functions for text in _assigned(function)]:
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value:
            yield text.lineno, text.value
        elif isinstance(text, ast.JoinedStr):
            parts = [
                part.value if isinstance(part, ast.Constant) else _VALUE for part in text.values
            ]
            yield text.lineno, "".join(map(str, parts))


def _error_names() -> set[str]:
    tree = ast.parse((ROOT / "chromepool/errors.py").read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


_ERRORS = _error_names()


def log_events(source: str) -> Iterator[tuple[int, str]]:
    """The names of the events that a module logs."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("debug", "info", "warning", "error", "critical", "exception")
            and ast.unparse(node.func.value) in ("log", "self.log", "self._browser.log")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


@pytest.mark.parametrize("name", config.FIELDS)
def test_help_of_a_setting(name: str) -> None:
    assert faults_of_setting(name, config.FIELDS[name].metadata["help"]) == []


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_help_of_a_metric(family: Any) -> None:
    assert faults_of_sentence(family.text) == []


def test_descriptions_of_the_api() -> None:
    document = json.loads(openapi.document())
    found = {
        f"{where}: {text}": faults
        for where, text in descriptions(document)
        if "/responses/" not in where and (faults := faults_of_sentence(text))
    }
    assert found == {}


def _commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from _commands(command)


@pytest.mark.parametrize("command", [cli, *_commands(cli)], ids=lambda command: command.name)
def test_help_of_a_command(command: click.Command) -> None:
    assert faults_of_sentence((command.help or "").splitlines()[0]) == []
    for parameter in command.params:
        text = re.sub(r" \[[^]]*\]$", "", getattr(parameter, "help", None) or "")
        if text:
            assert faults_of_sentence(text) == [], parameter.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_errors_and_log_events(path: Path) -> None:
    source = path.read_text()
    found = [
        f"{path.relative_to(ROOT)}:{line}: {fault}: {text}"
        for line, text in errors_of(source)
        for fault in faults_of_sentence(text)
        if fault != "has one word"
    ]
    found += [
        f"{path.relative_to(ROOT)}:{line}: {event!r} is not noun.verb"
        for line, event in log_events(source)
        if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", event)
    ]
    assert not found, "\n".join(found)


# -- the gates themselves --


@pytest.mark.parametrize(
    "text",
    ["It happened.", "Those that wait.", "Whether it lives.", "and how many.", "What it says,"],
)
def test_a_planted_docstring_is_found(text: str) -> None:
    source = f'class A:\n    """A thing."""\n    x: int = 0\n    """{text}"""\n'
    (_, _, _), (_, planted, function) = docstrings(source)
    assert planted == text
    assert faults_of_docstring(planted, function=function)


def test_a_planted_verb_in_the_third_person_is_found() -> None:
    [(_, text, function)] = docstrings('def f():\n    """Ends a session."""\n')
    assert faults_of_docstring(text, function=function)
    assert not faults_of_docstring("End a session.", function=True)
    assert not faults_of_docstring("Sessions that run.", function=True)


@pytest.mark.parametrize(
    "text",
    [
        "Sessions in it,",
        "for memory,",
        "It was raised.",
        "How often it was raised.",
        "Begin it anew.",
        "Seconds",
        "no end",
    ],
)
def test_a_planted_fragment_is_found(text: str) -> None:
    assert faults_of_sentence(text)


def test_a_setting_without_its_unit_is_found() -> None:
    assert faults_of_setting("max_age_s", "Longest life of a session.")
    assert not faults_of_setting("max_age_s", "Longest life of a session in seconds.")


def test_a_planted_description_error_and_event_are_found() -> None:
    document = {"schemas": {"A": {"properties": {"x": {"description": "for memory,"}}}}}
    assert [text for _, text in descriptions(document)] == ["for memory,"]
    planted = (
        'raise PoolFull(f"{n} wait already", remedy="so try again")\nlog.info("It Happened")\n'
    )
    assert [text for _, text in errors_of(planted)] == ["so try again", "X wait already"]
    named = 'def f():\n    said = "no slot"\n    raise PoolFull(said)\n'
    assert [text for _, text in errors_of(named)] == ["no slot"]
    assert [text for _, text in log_events(planted)] == ["It Happened"]
