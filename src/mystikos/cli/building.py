"""What the verbs that build a package share: dates, outputs that are no inputs, a bar, warnings."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mystikos import config as configs
from mystikos import signature
from mystikos.cli.render import display
from mystikos.config import Config
from mystikos.errors import MystError, OutputError

date_option = click.option(
    "--date", "date", metavar="YYYY-MM-DD", help="Date of the signature.  [default: 1980-01-01]"
)

allow_debug_option = click.option(
    "--allow-debug", is_flag=True, help="Let a release key sign a package with Debug, which hosts can read."
)


def load_config(path: Path) -> Config:
    """The config; what weakens security is warned of."""
    config = configs.load(path)
    for problem in configs.lint(config):
        click.echo(f"myst: warning: {problem}", err=True)
    return config


def warn_of_lacking(appdir: Path, lacking: Iterable[str]) -> None:
    """Tell which files other than the program lack a library."""
    for line in lacking:
        click.echo(f"myst: warning: {display(appdir)}: lacks {line}", err=True)


def default_output(config: Config) -> Path:
    """Named as the program, in the working directory."""
    return Path(os.fsdecode(config.application_path.rsplit(b"/", 1)[-1]))


def signing_date(given: str | None) -> datetime.date:
    """That of ``--date``, else that of SOURCE_DATE_EPOCH, else the fixed one."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        try:
            return datetime.date.fromisoformat(given)
        except ValueError as exc:
            raise click.BadParameter(f'got "{given}", expected YYYY-MM-DD', param_hint="--date") from exc
    if not epoch:
        return signature.DEFAULT_DATE
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date()
    except (ValueError, OverflowError, OSError) as exc:
        raise MystError(
            "SOURCE_DATE_EPOCH",
            f'got "{epoch}"',
            expected="seconds since 1970-01-01",
            hint="correct or unset it",
        ) from exc


def refuse_inputs(output: Path, *inputs: Path) -> None:
    """An output must not replace an input."""
    for given in inputs:
        if output.exists() and given.exists() and output.samefile(given):
            raise OutputError(
                str(output),
                "is one of the inputs",
                expected="another file",
                hint="choose another with --outfile",
            )


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label="measuring", file=sys.stderr, show_eta=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield progress
