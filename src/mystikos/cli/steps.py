"""``--verbose``: the library's log on standard error, each step with the time since the command began."""

from __future__ import annotations

import logging
import sys
import time

import click

from mystikos.cli import terminal
from mystikos.cli.render import display

_LOGGER = logging.getLogger("mystikos")
_LEVELS = (logging.NOTSET, logging.INFO, logging.DEBUG)


def show(verbosity: int) -> None:
    """Tell steps (1) and details (2) from now on, or (0) nothing."""
    for handler in [one for one in _LOGGER.handlers if isinstance(one, _Steps)]:
        _LOGGER.removeHandler(handler)
    _LOGGER.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
    if verbosity:
        _LOGGER.addHandler(_Steps())


class _Steps(logging.Handler):
    """One line for each record."""

    def __init__(self) -> None:
        super().__init__()
        self._start = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        elapsed = click.style(f"[{time.monotonic() - self._start:7.3f} s]", dim=True)
        line = f"myst: {elapsed} {display(record.getMessage())}"
        click.echo(line, err=True, color=terminal.colored(sys.stderr))
