"""What the table of policy keys says, in the forms people and editors read.

>>> json_schema()["properties"]["ProductID"]["maximum"]
65535
"""

from __future__ import annotations

from typing import Any

from mystikos.config.documents import SCHEMA_ID, key_table, lint_table
from mystikos.config.kinds import object_schema
from mystikos.verification.policy import AT_LEAST_ONE, KEYS

__all__ = ["json_schema", "reference"]

_PREAMBLE = """\
<!-- Generated from src/mystikos/verification by `make docs`; a test compares. -->
# The policy file

What `myst verify --policy FILE` asks of a package beyond being consistent ([guide](../guides/verify.md)).
JSON with `//` comments, as the config is; an unknown key is an error, and all mistakes are told at once.
`myst schema --policy` prints a JSON Schema.

Where a list is expected, one string may stand for a list of one; of several signers, measurements or images
one will do, and every rule must be kept. An empty list, but for `Forbid`, is a mistake. What is left out is
not asked for; but a debug enclave is refused unless `AllowDebug`, and the masks must be exact.

## Keys
"""

_RULES = """\
## Rules

What `Forbid` and `--forbid` take. The config is judged as the kernel reads it.

| rule | forbids |
|---|---|
| `HostApplicationParameters=true` | this value; a size may be written as `64m` |
| `HostEnvironmentVariables=LD_*` | an item of the list that matches: `*` is any text, `?` any character |
| `Mount.Type=hostfs` | an item with a member that matches |
| `HostEnvironmentVariables` | anything but the default, here: any variable of the host |
| `host-code` | what the lint of this name finds |

The lints:
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a policy file; rules and key files are judged only when they are read."""
    schema = {"$schema": SCHEMA_ID, "title": "Mystikos verification policy", **object_schema(KEYS)}
    for row in AT_LEAST_ONE:
        _, several = schema["properties"][row.name]["oneOf"]
        several["minItems"] = 1
    return schema


def reference() -> str:
    """docs/reference/policy.md."""
    return "\n".join([_PREAMBLE, key_table(KEYS), _RULES, lint_table()])
