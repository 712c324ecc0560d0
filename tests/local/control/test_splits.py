import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.control import splits
from vertex_deploy.local.seams import ApiError

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("current", "requested", "after"),
    [
        ({}, {}, {}),
        ({"1": 100}, {}, {"1": 100}),
        ({}, {"0": 100}, {"9": 100}),
        ({"1": 100}, {"1": 90, "0": 10}, {"1": 90, "9": 10}),
        ({"1": 100}, {"1": 90, "9": 10}, {"1": 90, "9": 10}),
        ({"1": 100}, {"1": 100, "0": 0}, {"1": 100, "9": 0}),
        ({"1": 50, "2": 50}, {"0": 100}, {"9": 100}),
    ],
)
def test_deploy_overwrites_the_split_or_leaves_it(current, requested, after):
    assert splits.after_deploy(current, requested, "9", ["1", "2"]) == after


@pytest.mark.parametrize(
    "requested",
    [{"0": 99}, {"0": 101}, {"0": 50, "3": 50}, {"1": -10, "0": 110}, {"0": 50, "9": 50}],
    ids=["below 100", "above 100", "unknown id", "negative", "named twice"],
)
def test_deploy_refuses_a_split_that_cannot_be_followed(requested):
    with pytest.raises(ApiError) as found:
        splits.after_deploy({"1": 100}, requested, "9", ["1"])
    assert found.value.code is INVALID


@pytest.mark.parametrize(
    ("current", "requested", "remaining", "after"),
    [
        ({"1": 100}, {}, [], {}),
        ({"1": 100, "2": 0}, {}, ["1"], {"1": 100}),
        ({"1": 100}, {}, ["1"], {"1": 100}),
        ({"1": 50, "2": 50}, {"1": 100}, ["1"], {"1": 100}),
        ({"1": 50, "2": 50}, {"1": 100, "2": 0}, ["1"], {"1": 100}),
    ],
)
def test_undeploy_follows_the_reference(current, requested, remaining, after):
    gone = "2" if remaining else "1"
    assert splits.after_undeploy(current, requested, gone, remaining) == after


def test_a_model_that_would_keep_traffic_cannot_be_undeployed():
    with pytest.raises(ApiError) as found:
        splits.after_undeploy({"1": 90, "2": 10}, {}, "2", ["1"])
    assert found.value.code is PRECONDITION
    assert "10%" in found.value.message


@given(st.dictionaries(st.sampled_from("123456"), st.integers(-10, 110), max_size=6))
def test_a_split_that_passes_sums_to_100_or_is_empty(split):
    try:
        splits.check(split, set("12345"))
    except ApiError:
        assert split
    else:
        assert sum(split.values()) in ({0} if not split else {100})
        assert "6" not in split
