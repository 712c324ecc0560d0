from __future__ import annotations

from random import Random

import pytest

from tests.local.data.support import make_plan
from vertex_deploy.errors import UsageError
from vertex_deploy.local.data.faults import NO_EFFECT, Effect, Fault, FaultTable, decide


@pytest.mark.parametrize(
    "target", ["7", "lite0", "lite0@3", "Lite 0", "Lite 0@3", "projects/demo/locations/us-central1/models/lite0@3"]
)
def test_a_target_is_a_deployed_model_id_or_a_model_with_or_without_version(target):
    assert Fault(target=target, fail_share=1).matches(make_plan())


@pytest.mark.parametrize("target", ["8", "lite1", "lite0@2", "7@3"])
def test_other_deployed_models_are_left_alone(target):
    assert not Fault(target=target, fail_share=1).matches(make_plan())


def test_a_share_of_the_requests_fails():
    random, fault = Random(1), Fault(target="7", fail_share=0.2, code=503)
    codes = [decide((fault,), random).code for _ in range(5_000)]
    assert set(codes) == {None, 503}
    assert 850 < codes.count(503) < 1150


def test_a_delay_is_fixed_or_drawn_between_two_bounds():
    fixed = Fault(target="7", delay_share=1, delay_ms=300)
    assert decide((fixed,), Random(1)) == Effect(delay=0.3)
    drawn = Fault(target="7", delay_share=1, delay_ms=100, delay_up_to_ms=200)
    delays = [decide((drawn,), Random(seed)).delay for seed in range(200)]
    assert 0.1 <= min(delays) < 0.11
    assert 0.19 < max(delays) <= 0.2


def test_of_several_faults_the_longest_delay_and_the_first_failure_count():
    faults = (
        Fault(target="7", fail_share=1, code=500, delay_share=1, delay_ms=10),
        Fault(target="lite0", fail_share=1, code=429, delay_share=1, delay_ms=20),
    )
    assert decide(faults, Random(1)) == Effect(delay=0.02, code=500)


def test_no_fault_is_no_effect():
    assert decide((), Random(1)) is NO_EFFECT


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": ""}, "target is empty"),
        ({"fail_share": 1.1}, "between 0 and 1"),
        ({"delay_share": -0.1, "delay_ms": 1}, "between 0 and 1"),
        ({"fail_share": 1, "code": 200}, "between 400 and 599"),
        ({"delay_share": 1, "delay_ms": -1}, "cannot be negative"),
        ({}, "does nothing"),
        ({"delay_ms": 5}, "does nothing"),
    ],
)
def test_faults_that_make_no_sense_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Fault(**{"target": "7", **values})


def test_a_target_has_one_fault_and_clearing_tells_how_many_went():
    table = FaultTable()
    table.put(Fault(target="7", fail_share=1))
    table.put(Fault(target="7", fail_share=0.5))
    table.put(Fault(target="lite1", fail_share=0.5))
    assert [fault.fail_share for fault in table.matching(make_plan())] == [0.5]
    assert table.clear("8") == 0
    assert table.clear("7") == 1
    assert table.clear() == 1
    assert table.all() == ()
