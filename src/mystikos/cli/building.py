"""What the verbs that build a package share: dates, outputs that are no inputs, warnings."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mystikos import config as configs
from mystikos import signature
from mystikos.cli import terminal
from mystikos.cli.render import display, to_json
from mystikos.config import Config
from mystikos.errors import MystError, OutputError

if TYPE_CHECKING:
    from mystikos.pipeline import Built

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
        terminal.warn(display(str(problem)))
    return config


def warn_of_lacking(appdir: Path, lacking: Iterable[str]) -> None:
    """Tell which files other than the program lack a library."""
    for line in lacking:
        terminal.warn(f"{display(appdir)}: lacks {line}")


def default_output(config: Config) -> Path:
    """Named as the program, in the working directory."""
    return Path(config.program_name)


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
                expected="another one",
                hint="choose another place",
            )


def tell_built(output: Path, built: Built, as_json: bool, *, what: str = "package") -> None:
    """The new package (or what else was made) and its identity."""
    signed = built.sigstruct
    mrenclave = signed.enclave_hash.hex()
    if not as_json:
        terminal.tell(f"{display(output)}: new {what}, MRENCLAVE {mrenclave}")
        return
    facts = {
        "package": output,
        "mrenclave": mrenclave,
        "mrsigner": signature.mrsigner(signed.modulus).hex(),
        "product_id": signed.product_id,
        "security_version": signed.security_version,
    }
    click.echo(to_json(facts))
