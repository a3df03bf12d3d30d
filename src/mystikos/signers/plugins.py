"""Stage 5a: signers that other installed packages bring, found through the entry points ``mystikos.signers``.

An entry point is a function that takes the options (text by name) and returns a ``Signer``. In the
``pyproject.toml`` of such a package::

    [project.entry-points."mystikos.signers"]
    vault = "our_vault.myst:signer"     # def signer(options: Mapping[str, str]) -> Signer

>>> signer = load("vault", {"key": "release"})  # doctest: +SKIP
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from mystikos.errors import MystError, SignerError
from mystikos.signers.base import Signer, is_release_key

__all__ = ["GROUP", "PluginSigner", "load", "names"]

GROUP = "mystikos.signers"
"""The group of entry points."""


@dataclass(frozen=True)
class PluginSigner:
    """A plugin's signer, whose failures become SignerError and whose answers have the right types."""

    name: str
    signer: Signer

    @property
    def release_key(self) -> bool:
        return _call(self.name, lambda: is_release_key(self.signer)) is True

    def public_modulus(self) -> int:
        modulus = _call(self.name, self.signer.public_modulus)
        if not isinstance(modulus, int):
            raise _wrong(self.name, f"public_modulus() gave {type(modulus).__name__}", "int")
        if modulus < 0:
            raise _wrong(self.name, "public_modulus() gave a negative number", "the modulus of a key")
        return modulus

    def sign(self, message: bytes) -> bytes:
        signature = _call(self.name, lambda: self.signer.sign(message))
        if not isinstance(signature, bytes):
            raise _wrong(self.name, f"sign() gave {type(signature).__name__}", "bytes")
        return signature


def names() -> list[str]:
    """The signers that installed packages offer."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str, options: Mapping[str, str]) -> PluginSigner:
    """The signer ``name`` with its options; raises SignerError if there is none or it refuses them."""
    point = _find(name)
    factory = _call(name, point.load)
    signer = _call(name, lambda: factory(dict(options)))
    for method in ("public_modulus", "sign"):
        if not _call(name, lambda method=method: callable(getattr(signer, method, None))):
            raise _wrong(name, f"made a {type(signer).__name__} without {method}()", "a Signer")
    return PluginSigner(name, signer)


def _find(name: str) -> EntryPoint:
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if len({point.value for point in found}) > 1:
        values = ", ".join(sorted(point.value for point in found))
        raise SignerError(f"signer {name}", f"several packages offer it ({values})", expected="one")
    if not found:
        known = names()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"installed: {', '.join(known) or 'none'}"
        raise SignerError(f"signer {name}", "no installed package offers it", hint=hint)
    return found[0]


def _call(name: str, function):  # type: ignore[no-untyped-def]  # whatever a stranger's function gives
    try:
        return function()
    except MystError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:  # a plugin does not end myst, least of all with 0
        raise SignerError(f"signer {name}", f"{type(error).__name__}: {error}") from error


def _wrong(name: str, found: str, expected: str) -> SignerError:
    return SignerError(f"signer {name}", found, expected=expected, hint="this is a mistake in the plugin")
