"""The documentation keeps its word: what it tells people to run is run here, and prints what it says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.docs.conftest import GETTING_STARTED
from tests.support import pages
from tests.support.pages import PAGES, blocks_of, has_commands, text_of

SHOWN_ONLY = {"text"}
ROOT = pages.ROOT


@pytest.mark.runtime
def test_getting_started_goes_from_nothing_to_a_package_that_runs(begun: Path) -> None:
    assert {"appdir", "config.json", "private.pem", "hello"} <= {path.name for path in begun.iterdir()}


@pytest.mark.runtime
@pytest.mark.parametrize("page", [p for p in PAGES if p != GETTING_STARTED and has_commands(p)])
def test_the_commands_of_a_page_run_and_print_what_it_says(
    page: str, home: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    pages.run(page, home, variables, tmp_path / "outputs")


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_is_of_a_kind_that_is_checked(page: str) -> None:
    for block in blocks_of(text_of(page)):
        where = f"{page}:{block.line}"
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language in SHOWN_ONLY:
            lines = block.text.splitlines()
            assert not any(line.startswith(("myst ", "./", "$ ")) for line in lines), f"{where}: commands"
        else:
            assert block.language in {*pages.COMMANDS, "output"}, (
                f"{where}: {block.language or 'no'} language"
            )


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_another_kind_of_block(page: str) -> None:
    text = text_of(page)

    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks_of(text))
    assert "~~~" not in text
    lines = pages.without_blocks(text).splitlines()
    hidden = [line for before, line in zip(["", *lines], lines, strict=False) if _is_code(before, line)]
    assert hidden == [], "indented blocks: fence them"


def _is_code(before: str, line: str) -> bool:
    return not before.strip() and line.startswith(("    ", "\t"))


def test_the_readme_has_no_commands_but_those_that_pages_include() -> None:
    readme = blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))
    included = blocks_of(text_of("docs/index.md")) + blocks_of(text_of(GETTING_STARTED))

    assert {(block.language, block.text) for block in readme} <= {(b.language, b.text) for b in included}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a", True),
        ("a\n", "a\nb\n", False),
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a\nc\n", False),
        ("…\nb\n", "b\n", True),
        ("…\nb\n", "1\n2\nb\n", True),
        ("…\nb\n", "1\n2\nbc\n", False),
        ("(1.0)\n", "(1x0)\n", False),
    ],
)
def test_outputs_are_compared(expected: str, printed: str, same: bool) -> None:
    assert pages.matches(expected, printed) is same


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```sh\nfalse\n```\n", "exit code 1 of"),
        ('```sh title="exit code 3"\nexit_with() { return 2; }\nexit_with\n```\n', "exit code 2"),
        ("```sh\necho one\n```\n\n```output\ntwo\n```\n", "but this was printed\none"),
        ("```python\nassert False\n```\n", "AssertionError"),
    ],
)
def test_a_page_that_does_not_keep_its_word_is_noticed(
    text: str, complaint: str, tmp_path: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "text_of", lambda _: text)

    with pytest.raises(AssertionError, match=complaint):
        pages.run("page.md", tmp_path, variables, tmp_path / "outputs")
