"""What the verbs share that sign an application directory: their files and their options."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from mystikos.cli.building import (
    allow_debug_option,
    date_option,
    load_config,
    refuse_inputs,
    signing_date,
    warn_of_lacking,
)
from mystikos.cli.signing import Signing, signing_options
from mystikos.cli.verb import FileName
from mystikos.config import Config
from mystikos.signers import Signer

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PATH = FileName()
_OPTIONS = (
    click.argument("files", nargs=-1, metavar="[APPDIR] KEY CONFIG", type=_PATH),
    date_option,
    click.option("--pubkey", multiple=True, type=_PATH, help="Trust disk images signed by this public key."),
    click.option("--roothash", multiple=True, type=_PATH, help="Trust the disk image with this root hash."),
    allow_debug_option,
    signing_options,
)


@dataclass(frozen=True)
class Inputs:
    """Everything that a package is made of."""

    appdir: Path
    signer: Signer
    config: Config
    date: datetime.date
    allow_debug: bool
    files: tuple[Path, ...]

    def refuse(self, output: Path) -> None:
        """An output must not replace an input."""
        refuse_inputs(output, *self.files)

    def warn(self, lacking: tuple[str, ...]) -> None:
        """Tell which files other than the program lack a library."""
        warn_of_lacking(self.appdir, lacking)


def packaging_options(command: _Function) -> _Function:
    """Add them; the command gets what they give as one ``inputs: Inputs``."""

    @functools.wraps(command)
    def gathered(
        files: tuple[Path, ...],
        date: str | None,
        pubkey: tuple[Path, ...],
        roothash: tuple[Path, ...],
        allow_debug: bool,
        signing: Signing,
        **values: Any,
    ) -> Any:
        appdir, key, config_file = _files(files, signing)
        if pubkey or roothash:
            raise _not_built_yet()
        signed_on = signing_date(date)
        config = load_config(config_file)
        signer = signing.load(key)
        inputs = Inputs(appdir, signer, config, signed_on, allow_debug, files)
        return command(inputs=inputs, **values)

    decorated: Any = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _files(files: tuple[Path, ...], signing: Signing) -> tuple[Path, Path | None, Path]:
    """APPDIR, KEY (if it is what signs) and CONFIG."""
    if not signing.by_key_file:
        if len(files) != 2:
            raise click.UsageError(
                f"got {len(files)} files, expected APPDIR CONFIG: the options name who signs, not a KEY file"
            )
        return files[0], None, files[1]
    if len(files) not in (2, 3):
        raise click.UsageError(f"got {len(files)} files, expected APPDIR KEY CONFIG")
    if len(files) == 2:
        raise _not_built_yet()
    return files[0], files[1], files[2]


def _not_built_yet() -> click.UsageError:
    return click.UsageError(
        "root file systems outside of the package (ext2 images, --pubkey, --roothash) are not built yet: "
        "give the application directory, as in `myst package-sgx appdir private.pem config.json`"
    )
