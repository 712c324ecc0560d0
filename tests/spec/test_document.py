from __future__ import annotations

import pytest

from tests.spec.examples import GOOD, problems, swap
from vertex_deploy.spec.document import locate, merge, parse, plain


def tree(text: str):
    root, found = parse(text.encode(), "f")
    assert root is not None, found
    assert not found
    return root


def test_every_value_knows_its_line_and_that_of_its_key():
    root = tree("a:\n  b:\n    - 1\n    - c:\n        2\n")
    node, rest = locate(root, ("a", "b", 1, "c"))
    assert (node.value, node.line, node.column, node.key_line, node.key_column) == (2, 5, 9, 4, 7)
    assert rest == ()


def test_a_path_that_is_not_there_gives_the_nearest_place_above():
    node, rest = locate(tree("a:\n  b: 1\n"), ("a", "x", "y"))
    assert (node.key_line, rest) == (1, ("x", "y"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("true", True), ("False", False), ("~", None), ("", None), ("null", None),
        ("12", 12), ("-3", -3), ("007", "007"), ("0o17", "0o17"), ("0x1F", "0x1F"), ("1_000", "1_000"),
        ("1:30", "1:30"), ("1.5", 1.5), ("1e3", 1000.0), ("2026-11-21", "2026-11-21"), ("L4:1", "L4:1"),
        ("'12'", "12"), ('"true"', "true"), ("!!str 12", "12"), ("30m", "30m"), ("0.5%", "0.5%"),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_yaml_1_2(text, value):
    read = plain(tree(f"k: {text}\n"))["k"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1: the file is empty; the reference page of the spec has an example"),
        ("# only a comment\n", "f:2: the file is empty"),
        ("- a\n", "f:1: must be a mapping, not a list; start with name: ..."),
        ("12\n", "f:1: must be a mapping, not 12"),
        ("a: 1\nb: 2\na: 3\n", "f:3: a: duplicate key; it is already on line 1; keep one"),
        ("a: &x 1\nb: *x\n", "f:1: a: anchors and aliases are not supported; write the value out"),
        ("a: 1\nb: *x\n", "f:2: b: anchors and aliases are not supported"),
        ("a: 1\n---\nb: 1\n", "f:2: a second document; keep one document a file; remove ---"),
        ("a: !!python/object:os.system x\n", "tag 'tag:yaml.org,2002:python/object:os.system' is not supported"[:40]),
        ("a:\n\tb: 1\n", "f:2: not valid YAML: found character '\\t' that cannot start any token; indent with spaces"),
        ("a: [1, 2\nb: 3\n", "f:2: not valid YAML"),
        ("? [a, b]\n: 1\n", "f:1: a key must be plain text"),
        ("a: .inf\n", "f:1: a: '.inf' is not a usable number"),
        ("a: 1e999\n", "f:1: a: '1e999' is too large"),
        ("a: " + "9" * 5000, "f:1: a: '999999999999999999999999' is not a usable number"),
        ('a: "\\0"\n', "f:1: a: NUL and half characters cannot be used"),
        ('a: "\\ud800"\n', "f:1: a: NUL and half characters cannot be used"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "f:2: not valid YAML"),
        ("a: 1\nb: \x07\n", "f:2: character U+0007 is not allowed in YAML"),
        ("a: " + "[" * 5000, "f:1: a[0][0][0]: more than 32 levels"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text, expected):
    _, found = parse(text.encode("utf-8", "surrogatepass"), "f")
    assert len(found) == 1
    assert expected in str(found[0])


def test_a_large_file_is_refused_before_it_is_parsed():
    _, found = parse(b"a: 1\n" + b"#" * (1 << 20), "f")
    assert str(found[0]).startswith("f:1: larger than 1 MiB")


def test_bytes_that_are_not_utf8_are_named_with_their_line():
    _, found = parse(b"a: 1\nb: \xff\n", "f")
    assert str(found[0]) == "f:2: byte 8 is not UTF-8; save the file as UTF-8"


def test_a_byte_order_mark_and_crlf_change_nothing():
    text = "\ufeff" + swap(("accelerator: L4:1", "accelerator: L4:2")).replace("\n", "\r\n")
    assert problems(text) == problems(swap(("accelerator: L4:1", "accelerator: L4:2")))


def test_merge_goes_key_by_key_replaces_lists_and_removes_with_null():
    base, over = tree("a: {b: 1, c: [1, 2], d: 4}\n"), tree("a: {b: 2, c: [3], d: null, e: 5}\n")
    assert plain(merge(base, over)) == {"a": {"b": 2, "c": (3,), "e": 5}}


def test_merged_values_keep_the_place_where_they_were_written():
    merged = merge(tree("a:\n  b: 1\n  c: 2\n"), tree("\n\n\na: {c: 3}\n"))
    assert [locate(merged, ("a", key))[0].line for key in "bc"] == [2, 4]


def test_a_key_with_line_breaks_stays_on_one_line():
    found = problems(GOOD + '"a\\nb\\u2028": 1\n')
    assert len(found) == 1
    assert len(found[0].splitlines()) == 1
