"""Any bytes give a Config or a ConfigError; what a Config holds can be written and read back."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
from hypothesis import strategies as st

from mystikos.config import KEYS, Config, from_record, lint, parse
from mystikos.config.kinds import (
    Choice,
    Flag,
    Integer,
    Many,
    Records,
    Size,
    Text,
    format_size,
    keys_of,
    to_json,
)
from mystikos.config.rules import contradictions
from mystikos.errors import ConfigError
from mystikos.formats import jsonc
from tests.support.rounds import rounds

ROUNDS = rounds(150)

_names = st.sampled_from([row.name for row in KEYS] + ["Target", "Type", "UserMemSize"]) | st.text(max_size=6)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_pieces = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        '"',
        '"a"',
        "//",
        "\n",
        " ",
        "\\",
        "\\u12",
        "\\ud800",
        "1",
        "-",
        "e9",
        "true",
        "é",
        "\0",
    ]
)


def outcome(data: bytes) -> Config | None:
    """The Config, or None for a ConfigError whose every problem has a place and a text."""
    try:
        config = parse(data, "config.json")
    except ConfigError as error:
        problems = error.problems
    else:
        lint(config)
        return config
    assert problems
    assert all(str(problem).startswith("config.json:") for problem in problems)
    assert all(str(problem).isprintable() for problem in problems)
    return None


@ROUNDS
@hypothesis.given(st.binary(max_size=200))
def test_any_bytes_give_a_config_or_its_mistakes(data: bytes) -> None:
    outcome(data)


@ROUNDS
@hypothesis.given(st.lists(_pieces, max_size=40))
def test_any_pieces_of_json_give_a_config_or_its_mistakes(pieces: list[str]) -> None:
    outcome("".join(pieces).encode())


@ROUNDS
@hypothesis.given(st.dictionaries(_names, _json, max_size=6))
def test_any_json_gives_a_config_or_its_mistakes(document: dict[str, Any]) -> None:
    outcome(json.dumps(document).encode())


@ROUNDS
@hypothesis.given(_json)
def test_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) if _is_json(value) else "0"

    document = jsonc.parse(text.encode("utf-8", "replace"))

    if not document.mistakes:
        assert _plain(document.root) == json.loads(text.encode("utf-8", "replace"))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _plain(node: jsonc.Node | None) -> Any:
    if isinstance(node, jsonc.Object):
        return {member.key: _plain(member.value) for member in node.members}
    if isinstance(node, jsonc.Array):
        return [_plain(item) for item in node.items]
    assert node is not None
    return node.value


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values that a kind admits."""
    match kind:
        case Flag():
            return st.booleans()
        case Integer():
            return st.integers(kind.minimum // kind.step, kind.maximum // kind.step).map(
                lambda n: n * kind.step
            )
        case Size():
            return st.integers(kind.minimum, kind.maximum) | st.just(0 if kind.zero else kind.minimum)
        case Choice():
            return st.sampled_from(kind.words)
        case Text():
            text = st.builds(str.__add__, st.sampled_from(["", "/", "/a/", "K=", "h"]), st.text(max_size=6))
            value = text.map(lambda s: s.encode() if kind.binary else s).filter(kind.admits)
            return st.none() | value if kind.nullable else value
        case Many():
            return st.lists(values_of(kind.item), max_size=3).map(tuple)
        case Records():
            fields = {row.attribute: values_of(row.kind) for row in keys_of(kind.record)}
            return st.lists(st.builds(kind.record, **fields), max_size=2).map(tuple)
    raise AssertionError(kind)


configs = st.builds(Config, **{row.attribute: values_of(row.kind) for row in KEYS})


@rounds(40, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(configs, st.booleans())
def test_a_config_survives_its_json_and_its_record(config: Config, with_suffixes: bool) -> None:
    document = {row.name: to_json(getattr(config, row.attribute)) for row in KEYS}
    if with_suffixes:
        document["MemorySize"] = format_size(config.memory_size)
    data = json.dumps(document).encode()

    assert from_record(config.record()) == config
    if next(contradictions(config), None) is None:
        assert parse(data, "config.json").record() == config.record()
    else:
        assert outcome(data) is None
