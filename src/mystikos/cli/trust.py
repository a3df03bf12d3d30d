"""Options that say what a package must be; with a policy file, what it leaves open."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mystikos.cli.verb import Choice, FileName
from mystikos.errors import ConfigError

if TYPE_CHECKING:
    from mystikos.verification import Policy

_Function = TypeVar("_Function", bound=Callable[..., Any])

OPTIONS = "the options"  # what a policy is called that no file names

_OPTIONS = (
    click.option(
        "--policy",
        "policy_file",
        metavar="FILE",
        type=FileName(),
        help="Take what is asked for from this file (JSON with comments; see `myst schema --policy`).",
    ),
    click.option(
        "--signer",
        "signers",
        multiple=True,
        metavar="HEX|FILE",
        help="Who must have signed: MRSIGNER, or the file of a key or certificate.",
    ),
    click.option("--mrenclave", "mrenclaves", multiple=True, metavar="HEX", help="What must be measured."),
    click.option("--product-id", type=int, metavar="N", help="Which product it must be."),
    click.option(
        "--min-security-version",
        "minimum_security_version",
        type=int,
        metavar="N",
        help="The lowest security version that will do.",
    ),
    click.option(
        "--no-debug/--allow-debug",
        "no_debug",
        default=None,
        help="Refuse a debug enclave (as any of these options does) or accept it.",
    ),
    click.option(
        "--attribute-masks",
        metavar="WHICH",
        type=Choice(["exact", "debug", "any"]),
        help="What the signature must bind: exact (all attributes), debug or any.  [default: exact]",
    ),
    click.option(
        "--forbid",
        multiple=True,
        metavar="RULE",
        help="What the config may not say: KEY=PATTERN, KEY (anything but its default), or a lint.",
    ),
    click.option(
        "--launcher",
        "launchers",
        multiple=True,
        metavar="HEX|installed",
        help="The launcher it must have: SHA-256, or that of this mystikos.",
    ),
    click.option(
        "--kernel", "kernels", multiple=True, metavar="HEX|installed", help="The same for the kernel."
    ),
    click.option(
        "--crt", "crt_images", multiple=True, metavar="HEX|installed", help="The same for the CRT image."
    ),
)
_SPELLED = {
    "signers": "--signer",
    "mrenclaves": "--mrenclave",
    "product_id": "--product-id",
    "minimum_security_version": "--min-security-version",
    "allow_debug": "--no-debug and --allow-debug",
    "attribute_masks": "--attribute-masks",
    "forbid": "--forbid",
    "launchers": "--launcher",
    "kernels": "--kernel",
    "crt_images": "--crt",
}


def policy_options(command: _Function) -> _Function:
    """Add the options; the command gets them as one ``policy: Policy | None``."""

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        no_debug = values.pop("no_debug")
        given = {name: values.pop(name) for name in _SPELLED if name in values}
        given["allow_debug"] = None if no_debug is None else not no_debug
        given = {name: value for name, value in given.items() if value not in (None, ())}
        return command(policy=_policy(values.pop("policy_file"), given), **values)

    decorated: Any = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _policy(path: Path | None, given: Mapping[str, Any]) -> Policy | None:
    """What file and options ask together; nobody has to guess which of them wins."""
    from mystikos.verification import load_policy, policy

    if path is None:
        return policy.Policy(**_checked(given), name=OPTIONS) if given else None
    loaded = load_policy(path)
    for row in policy.KEYS:
        if row.attribute in given and row.name in loaded.places:
            place = loaded.places[row.name]
            raise click.UsageError(f"{_SPELLED[row.attribute]}: {path}:{place} says {row.name} already")
    return replace(loaded, **_checked(given))


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a policy, or a UsageError that names the option."""
    from mystikos.verification import mrsigner_of, policy

    values = dict(given)
    if "signers" in values:
        values["signers"] = tuple(mrsigner_of(signer) for signer in values["signers"])
    for name, value in values.items():
        try:
            policy.Policy(**{name: value})
        except ConfigError as error:
            problem = error.problems[0]
            raise click.UsageError(
                f"{_SPELLED[name]}: {problem.found}, expected {problem.expected}"
            ) from error
    return values
