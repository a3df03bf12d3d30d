"""``myst check config.json [appdir]``: tell every mistake and every weakness at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mystikos.cli import failures, render, terminal
from mystikos.cli.verb import FileName, verb
from mystikos.errors import Problem


@verb(
    "check",
    examples=[
        "myst check config.json",
        "myst check config.json appdir --strict    # 1 when a setting weakens security",
    ],
)
@click.argument("config", metavar="CONFIG.JSON", type=FileName())
@click.argument("appdir", required=False, type=FileName())
@click.option("--strict", is_flag=True, help="Exit with 1 when a setting weakens security.")
@render.json_option
def command(config: Path, appdir: Path | None, strict: bool, as_json: bool) -> int:
    """Tell every mistake in a config file, and every setting that weakens security.

    With APPDIR (a directory or a CPIO archive), also whether the program, its libraries and the directories
    that the config names are there; libraries that only other files in it need are noted. Exit code: 0 no
    mistake, 1 no mistake but a weakness (with --strict), 2 a mistake.
    """
    from mystikos.verbs import check

    found = check(config, appdir)
    errors, warnings, notes = found.errors, found.warnings, found.notes
    if as_json:
        answer = {"file": config, "errors": errors, "warnings": warnings, "notes": notes}
        click.echo(render.to_json(answer))
    else:
        _show(config, errors, warnings)
        for note in notes:
            terminal.tell(f"{render.display(appdir or Path())}: {note}")
    return 2 if errors else int(strict and bool(warnings))


def _show(path: Path, errors: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> None:
    for problem in errors:
        failures.tell(str(problem), problem.hint)
    sys.stderr.flush()
    for problem in warnings:
        terminal.tell(f"{problem} [{problem.lint}]")
        terminal.tell(f"      {problem.hint}")
    if not errors:
        count = f"{len(warnings)} settings weaken it" if len(warnings) != 1 else "1 setting weakens it"
        terminal.tell(f"{render.display(path)}: no mistakes" + (f", {count}" if warnings else ""))
