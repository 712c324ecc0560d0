"""What gates come to, alone and together."""

from __future__ import annotations

import json
import random
import time
from datetime import timedelta

import pytest

from tests.pace import slower
from tests.rollout.judge.samples import BOUNDS, drawn, gate, interval, minute, sample
from vertex_deploy.metrics.types import Histogram, VersionSample
from vertex_deploy.rollout.judge import Judge, Outcome, Verdict, replay

ERRORS = gate(metric="error_rate", max="0.5%", min_requests=200)
LATENCY = gate(metric="latency_p95", max="500ms", worse_than_stable="10%")
BOTH = (ERRORS, LATENCY)


def last(gates, *intervals, **options):
    return replay(gates, intervals, **options)[-1]


def minutes(seed, count=30, **options):
    rng = random.Random(seed)
    return [drawn(n, rng, **options) for n in range(1, count + 1)]


@pytest.mark.parametrize("seed", range(3))
def test_an_equal_canary_passes(seed):
    assert last(BOTH, *minutes(seed)).outcome is Outcome.PASS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("errors", {"rates": (0.002, 0.05)}),
        ("latency", {"medians": (200.0, 280.0)}),
        ("both over the limit, the canary much more", {"rates": (0.02, 0.2)}),
    ],
)
def test_a_worse_canary_fails_and_says_by_what(seed, name, options):
    verdict = last(BOTH, *minutes(seed, **options))
    assert verdict.outcome is Outcome.FAIL, name
    failed = [reading for reading in verdict.readings if reading.outcome is Outcome.FAIL]
    assert verdict.explanation == failed[0].explanation
    assert all(reading.evidence_needed == 80 for reading in failed), "four processes share an alpha of 5%"


@pytest.mark.parametrize("seed", range(3))
def test_an_incident_on_both_versions_holds_and_does_not_fail(seed):
    verdict = last(BOTH, *minutes(seed, rates=(0.05, 0.05)))
    assert verdict.outcome is Outcome.CONTINUE
    assert "so is stable's" in verdict.explanation


def test_an_incident_on_both_versions_fails_where_the_gate_says_so():
    strict = gate(metric="error_rate", max="0.5%", if_stable_too="fail")
    assert last((strict,), *minutes(1, rates=(0.05, 0.05))).outcome is Outcome.FAIL


def test_an_incident_on_stable_alone_is_not_blamed_on_the_canary():
    assert last(BOTH, *minutes(1, rates=(0.05, 0.002))).outcome is Outcome.PASS


def test_little_traffic_does_not_keep_a_slow_canary_from_failing():
    slow, fast = [0] * (len(BOUNDS) + 1), [0] * (len(BOUNDS) + 1)
    slow[-1], fast[5] = 2, 3
    trickle = [
        interval(n, sample(3, 0, Histogram(BOUNDS, tuple(fast))), sample(2, 0, Histogram(BOUNDS, tuple(slow))))
        for n in range(1, 31)
    ]
    assert last((gate(metric="latency_p95", max="500ms"),), *trickle).outcome is Outcome.FAIL


def test_no_verdict_rests_on_one_bad_request():
    assert last((ERRORS,), interval(1, sample(540), sample(60, 1))).outcome is Outcome.INSUFFICIENT


def test_within_the_limit_but_too_few_to_tell_is_insufficient():
    quick = gate(metric="error_rate", max="0.5%", min_requests=50)
    verdict = last((quick,), interval(1, sample(540), sample(60)))
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert "rule out 1.97% of errors" in verdict.explanation


def test_minimum_of_requests_is_of_the_step():
    judge = Judge((ERRORS,))
    judge.begin_step("10%", minute(0))
    for n in range(1, 6):
        verdict = judge.update(interval(n, sample(5400, 5), sample(600, 0)))
    assert verdict.outcome is Outcome.PASS
    judge.begin_step("50%", minute(5))
    assert judge.look().outcome is Outcome.INSUFFICIENT
    verdict = judge.update(interval(6, sample(100), sample(100)))
    assert "answered 100 requests in this step, 200 are needed" in verdict.explanation
    assert verdict.step == "50%"


def test_evidence_goes_on_over_steps():
    judge = Judge((gate(metric="error_rate", worse_than_stable="10%"),))
    judge.begin_step("10%", minute(0))
    before = judge.update(interval(1, sample(5400, 5), sample(600, 3))).readings[0].evidence
    judge.begin_step("50%", minute(1))
    after = judge.update(interval(2, sample(0), sample(0))).readings[0].evidence
    assert after == pytest.approx(before)
    assert before > 1


def test_a_fail_is_final():
    judge = Judge((ERRORS,))
    judge.update(interval(1, sample(5400, 5), sample(600, 60)))
    for n in range(2, 60):
        verdict = judge.update(interval(n, sample(5400, 5), sample(600, 0)))
    assert verdict.outcome is Outcome.FAIL


