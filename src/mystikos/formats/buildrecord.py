"""The build record (``.mystbuild``): what a package says about how it was made, for people and for a rebuild.

Nothing that runs depends on it, and it is not measured: a package of the same content is the same enclave,
whichever version of a library helped to make it. Whether it is true, ``verification`` tells as far as that
can be told. The format is docs/reference/package-format.md, section ``.mystbuild``.

>>> record = BuildRecord("0.1.0", {"cbor2": "6.3.0"}, {"kernel": "0" * 64}, "1980-01-01")
>>> decode(encode(record)) == record
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LARGEST", "SECTION", "BuildRecord", "BuildRecordError", "decode", "encode"]

SECTION = ".mystbuild"
"""The section's name in a package."""
LARGEST = 1 << 17
"""Bytes that a build record may have at most; one has up to 20 KB."""

_TYPE, _VERSION = "mystikos-build-record", 1
_MARK = 16  # hexadecimal digits
_TEXT = re.compile(r"[ -~]{1,200}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_MARKS = re.compile(rf"(?:[0-9a-f]{{{_MARK}}})*\Z")
_KEYS = {"type", "version", "mystikos", "tools", "inputs", "date", "marks"}


class BuildRecordError(ValueError):
    """The bytes are no build record; the text tells why."""


@dataclass(frozen=True)
class BuildRecord:
    """Versions of mystikos and of the tools that decide about bytes, SHA-256 of each input by name, the date.

    ``marks`` are those of the measurement: where they part from what is found, the damage is.
    """

    mystikos: str
    tools: Mapping[str, str]
    inputs: Mapping[str, str]
    date: str
    marks: tuple[bytes, ...] = ()


def encode(record: BuildRecord) -> bytes:
    """The section's bytes: JSON, the same for the same record."""
    document = {
        "type": _TYPE,
        "version": _VERSION,
        "mystikos": record.mystikos,
        "tools": dict(record.tools),
        "inputs": dict(record.inputs),
        "date": record.date,
        "marks": b"".join(record.marks).hex(),
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def decode(data: bytes) -> BuildRecord:
    """Read a section's bytes, of whatever origin; only what :func:`encode` writes is accepted."""
    if len(data) > LARGEST:
        raise BuildRecordError(f"{len(data)} bytes are more than {LARGEST}")
    try:
        document = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise BuildRecordError("it is not JSON") from error
    record = _record(document)
    if encode(record) != data:
        raise BuildRecordError("it is not written as mystikos does")
    return record


def _record(document: Any) -> BuildRecord:
    if not isinstance(document, dict) or set(document) != _KEYS:
        raise BuildRecordError(f"its members are not {', '.join(sorted(_KEYS))}")
    if (document["type"], document["version"]) != (_TYPE, _VERSION):
        raise BuildRecordError(f"it is of another type or version than {_TYPE} {_VERSION}")
    marks = _text(document["marks"], _MARKS, "marks")
    return BuildRecord(
        _text(document["mystikos"], _TEXT, "mystikos"),
        _texts(document["tools"], _TEXT, "tools"),
        _texts(document["inputs"], _SHA256, "inputs"),
        _text(document["date"], _DATE, "date"),
        tuple(bytes.fromhex(marks[at : at + _MARK]) for at in range(0, len(marks), _MARK)),
    )


def _texts(value: Any, pattern: re.Pattern[str], name: str) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise BuildRecordError(f"{name} is malformed")
    return {_text(key, _TEXT, name): _text(item, pattern, name) for key, item in value.items()}


def _text(value: Any, pattern: re.Pattern[str], name: str) -> str:
    if not isinstance(value, str) or not pattern.match(value):
        raise BuildRecordError(f"{name} is malformed")
    return value
