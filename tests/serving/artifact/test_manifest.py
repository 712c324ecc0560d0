from __future__ import annotations

import json

import pytest

from serving.artifact.manifest import parse
from serving.errors import ArtifactError
from tests.serving.fakes import SHA, manifest


def text(**changes):
    value = json.loads(manifest().model_dump_json())
    for path, new in changes.items():
        *parents, last = path.split("__")
        part = value
        for p in parents:
            part = part[p]
        part[last] = new
    return json.dumps(value).encode()


def test_what_was_written_is_read_back():
    assert parse(text(), "m") == manifest()


def test_keys_of_a_newer_build_are_tolerated():
    assert parse(text(signed_by="somebody"), "m") == manifest()


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../b", "a//b", ".hidden", "a\\b", "", "manifest.json", "a/", "a\n"]
)
def test_a_file_name_that_could_escape_is_refused(name):
    with pytest.raises(ArtifactError, match="plain relative file name"):
        parse(text(files={name: {"sha256": SHA, "bytes": 1}}), "m")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "format"),
        ({"engine": "pickle"}, "engine"),
        ({"labels": "none.txt"}, "labels names 'none.txt'"),
        ({"input__shape": [3, 9, 9]}, "does not give an input"),
        ({"input__shape": [1, 8, 8]}, r"\[3, height, width\]"),
        ({"input__dtype": "float16"}, "input.dtype"),
        ({"preprocess__std": [0, 1, 1]}, "preprocess.std.0"),
        ({"preprocess__crop": 11}, "larger than resize"),
        ({"max_batch": 0}, "max_batch"),
    ],
)
def test_what_cannot_be_run_is_refused_by_key(changes, says):
    with pytest.raises(ArtifactError, match=says) as error:
        parse(text(**changes), "gs://b/m/manifest.json")
    assert str(error.value).startswith("gs://b/m/manifest.json: ")


def test_what_is_no_json_is_refused():
    with pytest.raises(ArtifactError, match="JSON"):
        parse(b"{", "m")
