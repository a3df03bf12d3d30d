"""Write the generated pages of docs/reference (`make docs`); ``PAGES`` names them for the test too."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from mystikos.cli import ALIASES, VERBS
from mystikos.config.documents import reference as config_reference

ROOT = Path(__file__).resolve().parent.parent

_WIDTH = 100
_PREAMBLE = """\
<!-- Generated from src/mystikos/cli by `make docs`; a test compares. -->
# The command line

`myst VERB --help` says the same. Exit code: 0 success, 1 the answer is no (a check failed), 2 bad usage or
bad input. Messages go to stderr and begin with `myst: `; `MYST_TRACEBACK=1` adds a traceback to a failure.
"""


def cli_reference() -> str:
    """docs/reference/cli.md: the help of every verb."""
    return "\n".join([_PREAMBLE, *(_verb(name) for name in VERBS)])


def _verb(name: str) -> str:
    command: click.Command = importlib.import_module(f"mystikos.cli.{VERBS[name][0]}").command
    context = click.Context(
        command, info_name=f"myst {name}", terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    other = [f"`myst {alias}`" for alias, verb in ALIASES.items() if verb == name]
    also = f"Also {', '.join(other)}.\n\n" if other else ""
    return f"## {name}\n\n{also}```text\n{command.get_help(context)}\n```\n"


PAGES = {"docs/reference/cli.md": cli_reference, "docs/reference/config.md": config_reference}


def main() -> None:
    for name, make in PAGES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
