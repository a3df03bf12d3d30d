"""``myst completion SHELL``: what makes a shell complete verbs, options and their values."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

from mystikos.cli.verb import Choice, verb

SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    examples=[
        'eval "$(myst completion bash)"                     # in ~/.bashrc',
        "myst completion zsh > ~/.zfunc/_myst               # a directory of $fpath",
        "myst completion fish > ~/.config/fish/completions/myst.fish",
    ],
)
@click.argument("shell", type=Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print the script that makes SHELL (bash 4.4 or newer, zsh or fish; default: yours) complete `myst`.

    Verbs, options, the values that an option takes, and files.
    """
    click.echo(script(shell or _own_shell()), nl=False)


def script(shell: str) -> str:
    """The script for one of SHELLS."""
    from click.shell_completion import ShellComplete, get_completion_class

    from mystikos.cli import _myst

    complete = get_completion_class(shell)
    assert complete is not None
    # click's own source() of bash starts a bash, to look at its version
    return ShellComplete.source(complete(_myst, {}, "myst", "_MYST_COMPLETE"))


def _own_shell() -> str:
    shell = PurePath(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise click.UsageError(
            f'your shell ($SHELL) is "{shell}", expected one of {", ".join(SHELLS)}: name one of them'
        )
    return shell
