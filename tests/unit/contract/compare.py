"""The comparison of a tree's contract with the one that was recorded.

Everything recorded has to be there, as it was. More may be there only where a client that knows
nothing of it is not disturbed: :data:`MAY_GROW` says where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = Any
Path = tuple[str, ...]
Grows = Callable[[Json, Path, Json], bool]
"""Decides on an addition: from the recorded section, the path of what is new, and the new value."""

_REQUEST = "additionalProperties"
"""Key of the schemas that are checked when they come in: they refuse what they do not know."""


def _matches(path: Path, pattern: str) -> bool:
    """Tell whether a path has the words of a pattern, where ``*`` is any."""
    words = pattern.split(" > ")
    return len(words) == len(path) and all(
        word in ("*", step) for word, step in zip(words, path, strict=True)
    )


def _anywhere(*patterns: str) -> Grows:
    """Allow any addition at these paths."""
    return lambda old, path, value: any(_matches(path, pattern) for pattern in patterns)


# -- rules that look at what is new --


def _openapi(old: Json, path: Path, value: Json) -> bool:
    """Allow routes, objects, optional parameters, and fields that no old client must send."""
    if any(_matches(path, pattern) for pattern in ("paths > *", "paths > * > *", "schemas > *")):
        return True
    if _matches(path, "paths > * > * > parameters > *"):
        return value["required"] is False
    if _matches(path, "schemas > * > properties > *"):
        return True  # a request in which it is required has a longer list below
    if _matches(path, "schemas > * > required > *"):
        return old["schemas"][path[1]].get(_REQUEST) is not False
    return False


def _routes(old: Json, path: Path, value: Json) -> bool:
    """Allow methods where an address is served, and addresses that come with the control API."""
    mode = path[0]
    if len(path) == 2:
        return mode in ("control", "devtools with control_tcp") or value == []
    return len(path) == 3 and old[mode][path[1]] != []


def _cli(old: Json, path: Path, value: Json) -> bool:
    """Allow commands, and options that nobody must give."""
    if _matches(path, "commands > *"):
        return True
    if _matches(path, "options > *") or _matches(path, "commands > * > options > *"):
        return value["required"] is False
    more_names = ("opts > *", "secondary_opts > *")
    return any(
        _matches(path, f"{base}options > * > {names}")
        for base in ("", "commands > * > ")
        for names in more_names
    )


def _events(old: Json, path: Path, value: Json) -> bool:
    """Allow events that code has, and fields of events."""
    if any(_matches(path, each) for each in ("documented > *", "documented > * > *")):
        return True
    if any(_matches(path, each) for each in ("fields in code > *", "frame > data > *")):
        return True
    return (path[0] in ("emitted", "fields in code")) and value is True


def _python(old: Json, path: Path, value: Json) -> bool:
    """Allow names, and parameters that nobody must give."""
    anywhere = (
        *(
            "exports > *",
            "classes > *",
            "classes > * > members > *",
            "classes > * > attributes > *",
        ),
        *("classes > * > ancestors > *", "errors > *", "errors > * > ancestors > *"),
    )
    if any(_matches(path, pattern) for pattern in anywhere):
        return True
    if _matches(path, "classes > * > members > * > parameters > *"):
        return value["default"] is not None or value["kind"].startswith("VAR_")
    return False


MAY_GROW: dict[str, Grows] = {
    "openapi": _openapi,
    "routes": _routes,
    "cli": _cli,
    "cli json": _anywhere("*", "* > *"),
    "settings": _anywhere("settings > *"),
    "metrics": _anywhere(
        *("families > *", "scraped > *", "label values > *", "label values > * > *", "alerts > *"),
        *("first samples > *", "first samples > * > *"),
    ),
    "problems": _anywhere("codes > *", "answers > *", "http > *"),
    "events": _events,
    "close codes": _anywhere("meanings > *"),
    "queries": _anywhere("flags of sessions > *"),
    "webhook": _anywhere("body > *", "alert > *", "keys in code > *"),
    "python": _python,
    "files": _anywhere("units > *", "installed > * > *"),
}


# -- the comparison --


def differences(section: str, old: Json, new: Json) -> list[str]:
    """Say what of a section is gone, changed, or new where nothing may be new."""
    grows = MAY_GROW[section]
    return _differences(old, new, (), lambda path, value: grows(old, path, value))


def _said(path: Path) -> str:
    return " > ".join(path) or "the section"


def _differences(
    old: Json, new: Json, path: Path, grows: Callable[[Path, Json], bool]
) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = [f"{_said((*path, key))}: gone" for key in old if key not in new]
        for key, value in new.items():
            here = (*path, key)
            if key in old:
                found += _differences(old[key], value, here, grows)
            elif not grows(here, value):
                found.append(f"{_said(here)}: new, where nothing may be new")
        return found
    if isinstance(old, list) and isinstance(new, list):
        return _lists(old, new, path, grows)
    if type(old) is not type(new) and bool in (type(old), type(new)):  # to Python, True is 1
        return [f"{_said(path)}: {old!r} became {new!r}"]
    return [] if old == new else [f"{_said(path)}: {old!r} became {new!r}"]


def _lists(
    old: list[Json], new: list[Json], path: Path, grows: Callable[[Path, Json], bool]
) -> list[str]:
    """Compare lists of names as sets, whose order counts; others item by item."""
    if not all(isinstance(item, str) for item in (*old, *new)):
        if len(old) != len(new):
            return [f"{_said(path)}: {len(old)} items became {len(new)}"]
        pairs = enumerate(zip(old, new, strict=True))
        found = [_differences(a, b, (*path, str(place)), grows) for place, (a, b) in pairs]
        return [said for each in found for said in each]
    said = [f"{_said((*path, item))}: gone" for item in old if item not in new]
    more = [item for item in new if item not in old]
    said += [
        f"{_said((*path, item))}: new, where nothing may be new"
        for item in more
        if not grows((*path, item), item)
    ]
    kept = [item for item in new if item not in more]
    if not said and kept != old:
        said.append(f"{_said(path)}: {old!r} became {kept!r} in another order, or how often")
    return said