def test_bake_judges_absolute_limits_alone():
    judge = Judge(BOTH)
    judge.begin_step("10%", minute(0))
    judge.begin_bake(minute(1))
    flat = Histogram(BOUNDS, (0, 6000, *[0] * (len(BOUNDS) - 1)))
    verdict = judge.update(interval(2, None, sample(6000, 3, flat)))
    assert verdict.outcome is Outcome.PASS
    assert {reading.kind for reading in verdict.readings} == {"absolute"}
    assert judge.update(interval(3, None, sample(6000, 600, flat))).outcome is Outcome.FAIL


def test_no_gates_is_never_a_pass():
    assert last((), interval(1, sample(5400), sample(600))).outcome is Outcome.INSUFFICIENT


def test_dry_run_reports_and_decides_nothing():
    dry = gate(metric="error_rate", max="0.1%", dry_run=True)
    verdict = last((ERRORS, dry), *[interval(n, sample(5400, 5), sample(600, 2)) for n in range(1, 61)])
    assert [reading.outcome for reading in verdict.readings] == [Outcome.PASS, Outcome.FAIL]
    assert verdict.outcome is Outcome.PASS
    assert verdict.readings[0].evidence_needed == 40, "a dry run takes nothing of the false-alarm budget"
    assert last((dry,), interval(1, sample(5400), sample(600))).outcome is Outcome.INSUFFICIENT


def test_gates_without_a_veto_fail_together_only():
    def soft(maximum, weight):
        return gate(metric="error_rate", max=maximum, critical=False, weight=weight)

    minute_of = [interval(n, sample(5400, 5), sample(600, 12)) for n in range(1, 6)]
    light = last((soft("0.5%", 1), soft("10%", 2)), *minute_of)
    assert light.outcome is Outcome.PASS
    assert "without a veto" in light.explanation
    heavy = last((soft("0.5%", 3), soft("10%", 2)), *minute_of)
    assert heavy.outcome is Outcome.FAIL
    assert "3 of 5" in heavy.explanation


def test_weight_divides_the_false_alarm_budget():
    needed = [
        reading.evidence_needed
        for reading in Judge(
            (
                gate(metric="error_rate", worse_than_stable="1%", weight=3),
                gate(metric="latency_p50", worse_than_stable="1%"),
            )
        )
        .look()
        .readings
    ]
    assert needed == pytest.approx([4 / 3 / 0.05, 4 / 0.05])
    assert sum(1 / n for n in needed) == pytest.approx(0.05)


@pytest.mark.parametrize(("policy", "outcome"), [("wait", Outcome.INSUFFICIENT), ("fail", Outcome.FAIL)])
def test_silence_follows_the_policy_and_never_passes(policy, outcome):
    judge = Judge((gate(metric="error_rate", max="0.5%", no_data=policy, no_data_after="3m"),))
    judge.begin_step("10%", minute(0))
    for n in range(1, 5):
        verdict = judge.update(interval(n, sample(5400, 5), sample(600)))
    assert verdict.outcome is Outcome.PASS
    assert judge.look(minute(6)).outcome is Outcome.PASS
    assert judge.look(minute(8)).outcome is outcome


def test_silence_from_the_start_follows_the_policy():
    judge = Judge((gate(metric="error_rate", max="0.5%", no_data="fail", no_data_after="3m"),))
    judge.begin_step("10%", minute(0))
    assert judge.look(minute(2)).outcome is Outcome.INSUFFICIENT
    assert judge.look(minute(4)).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [("hold", Outcome.INSUFFICIENT), ("ignore", Outcome.PASS), ("fail", Outcome.FAIL)],
)
def test_inconclusive_gates_have_a_policy_for_the_end_of_the_hold(policy, outcome):
    gates = (ERRORS, gate(metric="latency_p95", max="500ms", inconclusive=policy))
    verdict = last(gates, *[interval(n, sample(5400, 5), sample(600)) for n in range(1, 4)])
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert verdict.if_hold_ended is outcome


def test_the_end_of_a_hold_is_explained_by_a_gate_that_counts_there():
    ignored = gate(metric="latency_p95", max="500ms", inconclusive="ignore")
    counted = gate(metric="error_rate", max="0.5%", min_requests=1_000_000)
    verdict = last((ignored, counted), *[interval(n, sample(5400, 5), sample(600)) for n in range(1, 4)])
    assert verdict.explanation.startswith("latency_p95")
    assert (verdict.if_hold_ended, verdict.if_hold_ended_why[:10]) == (Outcome.INSUFFICIENT, "error_rate")
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_an_improvement_must_be_shown():
    better = (gate(metric="latency_p95", better_than_stable="10%"),)
    assert last(better, *minutes(1, medians=(200.0, 120.0))).outcome is Outcome.PASS
    assert last(better, *minutes(1, medians=(200.0, 200.0))).outcome is Outcome.FAIL


