"""Writes the generated pages of docs/reference/. Usage: python docs/generate.py"""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent
PAGES = ("api", "cli", "metrics", "settings")


def page(name: str) -> str:
    """The text that docs/reference/NAME.md has to have; docs/generate_NAME.py makes it."""
    text: str = runpy.run_path(str(DOCS / f"generate_{name}.py"))["page"]()
    return text


if __name__ == "__main__":
    for each in PAGES:
        (DOCS / "reference" / f"{each}.md").write_text(page(each))
