"""Names, preconditions, ranges, multipart bodies, listings and partial responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.storage import multipart, ranges
from vertex_deploy.local.storage.body import json_object
from vertex_deploy.local.storage.errors import StorageError
from vertex_deploy.local.storage.listing import page
from vertex_deploy.local.storage.names import check_bucket, check_object, split_uri
from vertex_deploy.local.storage.preconditions import Preconditions
from vertex_deploy.local.storage.resources import BUCKET_WRITABLE, OBJECT_WRITABLE, partial, patched, writable

if TYPE_CHECKING:
    from collections.abc import Callable


def status_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except StorageError as error:
        return error.status
    return None


@pytest.mark.parametrize("name", ["my-models", "a.b-c_d", "abc", "1" * 63])
def test_a_good_bucket_name_passes(name: str) -> None:
    assert check_bucket(name) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "A-bucket", "-ab", "ab-", "a..b", "goog-x", "my-google", "192.168.0.1", "a/b", "1" * 64, ".."]
)
def test_a_bad_bucket_name_is_refused(name: str) -> None:
    with pytest.raises(StorageError) as caught:
        check_bucket(name)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a\nb", "x" * 1025, "ü" * 513, "\ud800", ".well-known/acme-challenge/x"]
)
def test_a_bad_object_name_is_refused(name: str) -> None:
    with pytest.raises(StorageError) as caught:
        check_object(name)
    assert caught.value.status == 400


def test_a_gs_uri_splits_into_bucket_and_name() -> None:
    assert split_uri("gs://my-models/a/b") == ("my-models", "a/b")
    assert split_uri("gs://my-models") == ("my-models", "")
    with pytest.raises(StorageError):
        split_uri("s3://my-models/a")


@pytest.mark.parametrize(
    ("query", "generation", "metageneration", "read", "status"),
    [
        ({}, 5, 1, False, None),
        ({"ifGenerationMatch": "0"}, 0, 0, False, None),
        ({"ifGenerationMatch": "0"}, 5, 1, False, 412),
        ({"ifGenerationMatch": "5"}, 5, 1, False, None),
        ({"ifGenerationMatch": "4"}, 5, 1, True, 412),
        ({"ifGenerationNotMatch": "0"}, 0, 0, False, 412),
        ({"ifGenerationNotMatch": "5"}, 5, 1, False, 412),
        ({"ifGenerationNotMatch": "5"}, 5, 1, True, 304),
        ({"ifGenerationNotMatch": "4"}, 5, 1, True, None),
        ({"ifMetagenerationMatch": "2"}, 5, 1, False, 412),
        ({"ifMetagenerationNotMatch": "1"}, 5, 1, True, 304),
        ({"ifGenerationMatch": "5", "ifMetagenerationMatch": "2"}, 5, 1, False, 412),
        ({"ifGenerationMatch": "x"}, 5, 1, False, 400),
    ],
)
def test_preconditions_hold_or_give_the_status_of_the_api(
    query: dict[str, str], generation: int, metageneration: int, read: bool, status: int | None
) -> None:
    assert status_of(lambda: Preconditions.of(query).check(generation, metageneration, read=read)) == status


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-3", 10, (0, 4)),
        ("bytes=4-", 10, (4, 10)),
        ("bytes=4-99", 10, (4, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=0-1,3-4", 10, None),
        ("lines=0-1", 10, None),
    ],
)
def test_a_range_names_bytes(header: str | None, size: int, expected: tuple[int, int] | None) -> None:
    assert ranges.wanted(header, size) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=5-4", 10), ("bytes=0-", 0), ("bytes=-0", 10)])
def test_a_range_outside_the_object_is_416(header: str, size: int) -> None:
    with pytest.raises(StorageError) as caught:
        ranges.wanted(header, size)
    assert caught.value.status == 416


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 0-9/20", (0, 9, 20)),
        ("bytes 5-9/*", (5, 9, None)),
        ("bytes */20", (None, None, 20)),
        ("bytes */*", (None,) * 3),
    ],
)
def test_a_content_range_is_read(header: str, expected: tuple[int | None, ...]) -> None:
    chunk = ranges.chunk(header)
    assert (chunk.first, chunk.last, chunk.total) == expected


@pytest.mark.parametrize(
    "header",
    [
        "bytes 9-0/20",
        "bytes 0-20/20",
        "0-1/2",
        "bytes a-b/c",
        f"bytes 0-1/{'9' * 5000}",
        "bytes 0-\N{ARABIC-INDIC DIGIT ONE}/2",
    ],
)
def test_a_content_range_that_makes_no_sense_is_refused(header: str) -> None:
    with pytest.raises(StorageError):
        ranges.chunk(header)


@given(st.binary(max_size=200), st.sampled_from([b"\r\n", b"\n"]))
def test_any_content_survives_a_multipart_body(content: bytes, end: bytes) -> None:
    parts = [
        b"--=b=" + end + b"Content-Type: application/json" + end + end + b'{"name": "a"}' + end,
        b"--=b=" + end + b"content-type: image/png" + end + end + content + end,
        b"--=b=--" + end,
    ]
    sent, content_type, data = multipart.split(b"".join(parts), b"=b=")
    assert (sent, content_type) == ({"name": "a"}, "image/png")
    # A lone CR before a bare LF cannot be told from a CRLF line end.
    assert data == content or (end == b"\n" and content.endswith(b"\r") and data == content[:-1])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n\r\n{}\r\n--x--",
        b"junk",
        b"--x\r\n\r\n[]\r\n--x\r\n\r\n1\r\n--x--",
        b"--x\r\n\r\n{\r\n--x\r\n\r\n1\r\n--x--",
        b'--x\r\n\r\n{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}\r\n--x\r\n\r\n1\r\n--x--",
    ],
)
def test_a_malformed_multipart_body_is_refused(body: bytes) -> None:
    with pytest.raises(StorageError) as caught:
        multipart.split(body, b"x")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('multipart/related; boundary="a b"', b"a b"),
        ("multipart/related; boundary='=='", b"=="),
    ],
)
def test_a_boundary_is_read_however_it_is_quoted(header: str, expected: bytes) -> None:
    assert multipart.boundary(header) == expected


NAMES = ["a", "a/", "a/1", "a/b/2", "b/3", "c"]


@pytest.mark.parametrize(
    ("query", "items", "prefixes"),
    [
        ({}, NAMES, []),
        ({"delimiter": "/"}, ["a", "c"], ["a/", "b/"]),
        ({"delimiter": "/", "includeTrailingDelimiter": "true"}, ["a", "a/", "c"], ["a/", "b/"]),
        ({"delimiter": "/", "startOffset": "b"}, ["c"], ["b/"]),
        ({"startOffset": "a/1", "endOffset": "c"}, ["a/1", "a/b/2", "b/3"], []),
    ],
)
def test_a_listing_folds_and_cuts(query: dict[str, str], items: list[str], prefixes: list[str]) -> None:
    found = page(NAMES, query)
    assert (list(found.items), list(found.prefixes), found.token) == (items, prefixes, "")


@given(st.lists(st.text("ab/", min_size=1, max_size=5), unique=True, max_size=20), st.integers(1, 4), st.booleans())
def test_pages_of_any_size_give_everything_once_in_order(names: list[str], size: int, folded: bool) -> None:
    query = {"delimiter": "/"} if folded else {}
    whole = page(sorted(names), query)
    items: list[str] = []
    prefixes: list[str] = []
    token = ""
    while True:
        found = page(sorted(names), query | {"maxResults": str(size), "pageToken": token})
        assert 0 <= len(found.items) + len(found.prefixes) <= size
        items += found.items
        prefixes += found.prefixes
        token = found.token
        if not token:
            break
    assert (tuple(items), tuple(prefixes)) == (whole.items, whole.prefixes)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("kind", {"kind": "k"}),
        ("items(name),kind", {"kind": "k", "items": [{"name": "a"}, {"name": "b"}]}),
        ("items/name,items/size", {"items": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]}),
        ("items(name, acl/role)", {"items": [{"name": "a", "acl": {"role": "x"}}, {"name": "b"}]}),
        ("*", None),
        ("nothing", {}),
    ],
)
def test_a_partial_response_keeps_what_is_asked_for(mask: str, expected: dict[str, Any] | None) -> None:
    whole = {
        "kind": "k",
        "items": [{"name": "a", "size": "1", "acl": {"role": "x", "who": "y"}}, {"name": "b", "size": "2"}],
    }
    assert partial(whole, mask) == (whole if expected is None else expected)


@pytest.mark.parametrize("mask", ["a(", "a)", ",", "a(b", "(a)", "a//b", "a(" * 4000, "a/" * 4000 + "a"])
def test_a_mask_that_cannot_be_read_is_refused(mask: str) -> None:
    with pytest.raises(StorageError):
        partial({}, mask)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b'{"a": ' * 20_000 + b"1" + b"}" * 20_000, "is nested deeper than 100 levels"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "is nested deeper than 100 levels"),
    ],
)
def test_json_that_cannot_be_kept_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        json_object(data)
    assert str(caught.value) == message


def test_json_of_a_hundred_levels_is_read() -> None:
    assert list(json_object(b'{"a": ' + b"[" * 99 + b"]" * 99 + b"}")) == ["a"]


def test_a_merge_patch_of_a_string_by_a_map_is_refused() -> None:
    assert status_of(lambda: patched({"cacheControl": "x"}, {"cacheControl": {"a": "b"}}, OBJECT_WRITABLE)) == 400


def test_a_merge_patch_removes_with_null() -> None:
    body = {"contentType": "a/b", "metadata": {"x": "1", "y": "2"}}
    assert patched(body, {"contentType": None, "metadata": {"x": None, "z": "3"}}, OBJECT_WRITABLE) == {
        "metadata": {"y": "2", "z": "3"}
    }


@pytest.mark.parametrize(
    ("sent", "bucket", "status"),
    [
        ({"kmsKeyName": "k"}, False, 501),
        ({"temporaryHold": True}, False, 501),
        ({"encryption": {"defaultKmsKeyName": "k"}}, True, 501),
        ({"retentionPolicy": {"retentionPeriod": "60"}}, True, 501),
        ({"versioning": True}, True, 400),
        ({"cors": {}}, True, 400),
        ({"metadata": {"a": 1}}, False, 400),
        ({"contentType": 1}, False, 400),
        # Downloads carry them as headers.
        ({"contentType": "text/plain\r\nSet-Cookie: a"}, False, 400),
        ({"cacheControl": "no-store\n"}, False, 400),
        ({"contentEncoding": "\udcff"}, False, 400),
        ({"contentDisposition": "a" * 9000}, False, 400),
        ({"contentDisposition": 'attachment; filename="\N{LATIN SMALL LETTER A WITH DIAERESIS}.png"'}, False, None),
        ({"versioning": {"enabled": False}, "labels": {"a": "b"}, "selfLink": "ignored"}, True, None),
    ],
)
def test_a_feature_that_is_left_out_is_refused_by_name(sent: dict[str, Any], bucket: bool, status: int | None) -> None:
    kept = BUCKET_WRITABLE if bucket else OBJECT_WRITABLE
    assert status_of(lambda: writable(sent, kept, bucket=bucket)) == status


def test_settings_of_a_bucket_that_nothing_acts_on_are_told_back() -> None:
    sent = {
        "versioning": {"enabled": True},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"isLive": False}}]},
        "softDeletePolicy": {"retentionDurationSeconds": "604800"},
    }
    assert writable(sent, BUCKET_WRITABLE, bucket=True) == sent


def test_output_only_fields_are_ignored_as_in_the_api() -> None:
    assert writable({"labels": {"a": "b"}, "selfLink": "x"}, BUCKET_WRITABLE, bucket=True) == {"labels": {"a": "b"}}
