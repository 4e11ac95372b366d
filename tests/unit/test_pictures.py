"""The pictures of the documentation: they are what their text says, and labels fit."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/pictures"
GENERATOR: dict[str, Any] = runpy.run_path(str(ROOT / "docs/generate_pictures.py"))
NAMES = sorted(path.stem for path in PICTURES.glob("*.yaml"))
SVG = "{http://www.w3.org/2000/svg}"
TWO: dict[str, Any] = {
    "columns": [100, 200, 100],
    "rows": [50, 50],
    "grid": "a . b\n. . b",
    "boxes": {"a": ["A", "below"], "b": ["B"]},
    "arrows": [{"a -> b @0": "first"}],
}


def drawn(**changes: Any) -> list[ElementTree.Element]:
    elements = GENERATOR["Picture"](TWO | changes).elements()
    return list(ElementTree.fromstring(f"<svg>{''.join(elements)}</svg>"))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_what_its_text_says(name: str) -> None:
    written = (PICTURES / f"{name}.svg").read_text()
    assert written == GENERATOR["picture"](name), "run: make docs"


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_has_a_title_and_loads_nothing(name: str) -> None:
    root = ElementTree.parse(PICTURES / f"{name}.svg").getroot()
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text
    assert not [each for each in root.iter() if each.tag in (f"{SVG}image", f"{SVG}script")]


def test_every_picture_is_shown_on_a_page() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert NAMES
    assert [name for name in NAMES if f"pictures/{name}.svg)" not in pages] == []


def test_a_box_fills_the_cells_of_its_name() -> None:
    second = [each for each in drawn() if each.tag == "rect"][1]
    assert [second.get(key) for key in ("x", "y", "width", "height")] == ["312", "12", "100", "100"]


def test_an_arrow_is_straight_between_boxes_that_face_each_other() -> None:
    assert drawn()[0].get("d") == "M112 37 H312"


def test_an_arrow_has_a_corner_where_they_do_not() -> None:
    assert drawn(arrows=[{"a ..> b @1": ""}])[0].get("d") == "M62 62 V87 H312"


def test_an_arrow_may_have_two_heads() -> None:
    arrow = drawn(arrows=[{"a <-> b": ""}])[0]
    assert arrow.get("marker-start") == arrow.get("marker-end") == "url(#tip)"


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": {"a": ["A name that is wider than its box"], "b": ["B"]}},
        {"arrows": [{"a -> b @0": "a label that is wider than the way between the boxes"}]},
        {"arrows": [{"a => b": ""}]},
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pixels|is no arrow"):
        drawn(**changes)
