"""The documentation as a site: MkDocs builds it strictly, all of it leads somewhere, and a reader's
browser asks no other host for any of it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from testing import ROOT

DEADLINE_S = 120
LEFT_OF_MARKDOWN = ("- ", "* ", "1. ", "| ", "```", "#")
"""What a paragraph begins with that was to be a list, a table, code or a heading."""


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return subprocess.run(
        command,
        cwd=root,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@dataclasses.dataclass
class Page:
    """What a page of the site has."""

    path: Path
    ids: set[str] = dataclasses.field(default_factory=set)
    links: list[str] = dataclasses.field(default_factory=list)
    """Where a reader may go."""
    loads: list[str] = dataclasses.field(default_factory=list)
    """What a browser fetches without being asked."""
    paragraphs: list[str] = dataclasses.field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self._page.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self._page.links.append(given["href"])
        elif tag == "link":
            self._page.loads.append(given["href"])
        elif "src" in given:
            self._page.loads.append(given["src"])
        if tag == "p":
            self._page.paragraphs.append("")
        self._inside = tag == "p"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._page.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    found = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in found.items():
        _Reader(page).feed(path.read_text())
    return found


def target(page: Page, link: str) -> tuple[Path, str]:
    """The file and the anchor to which a link of a page leads."""
    parts = urlsplit(link)
    path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


def test_every_page_is_there(pages: dict[Path, Page], site: Path) -> None:
    written = {
        path.relative_to(ROOT / "docs").with_suffix("")
        for path in (ROOT / "docs").rglob("*.md")
        if "parts" not in path.parts
    }
    built = {path.relative_to(site) for path in pages}
    assert built == {
        (page.parent if page.name == "index" else page) / "index.html" for page in written
    }


def test_every_link_leads_somewhere(pages: dict[Path, Page]) -> None:
    """Also those that MkDocs does not look at: to files from elsewhere in the repository."""
    checked = 0
    for page in pages.values():
        for link in page.links:
            if urlsplit(link).scheme or link in {"#", ""}:
                continue
            path, anchor = target(page, link)
            assert path.exists(), f"{page.path}: {link}"
            if anchor and path in pages:
                assert anchor in pages[path].ids, f"{page.path}: {link}"
            checked += 1
    assert checked > 100


def test_nothing_is_fetched_from_elsewhere(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        assert page.loads
        for link in page.loads:
            assert not urlsplit(link).netloc, f"{page.path}: {link}"
            assert target(page, link)[0].exists(), f"{page.path}: {link}"


def test_a_file_of_the_repository_is_published_as_it_is(site: Path) -> None:
    published = [path for path in (site / "repository").rglob("*") if path.is_file()]
    assert published
    for path in published:
        assert path.read_bytes() == (ROOT / path.relative_to(site / "repository")).read_bytes()


def test_what_was_meant_as_a_list_or_a_table_is_one(pages: dict[Path, Page]) -> None:
    """Forges take a list right below a paragraph; MkDocs' Markdown wants an empty line."""
    for page in pages.values():
        for text in page.paragraphs:
            for line in text.splitlines():
                assert not line.startswith(LEFT_OF_MARKDOWN), f"{page.path}: {line}"


def test_no_bar_is_shown_with_a_backslash(site: Path) -> None:
    """In code GitHub takes one away in a table, and MkDocs does not: &#124; is right for both."""
    for path in site.rglob("*.html"):
        assert "\\|" not in path.read_text(), path


# -- the strict build is strict --


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository with nothing but documentation in it, to spoil."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for path in (ROOT / "systemd", ROOT / "tests", ROOT / "testing", ROOT / "Dockerfile"):
        (tmp_path / path.name).symlink_to(path)
    if (ROOT / "deploy").exists():
        (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[away](howto/nowhere.md)", "howto/nowhere.md"),
        ("[away](howto/options.md#nowhere)", "#nowhere"),
        ("[away](../setup.nowhere)", "../setup.nowhere"),
        ("[away](../README.md)", "../README.md"),
        ("[away](/howto/options.md)", "/howto/options.md"),
    ],
)
def test_a_link_to_nowhere_fails(copy: Path, tmp_path: Path, text: str, complaint: str) -> None:
    with (copy / "docs/tutorial.md").open("a") as page:
        page.write(f"\n{text}\n")
    built = build(copy, tmp_path / "site")
    assert built.returncode != 0
    assert complaint in built.stderr


def test_a_page_that_is_not_in_the_navigation_fails(copy: Path, tmp_path: Path) -> None:
    (copy / "docs/howto/forgotten.md").write_text("# Forgotten\n")
    built = build(copy, tmp_path / "site")
    assert built.returncode != 0
    assert "howto/forgotten.md" in built.stderr
