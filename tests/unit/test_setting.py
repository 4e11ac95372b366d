"""How a setting is declared, and what its written value may be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from chromepool.setting import GIB, LARGEST_BYTES, MIB, fixed, parse_value, seconds, setting, size


@dataclasses.dataclass
class Table:
    text: str = setting("", "Text.")
    switch: bool = setting(False, "Switch.")
    count: int = fixed(1, "Count.", low=1, high=10)
    part: float = setting(0.5, "Part.", high=1)
    size: int = size(MIB, "Size.", owner="mine")
    pause: float = seconds(1, "Pause; 0: none.", alias="PAUSE_MS")


ROWS = {field.name: field for field in dataclasses.fields(Table)}
KINDS: dict[str, type] = {"text": str, "switch": bool, "count": int, "part": float, "size": int}


def parse(name: str, value: object) -> Any:
    return parse_value(KINDS[name], ROWS[name].metadata, value)


def test_a_declaration_keeps_its_default_and_what_was_said_of_it() -> None:
    assert Table().size == MIB
    meta = ROWS["size"].metadata
    assert (meta["help"], meta["live"], meta["owner"]) == ("Size, in bytes.", True, "mine")
    assert meta["high"] == LARGEST_BYTES
    assert ROWS["pause"].metadata["help"] == "Pause, in seconds; 0: none."
    assert ROWS["pause"].metadata["alias_unit"] == 0.001
    assert not ROWS["count"].metadata["live"]


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("text", "a b", "a b"),
        ("switch", "yes", True),
        ("switch", False, False),
        ("count", "10", 10),
        ("part", "0.25", 0.25),
        ("size", "2GiB", 2 * GIB),
        ("size", 5, 5),
    ],
)
def test_what_is_taken(name: str, written: object, value: object) -> None:
    assert parse(name, written) == value


@pytest.mark.parametrize(
    ("name", "written", "said"),
    [
        ("text", 5, "is not text"),
        ("switch", "maybe", "is not true or false"),
        ("count", "1.5", "is not a whole number"),
        ("count", True, "is not a whole number"),
        ("count", "11", "is not between 1 and 10"),
        ("part", "x", "is not a number"),
        ("part", "inf", "is not a finite number"),
        ("size", "1 TiB", "is not a size such as 536870912 or 512MiB"),
    ],
)
def test_what_is_refused_completes_a_sentence(name: str, written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(name, written)