def rating(value):
    return sample(600, 0, rating=value)


@pytest.mark.parametrize(("canary", "outcome"), [(4.6, Outcome.PASS), (3.6, Outcome.FAIL), (4.2, Outcome.CONTINUE)])
def test_a_custom_metric_is_a_mean_with_evidence_both_ways(canary, outcome):
    gates = (
        gate(
            metric="rating", better="higher", better_than_stable="5%", range=[1, 5], query={"prometheus": "avg(rating)"}
        ),
    )
    rng = random.Random(3)
    history = [
        interval(n, rating(4.0 + rng.gauss(0, 0.05)), rating(canary - 0.015 + rng.gauss(0, 0.05)))
        for n in range(1, 200)
    ]
    assert last(gates, *history).outcome is outcome


def test_a_custom_metric_has_a_floor_and_a_ceiling():
    gates = (gate(metric="tokens", min=10, max=20, range=[0, 30], query={"prometheus": "tokens"}),)
    for value, outcomes in ((15, ["pass", "pass"]), (25, ["fail", "pass"]), (5, ["pass", "fail"])):
        history = [interval(n, None, sample(600, 0, tokens=value)) for n in range(1, 60)]
        assert [reading.outcome for reading in last(gates, *history).readings] == outcomes


def test_a_custom_metric_that_is_absent_is_not_measured():
    gates = (gate(metric="tokens", max=20, range=[0, 30], query={"prometheus": "tokens"}),)
    verdict = last(gates, *[interval(n, None, sample(600)) for n in range(1, 60)])
    assert verdict.outcome is Outcome.INSUFFICIENT


def test_values_outside_the_range_are_clipped_and_reported():
    gates = (gate(metric="tokens", max=20, range=[0, 30], query={"prometheus": "tokens"}),)
    verdict = last(gates, interval(1, None, sample(600, 0, tokens=9000)))
    assert "over 1 interval;" in verdict.readings[0].explanation
    assert "1 value was outside its range and clipped" in verdict.readings[0].explanation
    assert verdict.outcome is not Outcome.FAIL


def test_a_verdict_survives_json():
    for verdict in (last(BOTH, *minutes(1, 3)), Judge(BOTH).look()):
        assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_alpha_is_a_probability():
    with pytest.raises(ValueError, match="between 0 and 1"):
        Judge(BOTH, alpha=5)


def test_more_errors_never_lessen_the_evidence():
    values = [
        last((ERRORS,), interval(1, sample(5400, 5), sample(600, errors))).readings[0].evidence for errors in range(30)
    ]
    assert values[1:] == sorted(values[1:])


@pytest.mark.slow
def test_six_thousand_requests_a_minute_take_less_than_five_milliseconds():
    rng = random.Random(1)
    half = [drawn(n, rng, requests=(3000, 3000), rates=(0.5, 0.5)) for n in range(1, 11)]
    judge = Judge((ERRORS, LATENCY, gate(metric="error_rate", worse_than_stable="10%")))
    spent, pace = [], slower(time.process_time)
    for item in half:
        begin = time.process_time()
        judge.update(item)
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.005 * max(pace, slower(time.process_time))


def test_time_zone_of_a_clock_does_not_matter():
    judge = Judge((ERRORS,))
    judge.begin_step("10%", minute(0))
    judge.update(interval(1, sample(5400, 5), sample(600)))
    assert judge.look(minute(1) + timedelta(seconds=30)).at == minute(1.5)


def refused(rejected, requests=60):
    return VersionSample(requests=requests, errors=0, rejected=rejected)


REFUSALS = gate(metric="rejection_rate", worse_than_stable="50%", min_requests=20)


def test_a_canary_that_rejects_everything_fails_though_it_has_no_errors():
    found = last((REFUSALS,), *(interval(m, refused(0, 540), refused(60)) for m in range(3)))
    assert found.outcome is Outcome.FAIL
    assert "rejection_rate of the canary is 100%, stable's 0%" in found.explanation


def test_clients_that_send_nonsense_to_both_versions_are_not_held_against_the_canary():
    assert last((REFUSALS,), *(interval(m, refused(54, 540), refused(6)) for m in range(60))).outcome is Outcome.PASS


def test_a_rejection_rate_has_a_ceiling_as_an_error_rate_has():
    limit = gate(metric="rejection_rate", max="1%", min_requests=20)
    assert last((limit,), *(interval(m, refused(0, 540), refused(6)) for m in range(20))).outcome is Outcome.FAIL
    assert last((limit,), *(interval(m, refused(0, 540), refused(0)) for m in range(20))).outcome is Outcome.PASS


