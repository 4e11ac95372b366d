"""Hook for MkDocs: links from the documentation to other files of the repository.

On a forge ``../../systemd/chromepool.service`` leads to the file. The site has only what is below
``docs/``, so the hook publishes such a file below ``repository/``, and the link leads there.
Markdown outside ``docs/`` is not published, because its own links would lead nowhere. The strict
build refuses links to it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"\]\((?P<path>\.\./[^)#\s]+)\)")


def _published(path: Path, config: MkDocsConfig, files: Files) -> str | None:
    """The file's place in the site; None for a link that stays as it is."""
    if not path.is_file() or path.is_relative_to(DOCS) or path.suffix == ".md":
        return None
    uri = f"repository/{path.relative_to(ROOT).as_posix()}"
    if files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return uri


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page, with its links as the site needs them; a hook of MkDocs."""
    folder = (DOCS / page.file.src_uri).parent

    def lead(link: re.Match[str]) -> str:
        uri = _published(Path(os.path.normpath(folder / link["path"])), config, files)
        return link[0] if uri is None else f"]({os.path.relpath(DOCS / uri, folder)})"

    return _LINK.sub(lead, markdown)
