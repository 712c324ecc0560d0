from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from vertex_deploy.errors import UsageError
from vertex_deploy.release import build_release, read_pins
from vertex_deploy.release.release import changed_fields, spec_hash
from vertex_deploy.spec.models import Spec

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, Any] = {
    "name": "lite0",
    "gcp": {"project": "p", "region": "europe-west4"},
    "model": {"artifact": "gs://b/m/1/"},
    "container": {"image": "torch-aoti", "env": {"A": "1"}},
    "target": {"type": "vertex", "machine": {"type": "n1-standard-4"}},
}


def spec(**changes: Any) -> Spec:
    return Spec.model_validate({**BASE, **changes})


def test_a_folder_name_is_an_image_of_the_projects_own_registry_in_the_models_region() -> None:
    assert build_release(spec()).image == "europe-west4-docker.pkg.dev/p/vertex-deploy/torch-aoti"


def test_a_pinned_digest_wins() -> None:
    image = "europe-west4-docker.pkg.dev/p/r/i@sha256:" + "0" * 64
    release = build_release(spec(), pins={"image": image, "commit": "abc"})
    assert (release.image, release.digest, release.commit) == (image, "sha256:" + "0" * 64, "abc")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"artifact": "gs://b/m/2"}},
        {"container": {"image": "torch-eager", "env": {"A": "1"}}},
        {"container": {"image": "torch-aoti", "env": {"A": "2"}}},
        {"container": {"image": "torch-aoti", "env": {"A": "1"}, "port": 9000}},
        {"container": {"image": "torch-aoti", "env": {"A": "1"}, "args": ["-v"]}},
    ],
)
def test_what_changes_the_versions_behaviour_changes_the_hash(changes: dict[str, Any]) -> None:
    assert build_release(spec(**changes)).hash != build_release(spec()).hash


@pytest.mark.parametrize(
    "changes",
    [
        {"rollout": {"keep_stable": "1h"}},
        {"target": {"type": "vertex", "machine": {"type": "n1-standard-8"}}},
        {"model": {"artifact": "gs://b/m/1"}},
    ],
)
def test_what_only_changes_how_it_is_deployed_does_not(changes: dict[str, Any]) -> None:
    assert build_release(spec(**changes), commit="other").hash == build_release(spec()).hash


def test_a_changed_spec_is_told_apart_and_the_fields_are_named() -> None:
    one, two = spec(), spec(rollout={"keep_stable": "1h"}, container={"image": "x", "env": {}})
    assert spec_hash(one) != spec_hash(two)
    names = changed_fields(one.model_dump(mode="json"), two.model_dump(mode="json"))
    assert names == ["container.image", "container.env.A", "rollout.keep_stable"]


def test_what_only_pulumi_reads_does_not_make_another_rollout() -> None:
    one, two = spec(), spec(infra={"protect": True, "labels": {"team": "vision"}})
    assert one.infra != two.infra
    assert spec_hash(one) == spec_hash(two)
    assert changed_fields(one.model_dump(mode="json"), two.model_dump(mode="json")) == []
    assert changed_fields({"infra": 1}, {"infra": 2}, "container.env") == ["container.env.infra"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not an object of strings"),
        ('{"imag": "x"}', "unknown key 'imag'"),
        ('{"image": 1}', "not an"),
    ],
)
def test_a_release_file_that_is_wrong_is_refused_with_the_reason(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "release.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=problem):
        read_pins(path)
    path.write_text(json.dumps({"image": "x"}))
    assert read_pins(path) == {"image": "x"}
