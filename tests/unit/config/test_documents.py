"""JSON Schema, starter and reference page say what the parser does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mystikos.config import KEYS, lint, parse
from mystikos.config.documents import json_schema, reference, starter
from mystikos.config.kinds import Records, keys_of
from mystikos.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_valid_json_schema_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


# Rules that tie settings together (repeated names, sizes that must fit) are beyond a schema.
RIGHT: list[dict[str, Any]] = [
    {"Debug": 1, "NoBrk": True, "HostUDS": 0},
    {"MemorySize": "40m", "ThreadStackSize": 0, "MainStackSize": 65536},
    {"UserMemSize": "64M"},
    {"ApplicationParameters": "one", "EnvironmentVariables": ["A=1"], "HostEnvironmentVariables": ["B"]},
    {"Mount": {"Target": "/a/b", "Type": "ext2", "Flags": "ro", "RootHash": "x", "PublicKey": None}},
    {"Mount": [], "Secret": []},
    {"Hostname": "a-b.c", "ForkMode": "pseudo", "SyslogLevel": "debug", "version": "0.1"},
    {"EnclaveStartAddress": 0x20000, "CreateZeroBaseEnclave": True, "MaxThreads": 4096},
    {"Secret": [{"ID": "a", "SrsAddress": "b", "LocalPath": "/c", "ClientLib": "/d", "Verbose": 1}]},
]
WRONG: list[dict[str, Any]] = [
    {"Debgu": 1},
    {"Debug": 2},
    {"Debug": "1"},
    {"MemorySize": "40q"},
    {"MemorySize": 100},
    {"ProductID": 65536},
    {"ProductID": "1"},
    {"EnclaveStartAddress": 1},
    {"ApplicationPath": "bin/x"},
    {"ApplicationPath": "/bin/"},
    {"EnvironmentVariables": ["A"]},
    {"HostEnvironmentVariables": "A=1"},
    {"ApplicationParameters": ["a\0"]},
    {"Mount": [{"Target": "/a"}]},
    {"Mount": [{"Target": "/a/..", "Type": "ext2"}]},
    {"Mount": [{"Target": "/a", "Type": "ext2", "More": 1}]},
    {"ForkMode": "PSEUDO"},
    {"version": "0.2"},
    {"Hostname": "a b"},
]


@pytest.mark.parametrize("settings", RIGHT)
def test_what_the_parser_takes_the_schema_takes(settings: dict[str, Any]) -> None:
    document = {"ApplicationPath": "/bin/hello", **settings}

    parse(json.dumps(document).encode(), "config.json")
    VALIDATOR.validate(document)


@pytest.mark.parametrize("settings", WRONG)
def test_what_the_schema_refuses_the_parser_refuses(settings: dict[str, Any]) -> None:
    document = {"ApplicationPath": "/bin/hello", **settings}

    with pytest.raises(ConfigError):
        parse(json.dumps(document).encode(), "config.json")
    assert not VALIDATOR.is_valid(document)


def test_defaults_in_the_schema_are_ones_that_it_takes() -> None:
    for name, property_schema in SCHEMA["properties"].items():
        if "default" in property_schema:
            assert VALIDATOR.evolve(schema=property_schema).is_valid(property_schema["default"]), name


def test_the_starter_is_a_config_with_every_key() -> None:
    text = starter("/usr/bin/python3")

    config = parse(text.encode(), "config.json")
    assert config.application_path == b"/usr/bin/python3"
    assert [finding.lint for finding in lint(config)] == ["debug"]
    assert all(f'"{row.name}":' in text for row in KEYS)


def test_every_commented_out_key_of_the_starter_can_be_switched_on() -> None:
    plain = parse(starter().encode(), "config.json")

    text = re.sub(r'^( *)// ("\w+": )', r"\1\2", starter(), flags=re.MULTILINE)

    assert parse(text.encode(), "config.json").record() == plain.record()


def test_the_reference_page_names_every_key_and_every_lint() -> None:
    records = [row.kind.record for row in KEYS if isinstance(row.kind, Records)]
    names = [row.name for record in [None, *records] for row in (keys_of(record) if record else KEYS)]

    assert all(f"| `{name}` |" in reference() for name in names)


def test_the_format_page_lists_the_keys_of_the_record() -> None:
    page = (ROOT / "docs/reference/package-format.md").read_text(encoding="utf-8")
    section = page.split("### Canonical record", 1)[1].split("\n## ", 1)[0]

    assert {row.name for row in KEYS} <= set(re.findall(r"`(\w+)`", section))
