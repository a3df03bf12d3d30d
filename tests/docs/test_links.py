"""What the repository's pages name is there: files, verbs, make targets."""

from __future__ import annotations

import re

import pytest

from mystikos.cli import ALIASES, VERBS
from tests.support.pages import PAGES, ROOT

EVERY_PAGE = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *PAGES]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_links_into_the_repository_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(page))
    inside = [link for link in links if not link.startswith("http")]

    assert [link for link in inside if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_verbs_that_are_named_exist(page: str) -> None:
    named = set(re.findall(r"(?:^|`|    )myst ([a-z][a-z-]+)", read(page), flags=re.MULTILINE))

    assert named <= {*VERBS, *ALIASES}


def test_the_make_targets_that_are_named_exist() -> None:
    makefile = read("Makefile")
    named = {name for page in EVERY_PAGE for name in re.findall(r"`make (\w[\w-]*)`", read(page))}

    assert {"demo", "test", "build"} <= named
    assert [t for t in sorted(named) if not re.search(rf"^{t}:", makefile, flags=re.MULTILINE)] == []


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"`((?:src|runtime|tests|tools|docs|examples|benchmarks)/[\w./-]+)`", read(page))

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_each_decision_has_a_number_of_its_own_and_says_it() -> None:
    files = sorted((ROOT / "docs/design/decisions").glob("[0-9]*.md"))

    assert len({path.name[:4] for path in files}) == len(files)
    for path in files:
        assert path.read_text(encoding="utf-8").startswith(f"# {int(path.name[:4])}. "), path.name
