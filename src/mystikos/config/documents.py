"""What the table of keys says, in the forms people and editors read: JSON Schema, a starter config, and
the reference page.

>>> json_schema()["properties"]["ProductID"]["maximum"]
65535
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import Any

from mystikos.config.kinds import Flag, Key, Records, Size, format_size, keys_of, object_schema, to_json
from mystikos.config.lints import LINTS
from mystikos.config.settings import KEYS

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a config file. Editors read it; `myst check` knows more rules."""
    return {"$schema": SCHEMA_ID, "title": "Mystikos package configuration", **object_schema(KEYS)}


# -- the starter config

_TITLES = {
    "version": None,
    "ApplicationPath": "The application",
    "HostApplicationParameters": "What the untrusted host may say",
    "MemorySize": "Memory and threads",
    "NoBrk": "System calls",
    "Mount": "File systems and secrets",
    "CreateZeroBaseEnclave": "The enclave and its identity",
}


def starter(application_path: str | None = None) -> str:
    """A config file with every key: the usual ones set, the others in comments with their defaults."""
    active = [row for row in KEYS if row.starter is not dataclasses.MISSING]
    lines = [
        "// Configuration of a Mystikos package. `myst check config.json` tells what is wrong with it.",
        "{",
    ]
    for row in KEYS:
        title = _TITLES.get(row.name)
        if title:
            lines += ["", f"    // ---- {title}"]
        lines += ["", *(f"    // {line}" for line in _wrap(row.summary, 90))]
        value = row.starter if row in active else starter_default(row)
        if row.name == "ApplicationPath" and application_path is not None:
            value = application_path
        comma = "" if row is active[-1] else ","
        mark = "" if row in active else "// "
        lines.append(f'    {mark}"{row.name}": {json.dumps(value, ensure_ascii=False)}{comma}')
    return "\n".join([*lines, "}", ""])


def starter_default(row: Key) -> Any:
    """The default as a person would write it."""
    return format_size(row.default) if isinstance(row.kind, Size) and row.default else to_json(row.default)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text.replace("`", ""), width, break_on_hyphens=False)


# -- the reference page

_PREAMBLE = """\
<!-- Generated from src/mystikos/config by `make docs`; a test compares. -->
# The configuration file

JSON (RFC 8259) in UTF-8, with `//` comments, at most 1 MiB. Keys are case-sensitive; a key that is not
known, or stands twice, is an error. `myst check config.json` tells every mistake at once with its line
and column, `myst schema` prints a JSON Schema for editors, `myst init` writes a starter.

A size is bytes (`65536`) or a string with the suffix `k`, `m` or `g` (`"64m"`; powers of 1024). Where a
list of strings is expected, one string may stand for a list of one. Flags are `true` or `false`; `1` and
`0` are accepted.
"""


def reference() -> str:
    """docs/reference/config.md."""
    parts = [_PREAMBLE, "## Keys\n", key_table(KEYS)]
    for row in KEYS:
        if isinstance(row.kind, Records):
            parts += [f"## {row.name}\n", f"{row.summary} A list of objects, or one object:\n"]
            parts.append(key_table(keys_of(row.kind.record)))
    parts += ["## Lints\n", _LINTS_INTRO, lint_table()]
    return "\n".join(parts)


_LINTS_INTRO = """\
Settings that weaken what a package protects. `myst check` tells them; with `--strict` its exit code is 1 when
there is one.
"""


def key_table(rows: tuple[Key, ...]) -> str:
    """A table of keys in Markdown."""
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    for row in rows:
        alias = f" (deprecated name: `{row.alias}`)" if row.alias else ""
        lines.append(
            f"| `{row.name}` | {_cell(_value(row))} | {_default(row)} | {_cell(row.summary)}{alias} |"
        )
    return "\n".join(lines) + "\n"


def _value(row: Key) -> str:
    if isinstance(row.kind, Flag):
        return "true or false"
    return (
        f"objects, see [{row.name}](#{row.name.lower()})"
        if isinstance(row.kind, Records)
        else row.kind.expected()
    )


def _default(row: Key) -> str:
    if row.required:
        return "required"
    if row.default_text:
        return row.default_text
    return f"`{json.dumps(starter_default(row))}`"


def lint_table() -> str:
    """The table of lints in Markdown."""
    rows = [f"| `{row.name}` | {_cell(row.summary)} | {_cell(row.remedy)} |" for row in LINTS]
    return "\n".join(["| lint | what it finds | remedy |", "|---|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
