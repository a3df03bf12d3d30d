"""Stage 5b: a signing request: all 256 signed bytes and what they mean, for a key that is elsewhere::

    request = SigningRequest.of(fields, inputs)
    Path("request.json").write_bytes(request.encode())
    ...                                             # days later
    request = SigningRequest.decode(data, "request.json")
    signer = DetachedSigner(request, signature, modulus)    # for the rebuild: signs these 256 bytes only

The format is docs/reference/signing-request.md.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mystikos import _abi, signature
from mystikos.errors import AttachError, RequestError
from mystikos.formats import sigstruct
from mystikos.formats.sigstruct import Sigstruct, SigstructError

__all__ = ["LARGEST", "DetachedSigner", "SigningRequest"]

TYPE = "mystikos-signing-request"
VERSION = 1
LARGEST = 64 * 1024
"""Bytes of a request; one has about 2 KB."""

_KEYS = {"type", "version", "signed_bytes", "sha256", "meaning", "mrsigner", "inputs"}
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class SigningRequest:
    """What is to be signed, by whom (None: anyone), and the SHA-256 of each section of the package."""

    fields: Sigstruct
    inputs: Mapping[str, str]
    mrsigner: str | None = None

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return self.fields.signed_bytes()

    @property
    def date(self) -> datetime.date:
        """The signature's date."""
        return datetime.datetime.strptime(f"{self.fields.date:08x}", "%Y%m%d").date()

    @property
    def meaning(self) -> dict[str, object]:
        """The signed fields, as people read them."""
        fields = self.fields
        return {
            "mrenclave": fields.enclave_hash.hex(),
            "product_id": fields.product_id,
            "security_version": fields.security_version,
            "date": self.date.isoformat(),
            "debug": bool(fields.attributes & _abi.ATTRIBUTE_DEBUG),
            "vendor": f"{fields.vendor:#010x}",
            "attributes": f"{fields.attributes:#018x}",
            "attributes_mask": f"{fields.attributes_mask:#018x}",
            "xfrm": f"{fields.xfrm:#018x}",
            "xfrm_mask": f"{fields.xfrm_mask:#018x}",
            "miscselect": f"{fields.miscselect:#010x}",
            "miscmask": f"{fields.miscmask:#010x}",
        }

    def document(self) -> dict[str, object]:
        """The request as plain values."""
        return {
            "type": TYPE,
            "version": VERSION,
            "signed_bytes": self.signed_bytes.hex(),
            "sha256": hashlib.sha256(self.signed_bytes).hexdigest(),
            "meaning": self.meaning,
            "mrsigner": self.mrsigner,
            "inputs": dict(self.inputs),
        }

    def encode(self) -> bytes:
        """The request file; the same request gives the same bytes."""
        return json.dumps(self.document(), indent=2, sort_keys=True).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes, name: str) -> SigningRequest:
        """Read a request file; raises RequestError unless all it says agrees with its 256 bytes."""
        document = _object(data, name)
        if document.get("type") != TYPE:
            raise RequestError(name, "is no signing request", expected="what `myst digest` writes")
        if document.get("version") != VERSION:
            raise RequestError(
                name, f"is of version {document.get('version')!r:.40}", expected=f"version {VERSION}"
            )
        if set(document) != _KEYS:
            raise RequestError(name, "has not the members of a request", expected=", ".join(sorted(_KEYS)))
        request = cls(_fields(document, name), _inputs(document, name), document["mrsigner"])
        _check_derived(request, document, name)
        return request

    def differences(self, other: SigningRequest) -> list[str]:
        """What this one asks for and the other does not: a line for each field and each input."""
        fields = [
            f"{key}: {value}, the request has {other.meaning[key]}"
            for key, value in self.meaning.items()
            if value != other.meaning[key]
        ]
        names = sorted({*self.inputs, *other.inputs})
        changed = [name for name in names if self.inputs.get(name) != other.inputs.get(name)]
        return fields + [f"{name}: has changed" for name in changed]


def _object(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > LARGEST:
        raise RequestError(name, "is larger than 64 KiB", expected="a signing request")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise RequestError(name, "is not JSON", expected="what `myst digest` writes") from error
    if not isinstance(document, dict):
        raise RequestError(name, "is no JSON object", expected="what `myst digest` writes")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _fields(document: dict[str, Any], name: str) -> Sigstruct:
    text = document["signed_bytes"]
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{512}", text):
        raise RequestError(name, "signed_bytes is malformed", expected="256 bytes in lower-case hex")
    try:
        fields = sigstruct.unpack_signed(bytes.fromhex(text))
        datetime.datetime.strptime(f"{fields.date:08x}", "%Y%m%d")
    except (SigstructError, ValueError) as error:
        raise RequestError(
            name, f"signed_bytes are not those of a SIGSTRUCT ({error})", expected="what `myst digest` writes"
        ) from error
    return fields


def _inputs(document: dict[str, Any], name: str) -> dict[str, str]:
    inputs = document["inputs"]
    if not isinstance(inputs, dict) or not all(_is_digest(value) for value in inputs.values()):
        raise RequestError(name, "inputs are malformed", expected="the SHA-256 of each, by name")
    return inputs


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and bool(_SHA256.match(value))


def _check_derived(request: SigningRequest, document: dict[str, Any], name: str) -> None:
    """A request must not say one thing to people and another to the key."""
    if request.mrsigner is not None and not _is_digest(request.mrsigner):
        raise RequestError(name, "mrsigner is malformed", expected="64 digits of lower-case hex, or null")
    right = request.document()
    for member in ("sha256", "meaning"):
        # as text, for True is 1 to Python
        if json.dumps(document[member], sort_keys=True) != json.dumps(right[member], sort_keys=True):
            raise RequestError(
                name,
                f"{member} is not that of signed_bytes",
                expected="a request as `myst digest` wrote it",
                hint="it was changed: do not sign it",
            )


@dataclass(frozen=True)
class DetachedSigner:
    """The signature that came back for a request; it is checked at once, and serves for these bytes only."""

    request: SigningRequest
    signed: bytes
    modulus: int

    def __post_init__(self) -> None:
        signature.complete(self.request.fields, self.signed, self.modulus)
        wanted = self.request.mrsigner
        found = signature.mrsigner(self.modulus).hex()
        if wanted is not None and wanted != found:
            raise AttachError("public key", f"MRSIGNER {found}", expected=f"that of the request, {wanted}")

    def public_modulus(self) -> int:
        return self.modulus

    def sign(self, message: bytes) -> bytes:
        """The signature, if ``message`` is what it is over; else AttachError."""
        if message != self.request.signed_bytes:
            raise AttachError(
                "signing request",
                "it is for something else than what was built now",
                expected="the same 256 signed bytes",
                hint="build from the files the request was made of, or make a new request",
            )
        return self.signed
