from __future__ import annotations

import pytest

from tests.spec.examples import problems, swap

LATENCY = "    - {metric: latency_p95, max: 500ms, worse_than_stable: 10%}\n"
URL = "monitoring: {prometheus: {url: https://prometheus.example.com}}\n"
GOOD = """x{v="{deployed_model_id}"}"""


def with_gates(*queries: str, monitoring: str = URL) -> str:
    """The good spec with a gate on ``cost`` a query, and Prometheus somewhere."""
    gates = "".join(f"    - {{metric: cost, max: 3, range: [0, 5], query: {query}}}\n" for query in queries)
    return swap((LATENCY, LATENCY + gates), ("environments:", monitoring + "environments:"))


@pytest.mark.parametrize(
    ("queries", "monitoring", "expected"),
    [
        ([f"{{prometheus: '{GOOD}'}}"], "", "deploy.yaml:18: rollout.gates[2].query.prometheus: nothing says where"),
        (["{prometheus: 'avg(x)'}"], URL, "rollout.gates[2].query.prometheus: the query is the same for both versions"),
        (
            [f"{{prometheus: 'rate({GOOD}[5m])'}}"],
            URL,
            "a window of 300s would weigh the same minutes more than once; write [{interval}]: an interval is 60s",
        ),
        (
            [f"{{prometheus: '{GOOD}'}}", '{cloud_monitoring: \'metric.type="m" AND resource.type="global"\'}'],
            URL,
            "deploy.yaml:19: rollout.gates[3].query: cost has another query in an earlier gate; give each",
        ),
    ],
)
def test_a_query_that_cannot_be_judged_is_a_problem_with_its_line(
    queries: list[str], monitoring: str, expected: str
) -> None:
    (found,) = problems(with_gates(*queries, monitoring=monitoring))
    assert expected in found


@pytest.mark.parametrize(
    "queries",
    [
        [f"{{prometheus: '{GOOD}'}}"],
        [f"{{prometheus: 'rate({GOOD}[1m])'}}"],
        [f"{{prometheus: 'rate({GOOD}[{{interval}}])'}}"] * 2,
        ['{cloud_monitoring: \'metric.type="m" AND resource.type="global"\', values: distribution}'],
    ],
)
def test_a_query_that_says_its_version_and_interval_is_fine(queries: list[str]) -> None:
    assert problems(with_gates(*queries)) == []


@pytest.mark.parametrize(
    ("prometheus", "why"),
    [
        ("{url: http://prometheus.example.com}", "would be sent in clear"),
        ("{url: https://me:word@prometheus.example.com}", "no credentials"),
        ("{url: https://prometheus.example.com/api/v1}", "more than the base; write what stands before /api/v1"),
        ('{url: "https://prometheus.example.com/?x=1"}', "more than the base"),
        ("{url: https://prometheus.example.com, token: hunter2}", "not a reference to a secret"),
        ("{token: env:PROM}", "url"),
    ],
)
def test_the_address_is_a_base_in_https_and_the_token_a_reference(prometheus: str, why: str) -> None:
    (found,) = problems(with_gates(monitoring=f"monitoring: {{prometheus: {prometheus}}}\n"))
    assert why in found
    assert "hunter2" not in found


def with_filter(text: str, gate: str = "max: 3", rollout: str = "") -> str:
    """The good spec with a gate whose custom metric has this filter."""
    added = f"    - {{metric: cost, {gate}, range: [0, 5], query: {{cloud_monitoring: '{text}'}}}}\n"
    return swap((LATENCY, LATENCY + added), ("  on_failure: rollback\n", "  on_failure: rollback\n" + rollout))


WHERE = "deploy.yaml:18: rollout.gates[2].query.cloud_monitoring: "
NO_RESOURCE = (
    WHERE + "an alert policy is made of this limit, and its filter must name a resource type; add AND resource.type"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('metric.type="m"', NO_RESOURCE),
        ('metric.type="m" AND metric.labels.x="resource.type=global"', NO_RESOURCE),
        ('resource.type="global" AND metric.labels.x="metric.type=m"', WHERE + "the filter names no metric"),
        ("rating AND resource.type=global", WHERE + "the filter names no metric; write metric.type="),
    ],
)
def test_a_filter_that_the_api_would_refuse_is_a_problem_before_any_policy_is_made(text: str, expected: str) -> None:
    (found,) = problems(with_filter(text))
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("gate", "rollout"),
    [
        ("worse_than_stable: 10%", ""),
        ("max: 3, critical: false", ""),
        ("max: 3, dry_run: true", ""),
        ("max: 3", "  alerts: {from_gates: false}\n"),
    ],
)
def test_a_gate_of_which_no_policy_is_made_need_not_name_a_resource(gate: str, rollout: str) -> None:
    assert problems(with_filter('metric.type="m"', gate, rollout)) == []


def test_a_policy_that_stays_names_its_resource_too() -> None:
    alert = "{metric: cost, max: 3, range: [0, 5], query: {cloud_monitoring: 'metric.type=\"m\"FILTER'}}"
    monitoring = f"monitoring: {{alerts: [{alert}]}}\nenvironments:"
    (found,) = problems(swap(("environments:", monitoring.replace("FILTER", ""))))
    assert "monitoring.alerts[0].query.cloud_monitoring: an alert policy is made of this limit" in found
    assert "from_gates" not in found
    of_a_version = ' AND metric.labels.v="{deployed_model_id}"'
    for rest in (' AND resource.type = one_of("global", "generic_task")', of_a_version):
        assert problems(swap(("environments:", monitoring.replace("FILTER", rest)))) == []
