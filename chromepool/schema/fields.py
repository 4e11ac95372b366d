"""Shorthands with which the API's types describe and bound their fields."""

from __future__ import annotations

from typing import Any

from msgspec import Meta

END = r"$(?!\n)"
"""End of a text in a pattern. To Python, ``$`` alone also matches before a final line feed."""


def about(description: str, **bounds: Any) -> Meta:
    """Describe a field in a sentence or a noun phrase that stands alone, with its unit."""
    return Meta(description=description, **bounds)
