"""Checks and diffs of any table."""

from __future__ import annotations

import pytest

from infra.provider.properties import Change, Failure, Prop, check, child, diff, keep_written, top, with_defaults
from infra.provider.values import UNKNOWN

LEAF = Prop(type="string", doc="A leaf.")
TABLE = {
    "size": Prop(type="integer", doc="How big.", minimum=1, maximum=9, required=True),
    "color": Prop(type="string", doc="Which.", choices=("red", "green"), default="red", replace=True),
    "tags": Prop(type="map", items=LEAF, doc="Tags."),
    "parts": Prop(
        type="array",
        doc="Parts.",
        items=Prop(type="object", doc="One.", fields={"name": Prop(type="string", doc="Its name.", required=True)}),
    ),
    "share": Prop(type="number", doc="How much."),
    "on": Prop(type="boolean", doc="Whether.", local=True),
    "code": Prop(type="string", pattern="[a-z]+", says="lower case", doc="A code."),
}
COUNT = {"count": Prop(type="integer", minimum=0, doc="How many.")}


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({}, "size", "is required: How big."),
        ({"size": None}, "size", "is required"),
        ({"size": "1"}, "size", "must be a whole number, not '1'"),
        ({"size": True}, "size", "must be a whole number, not true"),
        ({"size": 1.5}, "size", "must be a whole number"),
        ({"size": 0}, "size", "must be at least 1 and at most 9, not 0"),
        ({"size": 1, "on": 1}, "on", "must be a boolean, not 1"),
        ({"size": 1, "color": "gren"}, "color", "did you mean green? (allowed: red, green)"),
        ({"size": 1, "colour": "red"}, "colour", "did you mean color?"),
        ({"size": 1, "zzz": 1}, "zzz", "allowed: size, color"),
        ({"size": 1, "tags": {"a b": 1}}, 'tags["a b"]', "must be a string, not 1"),
        ({"size": 1, "tags": {"a": None}}, "tags.a", "must not be null"),
        ({"size": 1, "parts": [{"name": "x"}, {}]}, "parts[1].name", "is required"),
        ({"size": 1, "parts": {"name": "x"}}, "parts", "must be a list, not an object"),
        ({"size": 1, "code": "A"}, "code", "'A' must be lower case"),
    ],
)
def test_a_failure_names_the_property_and_the_fix(given, path, words):
    (failure,) = check(TABLE, given)
    assert failure.property == path
    assert words in failure.reason


def test_a_whole_number_fits_into_the_apis_32_bits():
    assert not check(COUNT, {"count": 2**31 - 1})
    (failure,) = check(COUNT, {"count": 2**31})
    assert failure.reason == "must be at least 0 and at most 2147483647, not 2147483648"


@pytest.mark.parametrize(
    ("key", "unset", "differs"), [("code", "", "a"), ("on", False, True), ("count", 0, 1), ("tags", {}, {"a": "b"})]
)
def test_what_says_no_more_than_its_absence_is_no_difference(key, unset, differs):
    table = {**TABLE, **COUNT}
    assert not diff(table, {}, {key: unset})
    assert not diff(table, {key: unset}, {key: None})
    assert diff(table, {}, {key: differs})
    assert diff(table, {key: unset}, {key: UNKNOWN})


def test_the_absence_of_what_has_a_default_is_a_difference():
    table = {"log": Prop(type="boolean", default=True, doc="Whether.")}
    assert diff(table, {}, {"log": False})


def test_unknown_values_pass_wherever_they_are():
    assert check(TABLE, dict.fromkeys(TABLE, UNKNOWN)) == []
    assert check(TABLE, {"size": 1, "tags": {"a": UNKNOWN}, "parts": [UNKNOWN, {"name": UNKNOWN}]}) == []


def test_all_failures_are_told_at_once_sorted():
    assert [f.property for f in check(TABLE, {"share": "x", "color": 3})] == ["color", "share", "size"]
    assert check(TABLE, {}, absent=False) == []
    assert Failure("a", "b") == Failure("a", "b")


def test_defaults_fill_what_is_absent_or_null():
    assert with_defaults(TABLE, {"size": 1, "color": None}) == {"size": 1, "color": "red"}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"size": 1}, {"size": 1}, {}),
        ({"size": 1}, {"size": 2}, {"size": Change("update", replace=False)}),
        ({"color": "red"}, {"color": "green"}, {"color": Change("update", replace=True)}),
        ({}, {"color": "green"}, {"color": Change("add", replace=True)}),
        ({"color": "red"}, {}, {"color": Change("delete", replace=True)}),
        ({"tags": {"a": "1", "b": "2"}}, {"tags": {"a": "3", "c": "4"}}, {
            "tags.a": Change("update", replace=False),
            "tags.b": Change("delete", replace=False),
            "tags.c": Change("add", replace=False),
        }),
        ({"tags": {}}, {}, {}),
        ({"parts": []}, {"parts": None}, {}),
        ({"parts": [{"name": "a"}]}, {"parts": [{"name": "b"}, {"name": "c"}]}, {
            "parts[0].name": Change("update", replace=False),
            "parts[1]": Change("add", replace=False),
        }),
        ({"size": 1}, {"size": UNKNOWN}, {"size": Change("update", replace=False)}),
        ({"outside": 1}, {"outside": 2}, {}),
    ],
)  # fmt: skip
def test_a_diff_names_each_path_and_what_needs_a_replacement(old, new, changes):
    assert diff(TABLE, old, new) == changes


def test_ignored_paths_hide_what_is_below_them_and_nothing_else():
    old, new = {"tags": {"a": "1"}, "size": 1}, {"tags": {"a": "2"}, "size": 2}
    assert list(diff(TABLE, old, new, ignore=["tags"])) == ["size"]
    assert list(diff(TABLE, old, new, ignore=["tag"])) == ["size", "tags.a"]


def test_paths_are_written_as_pulumi_writes_them():
    assert child("", "a") == "a"
    assert child("a", 'b"c') == 'a["b\\"c"]'
    assert [top(path) for path in ("a", "a.b[0]", 'a["b"]', "a[0].b")] == ["a"] * 4


def test_what_was_written_stays_where_it_means_the_same():
    written = {"color": "red", "size": 1, "on": True, "tags": {}}
    assert keep_written(TABLE, written, {"size": 2, "code": "x"}) == {
        "color": "red", "size": 2, "on": True, "tags": {}, "code": "x",
    }  # fmt: skip
    assert keep_written(TABLE, written, {"size": 2, "code": "x"}, fixed=("size", "code"))["size"] == 1
    assert "code" not in keep_written(TABLE, written, {"code": "x"}, fixed=("code",))
    assert keep_written(TABLE, {}, {"code": "x"}, fixed=("code",)) == {"code": "x"}