def test_rejections_are_no_errors_and_errors_no_rejections():
    gates = (gate(metric="error_rate", max="1%", min_requests=20),)
    assert last(gates, *(interval(m, refused(0, 540), refused(60)) for m in range(20))).outcome is Outcome.PASS
    failing = VersionSample(requests=60, errors=60)
    assert last((REFUSALS,), *(interval(m, refused(0, 540), failing) for m in range(20))).outcome is Outcome.PASS


def test_more_rejections_and_errors_than_requests_are_a_reset_counter():
    torn = VersionSample(requests=60, errors=31, rejected=30)
    assert last((REFUSALS,), interval(0, refused(0, 540), torn)).readings[0].samples == 0


def narrow(milliseconds, requests, growth=1.2):
    """Every request takes as long as the others: all in one bucket."""
    bounds = tuple(growth**i for i in range(1, 60))
    counts = [0] * (len(bounds) + 1)
    counts[next(i for i, bound in enumerate(bounds) if milliseconds <= bound)] = requests
    return sample(requests, 0, Histogram(bounds, tuple(counts)))


def paced(margin, *canary, growth=1.2):
    gates = (gate(metric="latency_p95", **margin),)
    both = [(narrow(95, 540, growth), narrow(slow, 60, growth)) for slow in canary]
    return last(gates, *(interval(n, *pair) for n, pair in enumerate(both, 1)))


def test_latencies_that_are_all_alike_pass_where_the_bucket_is_narrower_than_the_margin():
    assert paced({"worse_than_stable": "25%"}, *[95] * 10).outcome is Outcome.PASS
    wide = paced({"worse_than_stable": "25%"}, *[95] * 10, growth=1.4)
    assert wide.outcome is Outcome.INSUFFICIENT
    assert "one bucket, too wide to tell by; give the gate a max" in wide.explanation


def test_a_canary_that_turns_slow_late_fails_though_no_bound_splits_stables_latencies():
    assert paced({"worse_than_stable": "25%"}, *[95] * 10, 400, 400).outcome is Outcome.FAIL
    assert paced({"evidence": {}}, *[95] * 10, 400, 400).outcome is Outcome.FAIL


def test_an_improvement_to_below_stables_only_bucket_is_shown():
    assert paced({"better_than_stable": "10%"}, *[40] * 10).outcome is Outcome.PASS
    assert paced({"better_than_stable": "10%"}, *[95] * 10).outcome is Outcome.INSUFFICIENT


def test_a_proof_by_earlier_minutes_says_so_where_this_steps_are_within_the_limit():
    judge = Judge((gate(metric="error_rate", max="1%"),))
    judge.begin_step("10%", minute(0))
    assert "; proved over the limit" in judge.update(interval(1, sample(540), sample(60, 30))).explanation
    judge.begin_step("50%", minute(1))
    said = judge.update(interval(2, sample(300), sample(300))).explanation
    assert "is 0% over 300 requests; all minutes of the rollout together prove it over the limit of 1%" in said


def test_an_improvement_says_whether_it_is_shown():
    better = (gate(metric="latency_p95", better_than_stable="10%"),)
    assert last(better, *minutes(1, medians=(200.0, 120.0))).readings[0].explanation.endswith("shown to be met")
    assert "too little to show that improvement" in last(better, *minutes(1, 2, medians=(200.0, 150.0))).explanation


@pytest.mark.parametrize("bounds", [(), (0.0,), (-5.0, 0.0), (0.0, 100.0, 200.0)])
@pytest.mark.parametrize("margin", [{"worse_than_stable": "10%"}, {"better_than_stable": "10%"}, {"evidence": {}}])
def test_buckets_that_tell_nothing_come_to_no_conclusion(bounds, margin):
    gates = (gate(metric="latency_p95", **margin),)
    for filled in range(len(bounds) + 1):
        counts = tuple(100 * (n == filled) for n in range(len(bounds) + 1))
        alike = sample(100, 0, Histogram(bounds, counts))
        verdict = last(gates, *(interval(n, alike, alike) for n in range(1, 10)))
        assert verdict.outcome in {Outcome.INSUFFICIENT, Outcome.CONTINUE}


def test_a_pass_above_the_margin_says_that_its_figure_lies_within_a_bucket():
    def rough(*counts):
        return sample(sum(counts), 0, Histogram((50.0, 100.0, 200.0, 400.0), counts))

    both = [interval(n, rough(100, 500, 250, 40, 10), rough(10, 50, 30, 8, 2)) for n in (1, 2)]
    reading = last((gate(metric="latency_p95", worse_than_stable="10%"),), *both).readings[0]
    assert (reading.outcome, reading.value > reading.threshold) == (Outcome.PASS, True)
    assert "that figure lies within a bucket" in reading.explanation
