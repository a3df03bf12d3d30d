"""What the documentation site does beyond mkdocs (a hook of mkdocs.yml): parts that pages share, and links.

A page names a part of another file where it is to stand; the part has one source and is tested once::

    <!-- include: README.md#run -->

is replaced by what stands in README.md between ``<!-- begin: run -->`` and ``<!-- end: run -->``; without
``#…`` by the whole file. Links in it are turned to lead to the same place from the page. A link out of docs/
leads nowhere on the site: of those only the text is kept, unless a page shows the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = PurePosixPath("docs")

# files outside of docs/ that a page of the site shows
SHOWN = {
    "CHANGELOG.md": "docs/project/changelog.md",
    "CONTRIBUTING.md": "docs/project/contributing.md",
    "SECURITY.md": "docs/project/security.md",
}

_INCLUDE = re.compile(r"^<!-- include: ([\w./-]+)(?:#([\w-]+))? -->$", re.MULTILINE)
_MARK = re.compile(r"^<!-- (?:begin|end): [\w-]+ -->\n", re.MULTILINE)
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")
_DECISIONS = DOCS / "design/decisions"


def expand(text: str, page: PurePosixPath) -> str:
    """The Markdown of ``page`` (a path from the root of the repository) with what it includes."""
    return _INCLUDE.sub(lambda match: _part(match[1], match[2], page), text)


def _part(source: str, name: str | None, page: PurePosixPath) -> str:
    text = (ROOT / source).read_text(encoding="utf-8")
    if name is not None:
        marked = re.search(
            rf"^<!-- begin: {name} -->\n(.*?)^<!-- end: {name} -->$", text, re.MULTILINE | re.DOTALL
        )
        if marked is None:
            raise ValueError(f"{page}: includes {source}#{name}, which is not there")
        text = marked[1]
    return turn_links(_MARK.sub("", text), PurePosixPath(source), page).strip("\n")


def turn_links(text: str, source: PurePosixPath, page: PurePosixPath) -> str:
    """``text`` of ``source`` as it must stand on ``page``; code blocks are left alone."""

    def turned(match: re.Match[str]) -> str:
        label, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        place = os.path.normpath(source.parent / path)
        place = SHOWN.get(place, place)
        if not PurePosixPath(place).is_relative_to(DOCS):
            return label
        return f"[{label}]({os.path.relpath(place, page.parent)}{mark}{anchor})"

    pieces = _FENCE.split(text)
    return "".join(piece if piece.startswith("```") else _LINK.sub(turned, piece) for piece in pieces)


def decisions() -> list[PurePosixPath]:
    """The decisions in their order, paths from the root of the repository."""
    return [_DECISIONS / path.name for path in sorted((ROOT / _DECISIONS).glob("[0-9]*.md"))]


# -- what mkdocs calls


def on_config(config: Any) -> Any:
    """Put the decisions into the navigation: they are added often, and their titles are in their files."""
    for section in config.nav:
        for pages in section.values():
            if isinstance(pages, list):
                _list_decisions(pages)
    return config


def _list_decisions(pages: list[Any]) -> None:
    for entry in pages:
        if isinstance(entry, dict) and "Decisions" in entry:
            entry["Decisions"] = [
                str(path.relative_to(DOCS)) for path in [_DECISIONS / "README.md", *decisions()]
            ]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Includes, the list of decisions, and links that lead out of docs/."""
    place = DOCS / page.file.src_uri
    if page.is_homepage:  # its list would name nothing but itself
        page.meta["hide"] = ["navigation"]
    text = expand(markdown, place).replace("<!-- decisions -->", _decision_list())
    return turn_links(text, place, place)


def _decision_list() -> str:
    titles = [(path, (ROOT / path).read_text(encoding="utf-8").split("\n", 1)[0]) for path in decisions()]
    return "\n".join(f"* [{title.removeprefix('# ')}]({path.name})" for path, title in titles)
