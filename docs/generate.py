"""Write the generated pages of docs/reference/ and pictures of docs/pictures/.

Usage: python docs/generate.py
"""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent
PAGES = ("api", "cli", "metrics", "settings")


def page(name: str) -> str:
    """The text of docs/reference/NAME.md, which docs/generate_NAME.py makes."""
    text: str = runpy.run_path(str(DOCS / f"generate_{name}.py"))["page"]()
    return text


if __name__ == "__main__":
    for each in PAGES:
        (DOCS / "reference" / f"{each}.md").write_text(page(each))
    runpy.run_path(str(DOCS / "generate_pictures.py"), run_name="__main__")
