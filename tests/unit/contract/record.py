"""The public contract of the tree that is imported, as data.

``python -m contract.record FILE``, run from a checkout, writes it down. Prose (summaries,
descriptions, help texts) is left out, since rewriting it breaks nobody.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import adapters, record_api, record_rest

Json = Any

SECTIONS: dict[str, Callable[[], Json]] = {
    "openapi": record_api.openapi,
    "routes": record_api.routes,
    "cli": record_rest.cli,
    "cli json": record_rest.cli_json,
    "settings": record_rest.settings,
    "metrics": record_rest.metrics,
    "problems": record_api.problems,
    "events": record_api.events,
    "close codes": record_api.close_codes,
    "queries": record_api.queries,
    "webhook": record_api.webhook,
    "python": record_rest.python,
    "files": record_rest.files,
}


@functools.cache
def section(name: str) -> Json:
    """Return one section of the tree that is imported, as JSON has it."""
    return json.loads(json.dumps(SECTIONS[name](), allow_nan=False))


def main() -> None:
    """Write the contract of the tree that is imported to the file that is named."""
    unasked = record_api.unasked_routes()
    if unasked:
        raise SystemExit(f"no address of the recorder leads to {sorted(unasked)}")
    text = json.dumps({name: section(name) for name in SECTIONS}, indent=2, sort_keys=True)
    Path(sys.argv[1]).write_text(text + "\n")
    print(f"recorded {adapters.PACKAGE} in {sys.argv[1]}")


if __name__ == "__main__":
    main()
