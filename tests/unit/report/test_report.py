"""The report's bytes: the same every time, safe whatever is in a package, complete."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import packages
from tests.support.machine_code import elf
from tests.support.rounds import rounds

from mystikos import pipeline
from mystikos.inspection import FileFacts, PackageFacts, TreeFacts, inspect_path
from mystikos.report import report, tables
from mystikos.text import display

CODE = elf(b"\xb8\x27\0\0\0\x0f\x05\xff\xd0\x0f\x05\x0f\xa2\xc3")
VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: elements, attributes and text."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.cells: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "td" in self.open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("report")
    root = packages.appdir(home / "appdir", {"lib/code.so": CODE})
    config = packages.config(Debug=1)
    options = {"runtime": packages.runtime(), "allow_debug": True}
    pipeline.build(root, packages.signer(), config, home / "app", **options)  # type: ignore[arg-type]
    return home / "app"


@pytest.fixture(scope="module")
def facts(package: Path) -> PackageFacts:
    facts = inspect_path(package)
    assert isinstance(facts, PackageFacts)
    return facts


def named(facts: PackageFacts, *names: bytes) -> PackageFacts:
    """The same package with files of these names."""
    files = tuple(FileFacts(name, "file", "0644", 1, "00" * 32, None, None, 1, 0) for name in names)
    return replace(facts, rootfs=replace(facts.rootfs, files=files))


def test_the_same_package_gives_the_same_page_under_another_name(package: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(package.read_bytes())
    assert report(inspect_path(package)) == report(inspect_path(tmp_path / "other"))


def test_the_page_tells_everything(package: Path, facts: PackageFacts) -> None:
    page = Page(report(facts))
    text = "".join(page.texts)
    assert facts.identity.mrenclave in text
    assert facts.identity.mrsigner in text
    assert "A debug enclave: the host can read and change its memory." in text
    assert all(one.key in page.cells for one in facts.config.settings)
    assert all(one.path.decode() in page.cells for one in facts.rootfs.files)
    assert all(one.sha256 in page.cells for one in facts.rootfs.files if one.sha256)
    assert all(one.sha256 in page.cells for one in (*facts.sections, *facts.images))
    assert page.cells.count("cpuid") == 1
    assert "mov eax, 0x27; syscall" in page.cells
    assert page.open == []


def test_a_directory_has_a_page_without_identity_and_map(package: Path) -> None:
    tree = inspect_path(package.parent / "appdir")
    assert isinstance(tree, TreeFacts)
    page = report(tree).decode()
    assert "<h1>Root file system</h1>" in page
    assert 'id="files"' in page
    assert 'id="identity"' not in page
    assert 'id="map"' not in page


def test_the_policy_of_the_page_allows_its_own_style_and_script_alone(facts: PackageFacts) -> None:
    page = report(facts).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}
    for element, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_the_page_refers_to_nothing_outside_of_it(facts: PackageFacts) -> None:
    page = Page(report(facts))
    leading = [value for name, value in page.attributes if name in ("href", "src", "action", "xlink:href")]
    assert all(value.startswith("#") or value == "data:," for value in leading)
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert "url(http" not in report(facts).decode()
    assert "@import" not in report(facts).decode()


@rounds(60)
@given(name=st.binary(min_size=1, max_size=40) | st.text(min_size=1, max_size=30).map(
    lambda text: text.encode("utf-8", "surrogatepass")
))  # fmt: skip
def test_whatever_a_file_is_called_it_is_one_cell_of_text(facts: PackageFacts, name: bytes) -> None:
    harmless = Page(report(named(facts, b"harmless")))
    page = Page(report(named(facts, name)))
    assert page.elements == harmless.elements
    assert page.attributes == harmless.attributes
    assert page.open == []
    changed = [cell for cell, other in zip(page.cells, harmless.cells, strict=True) if cell != other]
    assert changed == ([display(name)] if name != b"harmless" else [])


def test_controls_and_marks_that_turn_text_round_are_escaped(facts: PackageFacts) -> None:
    page = report(named(facts, "gpj.\u202eexe".encode(), b"\x1b[31m", b"caf\xe9")).decode()
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert {"gpj.\\u202eexe", "\\x1b[31m", "caf\\xe9"} <= set(Page(page.encode()).cells)


def test_rows_that_no_browser_could_sort_are_left_out_and_told(
    facts: PackageFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 3)
    page = report(named(facts, b"a", b"b", b"c", b"d", b"e"))
    cells = Page(page).cells
    assert "c" in cells
    assert "d" not in cells
    assert "2 more rows are left out here" in "".join(Page(page).texts)


def test_warnings_come_first(facts: PackageFacts) -> None:
    signed = replace(facts, identity=replace(facts.identity, published_key="a newspaper", debug=False))
    text = "".join(Page(report(signed)).texts)
    assert "No signer: everybody has the private key, it is published (a newspaper)." in text
    broken = replace(facts, config=replace(facts.config, problem="<no>", settings=()), application=None)
    text = "".join(Page(report(broken)).texts)
    assert "Its config cannot be read: <no>." in text
    assert "unknown application" in text
