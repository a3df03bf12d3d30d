"""``myst diff``: why two packages measure differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.text import Text
from rich.tree import Tree

from mystikos.cli import terminal
from mystikos.cli.console import show
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import FileName, verb
from mystikos.diffing import (
    ContentChange,
    Difference,
    FieldChange,
    FileChange,
    FileState,
    FirstPage,
    LayoutChange,
    Pages,
    diff,
)
from mystikos.errors import clip

_NO = 1
_LISTED = 200  # files of one kind of change that people are shown; programs get all
_LONGEST = 100  # characters of a value
_PATH = FileName()


@verb(
    "diff",
    examples=[
        "myst diff hello-1.0 hello-1.1",
        "myst diff config.json other.json",
    ],
)
@click.argument("before", metavar="A", type=_PATH)
@click.argument("after", metavar="B", type=_PATH)
@json_option
def command(before: Path, after: Path, as_json: bool) -> int:
    """Tell why two packages measure differently; or how two configs, or two root file systems, differ.

    A and B are of the same kind: packages, config files, or application directories (or CPIO archives of
    them). Of packages the first page at which the measurements part is told, then every file, config key,
    region and signed field that differs.

    The exit code is 0 when A and B are equal, 1 when they differ, 2 when they cannot be compared. Whether a
    package is genuine is for `myst verify` to tell.
    """
    with progress_bar("comparing") as progress:
        found = diff(before, after, progress=progress)
    if as_json:
        click.echo(to_json({"equal": found.equal, **_fields(found)}))
    elif not terminal.settings().quiet:
        show(_tree(found, before, after))
    return 0 if found.equal else _NO


def _fields(found: Difference) -> dict[str, object]:
    return {name: getattr(found, name) for name in Difference.__dataclass_fields__}


def _tree(found: Difference, before: Path, after: Path) -> Tree:
    names = f"{display(before)} and {display(after)}"
    tree = Tree(Text(f"{names} {'are equal' if found.equal else 'differ'}", "bold"))
    if found.mrenclave_before != found.mrenclave_after:
        branch = tree.add("MRENCLAVE, as signed")
        branch.add(_removed(str(found.mrenclave_before)))
        branch.add(_added(str(found.mrenclave_after)))
    if found.first_page:
        tree.add(Text(f"first divergent page: {_first_page(found.first_page)}", "yellow"))
    for title, lines in (
        ("files", [_file(change) for change in found.files]),
        ("config", [_field(change) for change in found.settings]),
        ("contents", [_content(change) for change in found.contents]),
        ("layout", [_layout(change) for change in found.layout]),
        ("enclave", [_field(change) for change in found.enclave]),
        ("SIGSTRUCT", [_field(change) for change in found.sigstruct]),
        ("made with (not measured)", [_field(change) for change in found.tools]),
    ):
        _add(tree, title, lines)
    return tree


def _add(tree: Tree, title: str, lines: Sequence[Text]) -> None:
    if not lines:
        return
    branch = tree.add(Text(f"{title} ({len(lines)})", "cyan"))
    for line in lines[:_LISTED]:
        branch.add(line)
    if len(lines) > _LISTED:
        branch.add(Text(f"… and {len(lines) - _LISTED} more: --json lists them all"))


def _first_page(page: FirstPage) -> str:
    sides = [_side(page.region_before, page.file_before), _side(page.region_after, page.file_after)]
    where = sides[0] if sides[0] == sides[1] else f"{sides[0]} → {sides[1]}"
    return f"{page.offset:#x}, {where}"


def _side(region: str | None, file: bytes | None) -> str:
    if region is None:
        return "no page"
    return f"region {region}" + (f", {display(file)}" if file is not None else "")


def _file(change: FileChange) -> Text:
    path = display(change.path)
    match change.before, change.after:
        case None, FileState() as state:
            return _added(f"{path}: added, {_state(state)}")
        case FileState() as state, None:
            return _removed(f"{path}: removed, {_state(state)}")
        case FileState() as before, FileState() as after:
            return Text(f"~ {path}: {'; '.join(_details(change.what, before, after))}")
        case _:
            raise AssertionError("a change of a file that neither side has")


def _state(state: FileState) -> str:
    facts = [state.mode, f"{state.size} bytes"]
    if state.sha256 is not None:
        facts.append(f"SHA-256 {state.sha256}")
    if state.target is not None:
        facts.append(f"to {display(state.target)}")
    return ", ".join(facts)


def _details(what: tuple[str, ...], before: FileState, after: FileState) -> Iterator[str]:
    if "type" in what:
        yield f"type: {_state(before)} → {_state(after)}"
    if "mode" in what:
        yield f"mode {before.mode} → {after.mode}"
    if "size" in what:
        yield f"size {before.size} → {after.size}"
    if "content" in what:
        yield f"SHA-256 {before.sha256} → {after.sha256}"
    if "target" in what:
        yield f"target {display(before.target or b'')} → {display(after.target or b'')}"
    if "links" in what:
        yield f"hard links: {_links(before)} → {_links(after)}"


def _links(state: FileState) -> str:
    return "none" if state.linked_to is None else f"{state.links}, first {display(state.linked_to)}"


def _field(change: FieldChange) -> Text:
    return Text(f"~ {change.name}: {_value(change.before)} → {_value(change.after)}")


def _value(value: object) -> str:
    if isinstance(value, str):
        return clip(value, _LONGEST)
    return clip(" ".join(to_json(value).split()), _LONGEST)


def _content(change: ContentChange) -> Text:
    measured = "" if change.measured else " (not measured)"
    sizes = f"{change.size_before} → {change.size_after} bytes"
    hashes = f"SHA-256 {change.sha256_before} → {change.sha256_after}"
    return Text(f"~ {change.part}{measured}: from byte {change.offset:#x} on; {sizes}; {hashes}")


def _layout(change: LayoutChange) -> Text:
    return Text(f"~ {change.kind}: {_pages(change.before)} → {_pages(change.after)}")


def _pages(pages: Pages | None) -> str:
    if pages is None:
        return "none"
    regions = "" if pages.regions == 1 else f" in {pages.regions} regions"
    return f"{pages.pages} pages{regions} from {pages.offset:#x}, {pages.rights}"


def _added(line: str) -> Text:
    return Text(f"+ {line}", "green")


def _removed(line: str) -> Text:
    return Text(f"- {line}", "red")
