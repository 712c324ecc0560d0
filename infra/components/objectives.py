"""From a gate to a service level objective: the gate's own limit, held over a period.

``error_rate`` with a ceiling of 0.5% is 99.5% of requests answered without a server's failure, ``rejection_rate`` the
same of answers that blame the client; ``latency_p95`` with a ceiling of 500 ms is 95% of requests answered within
500 ms. Pure. Left out: custom metrics, which are means and have no good and bad requests; and alerts that could never
fire, since a budget of a tenth of all requests is burned at most ten times too fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi_gcp import monitoring

from vertex_deploy.spec.alerts import endpoint_filter, rejections, server_errors, total_latency

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vertex_deploy.spec import Gate


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One objective.

    Args:
        metric: the gate's; there is one objective of it.
        label: the gate's, for people.
        goal: share of requests that must be good, 0 to 1.
        sli: what a good request is, in pulumi-gcp's types.
    """

    metric: str
    label: str
    goal: float
    sli: monitoring.SloRequestBasedSliArgs


@dataclass(frozen=True, kw_only=True)
class Burn:
    """How fast an error budget may burn before somebody is told.

    Args:
        word: fast or slow.
        rate: times the sustainable rate.
        windows: seconds; the rate must be exceeded over each at once, so that the alert ends soon after its cause.
        severity: of the alert policy.
    """

    word: str
    rate: float
    windows: tuple[int, int]
    severity: str


def burns(fast: float, slow: float) -> tuple[Burn, Burn]:
    """Multi-window burn rates; the windows are those of the SRE workbook, chapter "Alerting on SLOs"."""
    return (
        Burn(word="fast", rate=fast, windows=(3600, 300), severity="CRITICAL"),
        Burn(word="slow", rate=slow, windows=(21600, 1800), severity="WARNING"),
    )


def reachable(objective: Objective, options: Iterable[Burn]) -> Iterator[Burn]:
    """The burn rates that an objective's budget can exceed: it is burned fastest when every request is bad."""
    return (burn for burn in options if burn.rate * (1 - objective.goal) < 1)


def objectives(gates: Iterable[Gate], *, endpoint_id: str, private: bool) -> Iterator[Objective]:
    """The objective of each gate that has one; the same metric twice is one, with the first limit."""
    seen: set[str] = set()
    for gate in gates:
        if gate.custom or gate.max is None or gate.dry_run or gate.metric in seen:
            continue
        seen.add(gate.metric)
        where: Mapping[str, Any] = {"endpoint_id": endpoint_id, "private": private}
        if gate.quantile is None:
            bad = server_errors if gate.metric == "error_rate" else rejections
            ratio = monitoring.SloRequestBasedSliGoodTotalRatioArgs(
                bad_service_filter=endpoint_filter("response_count", extra=bad(private=private), **where),
                total_service_filter=endpoint_filter("response_count", **where),
            )
            sli = monitoring.SloRequestBasedSliArgs(good_total_ratio=ratio)
            yield Objective(metric=gate.metric, label=gate.label, goal=round(1 - gate.max, 9), sli=sli)
        else:
            cut = monitoring.SloRequestBasedSliDistributionCutArgs(
                distribution_filter=endpoint_filter(
                    "prediction_latencies", extra=total_latency(private=private), **where
                ),
                range=monitoring.SloRequestBasedSliDistributionCutRangeArgs(max=gate.max * 1000),
            )
            sli = monitoring.SloRequestBasedSliArgs(distribution_cut=cut)
            yield Objective(metric=gate.metric, label=gate.label, goal=gate.quantile, sli=sli)
