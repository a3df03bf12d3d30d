"""JSON with comments and places: what is read, and what is told about what cannot be."""

from __future__ import annotations

import json

import pytest

from mystikos.formats import jsonc
from mystikos.formats.jsonc import Array, Node, Object, Place, Scalar, parse


def plain(node: Node | None) -> object:
    match node:
        case Scalar():
            return node.value
        case Array():
            return [plain(item) for item in node.items]
        case Object():
            return {member.key: plain(member.value) for member in node.members}
    raise AssertionError("nothing was read")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '"text"',
        "-0",
        "12345678901234567890",
        "1.5e-3",
        "[true, false, null]",
        '{"a": {"b": [1, "two", {"c": null}]}}',
        r'"\" \\ \/ \b \f \n \r \t é \ud83d\ude00"',
        '"é 😀 \u2028"',
        " \t\r\n{ \r\n } \n",
    ],
)
def test_json_is_read_as_the_standard_library_reads_it(text: str) -> None:
    document = parse(text.encode())

    assert document.mistakes == ()
    assert plain(document.root) == json.loads(text)


def test_comments_end_with_their_line_and_are_none_inside_strings() -> None:
    text = b'// first\n{"url": "http://x//y", // rest\n//\n"b": 1 // "b": 2\n} // last'

    document = parse(text)

    assert document.mistakes == ()
    assert plain(document.root) == {"url": "http://x//y", "b": 1}


def test_nodes_know_line_and_column_in_characters() -> None:
    document = parse('{\n  "ä😀": [1,\r\n\t"x"]}'.encode())

    assert isinstance(document.root, Object)
    (member,) = document.root.members
    assert isinstance(member.value, Array)
    assert document.root.place == Place(1, 1)
    assert member.place == Place(2, 3)
    assert [item.place for item in member.value.items] == [Place(2, 10), Place(3, 2)]


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    document = parse(b'\xef\xbb\xbf{"a" 1}')

    assert [str(mistake) for mistake in document.mistakes] == ['1:6: "1" where the colon after a key belongs']


def test_mistakes_that_leave_no_doubt_are_all_told_and_the_rest_is_read() -> None:
    document = parse(b'{"a": True, "b": 007, "c": [1 2,], "a": "\\q", "d": 40m "e": "x\ty",}')

    assert [str(mistake) for mistake in document.mistakes] == [
        "1:7: True is not JSON, write true",
        "1:18: 007 is not JSON: a number has no leading zero",
        "1:30: missing comma",
        '1:32: comma before "]"',
        '1:36: duplicate key "a", first at 1:2',
        "1:42: unknown escape \\q",
        '1:52: 40m is not JSON, write "40m" in double quotes',
        "1:55: missing comma",
        "1:63: control character U+0009 in a string; write \\u0009",
        '1:66: comma before "}"',
    ]
    assert plain(document.root) == {"a": None, "b": None, "c": [1, 2], "d": None, "e": "xy"}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (b"", "1:1: the file is empty"),
        (b" \n", "2:1: the file is empty"),
        (b"// only\n", "2:1: only comments and no value"),
        (b"{", '1:2: the file ends where a key or "}" belongs'),
        (b"[1,", '1:4: the file ends where a value or "]" belongs'),
        (b'{"a"', "1:5: the file's end where the colon after a key belongs"),
        (b'{"a":', "1:6: the file's end where a value belongs"),
        (b"{a: 1}", '1:2: "a" where a key in double quotes belongs'),
        (b"{'a': 1}", '1:2: "\'" where a key in double quotes belongs'),
        (b'{"a": 1; "b": 2}', '1:8: ";" where a comma or "}" belongs'),
        (b"[1}", '1:3: "}" where a comma or "]" belongs'),
        (b"{} {}", '1:4: "{" after the end of the value'),
        (b'{"a": "b\n"}', "1:7: a string that is not closed on its line"),
        (b'"a', "1:1: a string that is never closed"),
        (b"/* x */ {}", '1:1: "/*" (only // comments are allowed) where a value belongs'),
        (b"\x00", "1:1: '\\x00' where a value belongs"),
        (b"[" * 100_000, "1:33: nested deeper than 32 levels"),
        (b'{"a":' * 100_000, "1:161: nested deeper than 32 levels"),
        (b'{\n"\xff"}', "2:2: byte 0xff is not UTF-8"),
        ("{}".encode("utf-16"), "1:1: byte 0xff is not UTF-8"),
    ],
)
def test_text_that_cannot_be_read_on_is_told_with_its_place(text: bytes, mistake: str) -> None:
    document = parse(text)

    assert document.root is None
    assert [str(mistake) for mistake in document.mistakes] == [mistake]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (b"NaN", "1:1: NaN is not JSON (text needs double quotes)"),
        (b"-Infinity", "1:1: -Infinity is not JSON (text needs double quotes)"),
        (b"None", "1:1: None is not JSON, write null"),
        (b"0x10", "1:1: 0x10 is not JSON (text needs double quotes)"),
        (b"+1", "1:1: +1 is not JSON (text needs double quotes)"),
        (b".5", "1:1: .5 is not JSON (text needs double quotes)"),
        (b"9" * 5000, "1:1: a number of 5000 digits"),
        ("٣".encode(), "1:1: ٣ is not JSON (text needs double quotes)"),
        (rb'"\ud800"', "1:2: \\ud800 is half of a surrogate pair, no character"),
        (rb'"\udc00x"', "1:2: \\udc00 is half of a surrogate pair, no character"),
        (rb'"\ud800\u0041"', "1:2: \\ud800 is half of a surrogate pair, no character"),
        (rb'"\u12"', "1:2: \\u without four hexadecimal digits"),
    ],
)
def test_words_and_escapes_that_are_not_json_are_explained(text: bytes, mistake: str) -> None:
    assert [str(found) for found in parse(text).mistakes] == [mistake]


def test_a_number_beyond_double_range_is_read_without_harm() -> None:
    assert plain(parse(b"1e999").root) == float("inf")


def test_depth_is_counted_along_one_branch_only() -> None:
    flat = b"[" + b",".join([b"[[]]"] * 100) + b"]"

    assert jsonc.parse(flat).mistakes == ()
