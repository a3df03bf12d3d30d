"""The documentation as a site: every page is in it, every link leads somewhere, nothing is fetched."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import yaml

import mystikos
from mystikos.cli import VERBS
from tests.support.pages import PAGES, ROOT, blocks_of, text_of

# attributes by which a page fetches something; `href` of <a> is a link, for people to follow
FETCHING = {"src", "srcset", "data", "poster", "action"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Warnings are errors: a page outside of the navigation, a link that leads nowhere."""
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    return directory


class _Page(HTMLParser):
    """What a page fetches, where its links lead, and the places in it that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name == "href" and tag == "a":
                self.links.append(value)
            if value and name in ("id", "name"):
                self.places.add(value)
            if value and (name in FETCHING or (name == "href" and tag == "link")):
                self.fetched.append(value)
            if value and name == "style":
                self.fetched += re.findall(r"url\(([^)]*)\)", value)


def html(site: Path) -> Iterator[Path]:
    pages = sorted(site.rglob("*.html"))
    assert pages
    yield from pages


def navigation() -> dict[str, str]:
    """Every page of the navigation, by its path in docs/, and under which name."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    found: dict[str, str] = {}

    def walk(entries: list[Any], section: str) -> None:
        for entry in entries:
            if isinstance(entry, str):
                found[entry] = section
                continue
            for title, below in entry.items():
                if isinstance(below, list):
                    walk(below, f"{section}{title}/")
                else:
                    found[below] = f"{section}{title}"

    walk(config["nav"], "")
    return found


def test_the_site_has_every_page(site: Path) -> None:
    expected = {Path(page).relative_to("docs").with_suffix(".html") for page in PAGES}
    expected = {page.with_name("index.html") if page.name == "README.html" else page for page in expected}

    assert expected <= {page.relative_to(site) for page in html(site)}


def test_every_verb_has_a_guide_in_the_navigation_that_shows_how_to_run_it() -> None:
    guides = {title.split("/")[-1]: page for page, title in navigation().items() if "Guides/" in title}
    by_verb = {verb: page for title, page in guides.items() for verb in re.split(r", ", title)}

    assert [verb for verb in VERBS if verb not in by_verb] == []
    for verb in VERBS:
        commands = "".join(b.text for b in blocks_of(text_of(f"docs/{by_verb[verb]}")) if b.language == "sh")
        assert re.search(rf"\bmyst {verb}\b", commands), f"{by_verb[verb]} never runs `myst {verb}`"


def test_the_list_of_guides_names_every_guide() -> None:
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", text_of("docs/guides/README.md")))

    guides = ROOT / "docs/guides"
    assert listed == {str(page.relative_to(guides)) for page in guides.rglob("*.md")} - {"README.md"}


def test_every_example_has_a_page() -> None:
    pages = {page.stem for page in (ROOT / "docs/guides/examples").glob("*.md")}

    assert pages == {directory.name for directory in (ROOT / "examples").iterdir()}


def public_modules() -> list[str]:
    """The modules that people import from: those that promise something (``__all__``)."""
    names = [f"mystikos.{module.name}" for module in pkgutil.iter_modules(mystikos.__path__)]
    names = [name for name in names if not name.startswith("mystikos._") and name != "mystikos.cli"]
    return [name for name in names if hasattr(importlib.import_module(name), "__all__")]


def test_the_library_pages_show_every_public_name(site: Path) -> None:
    library = ROOT / "docs/reference/library"
    shown = re.findall(r"^::: (\S+)$", "".join(p.read_text() for p in library.glob("*.md")), re.MULTILINE)
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference/library").glob("*.html"))

    assert [module for module in public_modules() if module not in shown] == []
    names = [f"{module}.{name}" for module in shown for name in importlib.import_module(module).__all__]
    assert [name for name in names if f'id="{name}"' not in text] == [], "show a name by a docstring"


def test_docstrings_are_shown_as_markdown(site: Path) -> None:
    for page in (site / "reference/library").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"::</p>|:\w+:(?:<code>|`)|<p>===|<p>&gt;&gt;&gt;", text) == [], page.name


def test_a_page_fetches_nothing_from_other_hosts(site: Path) -> None:
    foreign = {
        (str(page.relative_to(site)), address)
        for page in html(site)
        for address in _Page(page).fetched
        if urlparse(address).netloc or address.startswith("//")
    }

    assert foreign == set()


def test_links_between_pages_lead_to_their_places(site: Path) -> None:
    """mkdocs checks links of Markdown; this looks at what came of it, docstrings included."""
    pages = {page: _Page(page) for page in html(site) if page.name != "404.html"}

    broken = []
    for page, found in pages.items():
        for link in found.links:
            address = urlparse(link)
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            place = unquote(address.fragment)
            if target not in pages or (place and place not in pages[target].places):
                broken.append((str(page.relative_to(site)), link))
    assert broken == []


def test_styles_fetch_nothing_from_other_hosts(site: Path) -> None:
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))

    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


def test_the_theme_is_not_told_to_ask_github_or_to_draw_diagrams(site: Path) -> None:
    """Its script asks GitHub about a repository that a page names, and fetches Mermaid for diagrams."""
    for page in html(site):
        text = page.read_text(encoding="utf-8")
        assert 'data-md-component="source"' not in text
        assert 'class="mermaid"' not in text


def test_the_search_index_lies_in_the_site_as_a_script_too(site: Path) -> None:
    """A page that is read from the disk may fetch no JSON."""
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))

    assert any("package-sgx" in document["title"] for document in index["docs"])
    assert (site / "search/search_index.js").read_text(encoding="utf-8").startswith("var __index = {")
