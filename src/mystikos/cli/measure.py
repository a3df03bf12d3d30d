"""``myst measure``: what an application directory and a config would measure, without a key."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import click
from rich.text import Text
from rich.tree import Tree

from mystikos import config as configs
from mystikos.cli.console import show
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import FileName, verb
from mystikos.costs import Costs, FileCost, RegionCost

_PATH = FileName()


@verb(
    "measure",
    examples=[
        "myst measure appdir config.json",
    ],
)
@click.argument("appdir", type=_PATH)
@click.argument("config", type=_PATH)
@json_option
def command(appdir: Path, config: Path, as_json: bool) -> None:
    """Tell MRENCLAVE of the package that APPDIR (a directory or CPIO archive) and CONFIG give; needs no key.

    Shown as a tree: every region of the enclave and every file, with their pages of protected memory (EPC),
    the bytes measured and the bytes hashed for them. A page that files share counts for the one that its
    first byte belongs to.
    """
    from mystikos import pipeline

    with progress_bar("measuring") as progress:
        costs = pipeline.measure(appdir, configs.load(config), progress=progress)
    if as_json:
        click.echo(to_json(costs))
    else:
        show(_tree(costs))


def _tree(costs: Costs) -> Tree:
    tree = Tree(_line(f"MRENCLAVE {costs.mrenclave}", costs.epc_pages, costs.measured, costs.hashed, "bold"))
    thread = {"TCS", "SSA", "THREAD", "STACK"}
    for threads, regions in groupby(costs.regions, key=lambda region: region.kind in thread):
        if threads:
            _threads(tree, list(regions))
            continue
        for region in regions:
            branch = tree.add(_region(f"{region.kind} at {region.offset:#x}", [region]))
            for file in region.files:
                branch.add(_file(file))
    return tree


def _threads(tree: Tree, regions: list[RegionCost]) -> None:
    """All thread blocks on one branch: they are alike."""
    blocks = sum(region.kind == "TCS" for region in regions)
    branch = tree.add(_region(f"THREADS at {regions[0].offset:#x}, {blocks} blocks", regions))
    for kind in dict.fromkeys(region.kind for region in regions):
        branch.add(_region(kind, [region for region in regions if region.kind == kind]))


def _region(name: str, regions: list[RegionCost]) -> Text:
    pages, measured, hashed = (
        sum(numbers) for numbers in zip(*((r.pages, r.measured, r.hashed) for r in regions), strict=True)
    )
    return _line(name, pages, measured, hashed, "cyan")


def _file(file: FileCost) -> Text:
    name = "(end of the archive)" if file.path is None else display(file.path)
    return _line(name, file.pages, file.measured, file.hashed, "")


def _line(name: str, pages: int, measured: int, hashed: int, style: str) -> Text:
    facts = f"  {pages} {'page' if pages == 1 else 'pages'}, {measured} bytes measured, {hashed} hashed"
    return Text.assemble((name, style), (facts, "dim"))
