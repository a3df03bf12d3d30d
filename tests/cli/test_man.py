"""Manual pages: for every verb, accepted by a strict reader, and the same wherever they are made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mystikos.cli import VERBS, main, manual
from mystikos.cli.manual import page, page_names

PAGES = page_names()
_HEADINGS = {"Usage:", "Options:", "Common", "options:", "Examples:"}


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_no_fault_in_a_page(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.1").write_text(page(name))
    done = subprocess.run(
        ["mandoc", "-T", "lint", f"{name}.1"], check=False, capture_output=True, text=True, cwd=tmp_path
    )

    faults = [line for line in done.stdout.splitlines() if "missing date" not in line]  # on purpose
    assert faults == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_tells_what_the_help_tells(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out.split()

    shown = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=999"],
        check=True,
        capture_output=True,
        input=page(f"myst-{verb}").encode(),
    )
    plain = re.sub(r".\x08", "", shown.stdout.decode())  # bold, as typewriters do it
    words = {word.strip(",.`()") for word in plain.split()} | _HEADINGS
    assert [word for word in told if word.isascii() and word.strip(",.`()") not in words] == []


def test_the_overview_lists_every_verb_and_each_names_it() -> None:
    overview = page("myst")
    assert all(f".B myst\\-{verb}(1)".replace("-", "\\-").replace("\\\\", "\\") in overview for verb in VERBS)
    assert all("SEE ALSO" in page(name) for name in PAGES)


def test_text_that_looks_like_a_request_stays_text() -> None:
    assert manual._text(".SH x\n'br") == "\\&.SH x\n\\&'br"
    assert manual._text("a\\b") == "a\\eb"
    assert manual._text("`-x` é") == "\\fB\\-x\\fP \\[u00E9]"


def test_the_page_goes_to_a_pipe_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man", "verify"]) == 0
    assert capsys.readouterr().out == page("myst-verify")
    assert main(["man"]) == 0
    assert capsys.readouterr().out == page("myst")
    assert main(["man", "verfy"]) == 2
    assert 'did you mean "verify"?' in capsys.readouterr().err


def test_all_pages_are_written_where_man_finds_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["man", "-o", str(tmp_path / "man1")]) == 0
    assert {path.name for path in (tmp_path / "man1").iterdir()} == {f"{name}.1" for name in PAGES}
    assert main(["man", "verify", "-o", str(tmp_path)]) == 2


def test_on_a_terminal_man_shows_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "man").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called; cat > {tmp_path}/page\n')
    (tmp_path / "man").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert main(["man", "diff"]) == 0
    assert (tmp_path / "called").read_text() == "-l -\n"
    assert (tmp_path / "page").read_text() == page("myst-diff")
