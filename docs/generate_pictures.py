"""Draw docs/pictures/NAME.svg from docs/pictures/NAME.yaml.

Usage: python docs/generate_pictures.py

A picture is boxes on a grid, and arrows between them:

- ``title``: a sentence for readers who cannot see the picture;
- ``columns``, ``rows``: widths and heights of the grid in pixels;
- ``grid``: a line for each row, a word for each column; a box fills the cells that hold its name,
  and ``.`` leaves a cell empty;
- ``boxes``: the lines of text of each box, the first one bold;
- ``accent``: names of boxes in a second colour; ``top: true`` puts text at the top of its box;
- ``arrows``: ``A -> B: label``; ``<->`` has two heads, ``..>`` is dashed, and ``@3`` after the
  names puts the arrow into row 3, counted from 0. Between boxes that face each other an arrow is
  straight, else it has one corner.
"""

from __future__ import annotations

import re
import string
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import yaml

PICTURES = Path(__file__).parent / "pictures"
_MARGIN = 12
_LINE = 18
_GAP = 6
_LETTER = 7.8
"""Average width of a letter in pixels, rounded up."""
_ARROW = re.compile(r"(?P<a>\w+) (?P<kind><->|->|\.\.>) (?P<b>\w+)(?: @(?P<row>\d+))?")


class Box(NamedTuple):
    """The edges of a rectangle."""

    left: float
    top: float
    right: float
    bottom: float


def _texts(lines: list[str], x: float, top: float, anchor: str, room: float) -> list[str]:
    """Lines of text from ``top`` downwards. Raises ValueError where one is wider than ``room``."""
    if (need := max(map(len, lines), default=0) * _LETTER) > room:
        raise ValueError(f"{lines} needs {need:.0f} pixels and has {room:.0f}.")
    return [
        f'<text x="{x:g}" y="{top + _LINE * (index + 0.75):g}" text-anchor="{anchor}">'
        f"{escape(line)}</text>"
        for index, line in enumerate(lines)
    ]


class Picture:
    """Boxes and arrows, laid out as their text says, and the SVG elements that draw them."""

    def __init__(self, text: dict[str, Any]) -> None:
        self._text = text
        self.xs = self._edges(text["columns"])
        self.ys = self._edges(text["rows"])
        words = [line.split() for line in text["grid"].splitlines()]
        self._boxes = {name: self._area(name, words) for name in text["boxes"]}

    @staticmethod
    def _edges(sizes: list[int]) -> list[float]:
        return [float(_MARGIN + sum(sizes[:index])) for index in range(len(sizes) + 1)]

    def _area(self, name: str, words: list[list[str]]) -> Box:
        rows = [row for row, line in enumerate(words) if name in line]
        columns = [column for line in words for column, word in enumerate(line) if word == name]
        left, right = self.xs[min(columns)], self.xs[max(columns) + 1]
        return Box(left, self.ys[rows[0]], right, self.ys[rows[-1] + 1])

    def elements(self) -> list[str]:
        """The SVG elements, arrows first: an arrow may pass behind a box."""
        drawn: list[str] = []
        arrows = [arrow for each in self._text["arrows"] for arrow in each.items()]
        parsed = [(_parse(arrow), label) for arrow, label in arrows]
        pairs = [frozenset((found["a"], found["b"])) for found, _ in parsed]
        for index, (found, label) in enumerate(parsed):
            before, of = pairs[:index].count(pairs[index]), pairs.count(pairs[index])
            drawn += self._arrow(found, label, (before + 1) / (of + 1))
        return drawn + [element for name in self._boxes for element in self._box(name)]

    def _box(self, name: str) -> list[str]:
        lines, box = self._text["boxes"][name], self._boxes[name]
        width, height = box.right - box.left, box.bottom - box.top
        top = box.top + (_GAP if self._text.get("top") else (height - _LINE * len(lines)) / 2)
        kind = "box accent" if name in self._text.get("accent", ()) else "box"
        size = f'width="{width:g}" height="{height:g}"'
        rectangle = f'<rect class="{kind}" x="{box.left:g}" y="{box.top:g}" {size} rx="6"/>'
        head, *others = _texts(lines, box.left + width / 2, top, "middle", width - 2 * _GAP)
        return [rectangle, head.replace("<text", '<text class="head"'), *others]

    def _arrow(self, found: re.Match[str], label: str, share: float) -> list[str]:
        """An arrow; arrows of the same two boxes divide the edge that these have in common."""
        a, b, lines = self._boxes[found["a"]], self._boxes[found["b"]], label.splitlines()
        low, high = max(a.left, b.left), min(a.right, b.right)
        if low < high:
            path, texts = _vertical(a, b, low + (high - low) * share, lines, share < 0.5)
        else:
            path, texts = _level(a, b, self._height(a, b, found["row"], share), lines)
        style = "arrow dashed" if "." in found["kind"] else "arrow"
        tail = ' marker-start="url(#tip)"' if "<" in found["kind"] else ""
        return [f'<path class="{style}" d="{path}" marker-end="url(#tip)"{tail}/>', *texts]

    def _height(self, a: Box, b: Box, row: str | None, share: float) -> float:
        if row is not None:
            return (self.ys[int(row)] + self.ys[int(row) + 1]) / 2
        low, high = max(a.top, b.top), min(a.bottom, b.bottom)
        return low + (high - low) * share


def _parse(arrow: str) -> re.Match[str]:
    if (found := _ARROW.fullmatch(arrow)) is None:
        raise ValueError(f"{arrow!r} is no arrow: write A -> B, A <-> B or A ..> B.")
    return found


def _vertical(a: Box, b: Box, x: float, lines: list[str], left: bool) -> tuple[str, list[str]]:
    start, end = (a.bottom, b.top) if a.top < b.top else (a.top, b.bottom)
    top = (start + end - _LINE * len(lines)) / 2
    side = (x - _GAP, "end") if left else (x + _GAP, "start")
    return f"M{x:g} {start:g} V{end:g}", _texts(lines, side[0], top, side[1], 1000)


def _level(a: Box, b: Box, y: float, lines: list[str]) -> tuple[str, list[str]]:
    """An arrow that arrives at ``y``, with a corner where its first box is not that high."""
    start, end = (a.right, b.left) if a.left < b.left else (a.left, b.right)
    path = f"M{start:g} {y:g} H{end:g}"
    if not a.top < y < a.bottom:
        start = (a.left + a.right) / 2
        path = f"M{start:g} {a.top if y < a.top else a.bottom:g} V{y:g} H{end:g}"
    top, room = y - _LINE * len(lines) - 3, abs(end - start) - 2 * _GAP
    return path, _texts(lines, (start + end) / 2, top, "middle", room)


def picture(name: str) -> str:
    """The SVG that docs/pictures/NAME.yaml describes."""
    text = yaml.safe_load((PICTURES / f"{name}.yaml").read_text())
    drawn = Picture(text)
    frame = string.Template((PICTURES / "frame.txt").read_text())
    return frame.substitute(
        width=f"{drawn.xs[-1] + _MARGIN:g}",
        height=f"{drawn.ys[-1] + _MARGIN:g}",
        name=name,
        title=escape(text["title"]),
        body="\n".join(drawn.elements()),
    )


NAMES = tuple(sorted(path.stem for path in PICTURES.glob("*.yaml")))

if __name__ == "__main__":
    for each in NAMES:
        (PICTURES / f"{each}.svg").write_text(picture(each))
