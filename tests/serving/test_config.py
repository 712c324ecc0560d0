from __future__ import annotations

from pathlib import Path

import pytest

from serving import config
from serving.errors import ConfigError

BASE = {"AIP_STORAGE_URI": "gs://b/m"}


def test_what_vertex_sets_is_obeyed():
    got = config.load(
        BASE
        | {
            "AIP_HTTP_PORT": "9001",
            "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
            "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
            "AIP_MODE": "PREDICTION",
            "AIP_ACCELERATOR_TYPE": "",
        }
    )
    assert (got.port, got.health_route, got.predict_route) == (
        9001,
        "/v1/endpoints/1/deployedModels/2",
        "/v1/endpoints/1/deployedModels/2:predict",
    )


def test_it_listens_on_loopback_unless_told_otherwise():
    assert config.load(BASE).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AIP_HTTP_PORT", "http", "not a whole number"),
        ("AIP_HTTP_PORT", "70000", "not between 0 and 65535"),
        ("AIP_HEALTH_ROUTE", "health", "begins with /"),
        ("AIP_PREDICT_ROUTE", "/p?x=1", "no query"),
        ("AIP_MODE", "TRAINING", "only PREDICTION"),
        ("SERVING_MAX_DELAY_MS", "nan", "not between"),
        ("SERVING_QUEUE", "0", "not between"),
        ("SERVING_QUEUE", "5", "larger than SERVING_QUEUE"),
        ("AIP_STORAGE_URI", "", "is empty"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name, value, says):
    with pytest.raises(ConfigError, match=name) as error:
        config.load(BASE | {name: value})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(ConfigError, match=r"AIP_HTTP_PORT.*SERVING_THREADS"):
        config.load(BASE | {"AIP_HTTP_PORT": "x", "SERVING_THREADS": "x"})


def test_an_unknown_knob_is_a_warning_with_the_nearest_name():
    assert config.unknown({"SERVING_MAX_BATCHES": "4"}) == [
        "SERVING_MAX_BATCHES means nothing here; did you mean SERVING_MAX_BATCH?"
    ]


def test_the_guide_has_every_variable_with_its_default():
    guide = (Path(config.__file__).parents[1] / "docs/guides/serving.md").read_text()
    for name, default, text in config.knobs():
        cell = f"`{default}` " if default else ""
        assert f"| `{name}` | {cell}| {text} |" in guide, name


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", None),
        ("200000 100000\n", 2.0),
        ("150000 100000", 1.5),
        ("-1 100000", None),
        ("", None),
        ("100000", None),
        ("1 0", None),
    ],
)
def test_the_cpu_quota_is_read_as_the_kernel_writes_it(text, cores):
    assert config.quota_cores(text) == cores


@pytest.mark.parametrize(
    ("allowed", "quota", "threads"), [(8, None, 8), (8, 2.0, 2), (8, 3.9, 3), (8, 0.5, 1), (2, 16.0, 2)]
)
def test_threads_are_whole_cores_of_the_quota_and_never_more_than_may_be_used(allowed, quota, threads):
    assert config.cores_for(allowed, quota) == threads
