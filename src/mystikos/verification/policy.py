"""What a package has to be beyond consistent: who signed it, what it is, what its config may not say.

The fields of ``Policy`` are the keys of a policy file and the options of ``myst verify``; the reader, the
JSON Schema and docs/reference/policy.md follow from them.

>>> policy = parse(b'{"MinimumSecurityVersion": 3}', "policy.json")
>>> policy.minimum_security_version, policy.allow_debug
(3, False)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mystikos import signature
from mystikos.config.kinds import INVALID, Choice, Flag, Integer, Key, Many, Text, key, keys_of, read_members
from mystikos.config.mistakes import MAXIMUM_SIZE, Reading, place_of, places_in, read_document
from mystikos.errors import ConfigError, MystError, Problem
from mystikos.formats import jsonc
from mystikos.formats.reading import read_start
from mystikos.signers import load_modulus
from mystikos.verification.rules import RuleText

__all__ = ["AT_LEAST_ONE", "INSTALLED", "KEYS", "Policy", "load", "mrsigner_of", "parse"]

INSTALLED = "installed"
"""Stands for the digest of what the installed mystikos carries."""

_HEX = r"[0-9A-Fa-f]{64}"
_DIGEST = Text("64 hexadecimal digits", pattern=_HEX, binary=False)
_IMAGE = Text(f'64 hexadecimal digits or "{INSTALLED}"', pattern=f"{_HEX}|{INSTALLED}", binary=False)
_SIGNER = Text("an MRSIGNER or the file of a key or certificate", pattern=r"[^\x00]+", binary=False)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything a package must be. What is left out is not asked for, but a debug enclave must be allowed.

    Of several signers, measurements or images one will do; every rule must be kept. ``signers`` are
    MRSIGNERs; ``mrsigner_of`` tells that of a key file. ``places`` are those of the keys in the policy file.
    Raises ConfigError when a value is none that its key allows.
    """

    signers: tuple[str, ...] = key(
        "Signers",
        Many(_SIGNER),
        "Who may have signed: MRSIGNER, or the PEM file of a public key, a certificate or a private key (its "
        "path is relative to the policy file).",
        default=(),
        default_text="anybody",
    )
    mrenclaves: tuple[str, ...] = key(
        "MrEnclaves", Many(_DIGEST), "What may have been measured.", default=(), default_text="anything"
    )
    product_id: int | None = key(
        "ProductID", Integer(0, 65535), "Which product it must be.", default=None, default_text="any"
    )
    minimum_security_version: int = key(
        "MinimumSecurityVersion", Integer(0, 65535), "The lowest SecurityVersion that will do.", default=0
    )
    allow_debug: bool = key(
        "AllowDebug",
        Flag(),
        "Whether a debug enclave will do, whose memory every host can read.",
        default=False,
    )
    attribute_masks: str = key(
        "AttributeMasks",
        Choice(("exact", "debug", "any")),
        "What the signature must bind. `exact`: all attributes that this version signs. `debug`: at least "
        "whether the enclave is a debug one. `any`: nothing, so that the signature may hold for a debug "
        "enclave, too.",
        default="exact",
    )
    forbid: tuple[str, ...] = key(
        "Forbid",
        Many(RuleText()),
        "What the config may not say: `KEY=PATTERN` (the value, or an item of the list, matches; `*` and `?` "
        "stand for any characters), `KEY` (anything but its default), or the name of a lint.",
        default=(),
        default_text="nothing",
    )
    launchers: tuple[str, ...] = key(
        "Launchers",
        Many(_IMAGE),
        "Launchers that will do: SHA-256 as `myst verify --json` tells it, or `installed` for that of the "
        "mystikos that verifies.",
        default=(),
        default_text="any",
    )
    kernels: tuple[str, ...] = key(
        "Kernels", Many(_IMAGE), "The same for kernels.", default=(), default_text="any"
    )
    crt_images: tuple[str, ...] = key(
        "CrtImages", Many(_IMAGE), "The same for CRT images.", default=(), default_text="any"
    )

    name: str = field(default="policy", compare=False)
    places: Mapping[str, jsonc.Place] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        bad = [
            Problem(self.name, 0, 0, row.name, f"got {value!r}", row.kind.expected())
            for row in KEYS
            if not row.kind.admits(value := getattr(self, row.attribute)) and value != row.default
        ]
        bad += [
            Problem(self.name, 0, 0, "Signers", f"got {signer!r}", _DIGEST.expected())
            for signer in self.signers
            if not _DIGEST.admits(signer)
        ]
        if bad:
            raise ConfigError(self.name, bad)


KEYS: tuple[Key, ...] = keys_of(Policy)
AT_LEAST_ONE = tuple(row for row in KEYS if row.default == () and row.name != "Forbid")
"""Lists that would ask for nothing if they were empty: in a file that is a mistake, such as of a template."""


def load(path: str | Path) -> Policy:
    """Read a policy file; ConfigError tells every mistake in it, OSError that it cannot be read."""
    return parse(read_start(Path(path), MAXIMUM_SIZE + 1), str(path), Path(path).parent)


def parse(data: bytes, name: str, directory: Path = Path()) -> Policy:
    """The Policy that ``data`` gives; key files are looked for in ``directory``."""
    return read_document(data, name, "a policy file", lambda reading, root: _policy(reading, root, directory))


def mrsigner_of(signer: str, directory: Path = Path()) -> str:
    """The MRSIGNER that a text gives: itself, or that of the key or certificate in the file of this name.

    Raises KeyFileError.
    """
    if re.fullmatch(_HEX, signer):
        return signer.lower()
    return signature.mrsigner(load_modulus(directory / signer)).hex()


def _policy(reading: Reading, root: jsonc.Object, directory: Path) -> Policy:
    values = read_members(root, KEYS, "", reading.say)
    places = places_in(root)
    for row in AT_LEAST_ONE:
        if row.name in places and values[row.attribute] == ():
            hint = "nothing would be asked for: leave the key out if that is meant"
            reading.add(places[row.name], row.name, "an empty list", "at least one", hint)
    for row in KEYS:
        if values[row.attribute] is INVALID:
            values[row.attribute] = row.default
    values["signers"] = tuple(_signers(reading, root, places, values["signers"], directory))
    return Policy(**values, name=reading.name, places=places)


def _signers(
    reading: Reading, root: jsonc.Object, places: Mapping[str, jsonc.Place], named: Any, directory: Path
) -> Any:
    for number, signer in enumerate(named):
        subject = f"Signers[{number}]"
        try:
            yield mrsigner_of(signer, directory)
        except MystError as error:
            found = f"{error.where}: {error.found}"
            reading.add(place_of(places, subject, root.place), subject, found, error.expected, error.hint)
