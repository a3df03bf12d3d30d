"""The ``myst`` command: parses, calls the library, renders. One module per verb.

Verbs are imported only when they are used, so that ``myst --help`` starts fast.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from mystikos.errors import MystError

# verb → (module in mystikos.cli that defines a click command named `command`, one-line help)
VERBS: dict[str, tuple[str, str]] = {}

ALIASES: dict[str, str] = {}


class _LazyGroup(click.Group):
    """A group that knows its verbs' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(ALIASES.get(cmd_name, cmd_name))
        if verb is None:
            return None
        command = importlib.import_module(f"mystikos.cli.{verb[0]}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup)
def _myst() -> None:
    """Turn an application directory, a key and a config into one signed executable."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code: 0 success, 1 the answer is no, 2 bad usage or bad input."""
    try:
        result = _myst.main(args=argv, prog_name="myst", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return 2
    except MystError as error:
        print(f"myst: {error}", file=sys.stderr)
        if error.hint:
            print(f"      {error.hint}", file=sys.stderr)
        return 2
