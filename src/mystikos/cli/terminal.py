"""Who is looking: colours, how much to tell, and where each kind of line goes.

Standard output gets what was asked for, standard error everything else. Colours are for terminals:
``NO_COLOR`` (no-color.org) and ``CLICOLOR=0`` forbid them, ``CLICOLOR_FORCE`` and ``FORCE_COLOR`` ask for
them elsewhere too, and ``--color`` wins over all of these.

>>> color_from_environment({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"})
False
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, Any

import click

COLOR_WORDS: dict[str, bool | None] = {"auto": None, "always": True, "never": False}


@dataclass(frozen=True)
class Settings:
    """How one command line wants to be told; ``color`` None leaves it to each stream, ``json`` asks for one
    document.
    """

    color: bool | None = None
    quiet: bool = False
    verbosity: int = 0
    json: bool = False


_settings = Settings()


def settings() -> Settings:
    """Those of the command line that is running."""
    return _settings


def configure(**changes: Any) -> None:
    """What an option says; repeated ``-v`` add up."""
    global _settings
    _settings = replace(_settings, **changes)
    _show_steps()


def reset(environment: Mapping[str, str] | None = None) -> Settings:
    """Begin a command line with what the environment says."""
    global _settings
    _settings = Settings(color_from_environment(os.environ if environment is None else environment))
    _show_steps()
    return _settings


def color_from_environment(environment: Mapping[str, str]) -> bool | None:
    """Whether the environment forbids or demands colours."""
    if environment.get("NO_COLOR"):
        return False
    if any(environment.get(name, "0") not in ("", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return False
    return None


def colored(stream: IO[str]) -> bool:
    """Whether lines to this stream may be coloured."""
    return stream.isatty() if _settings.color is None else _settings.color


def interactive() -> bool:
    """Whether somebody watches standard error and wants to: progress bars are for them."""
    watched = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return watched and not _settings.quiet and not _settings.verbosity


def tell(text: str) -> None:
    """What a verb has done or found, on standard output; ``--quiet`` leaves the answer to the exit code."""
    if not _settings.quiet:
        click.echo(text)


def warn(text: str) -> None:
    """Something a person should know though nothing failed; ``text`` is safe to print."""
    if not _settings.quiet:
        prefix = click.style("warning:", fg="yellow", bold=True)
        click.echo(f"myst: {prefix} {text}", err=True, color=colored(sys.stderr))


def note(text: str) -> None:
    """As ``warn``, of what is no cause for concern."""
    if not _settings.quiet:
        click.echo(f"myst: {text}", err=True)


def _show_steps() -> None:
    """The library's log is for ``--verbose`` only; nobody else pays for the import."""
    if _settings.verbosity or "mystikos.cli.steps" in sys.modules:
        from mystikos.cli import steps

        steps.show(_settings.verbosity)
