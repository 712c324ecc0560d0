"""From a gate to a service level objective: the gate's own limit, held over a period.

``error_rate`` with a ceiling of 0.5% is 99.5% of requests answered without a server's failure; ``latency_p95`` with a
ceiling of 500 ms is 95% of requests answered within 500 ms. Pure. Left out: custom metrics, which are means and have no
good and bad requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi_gcp import monitoring

from vertex_deploy.spec.alerts import endpoint_filter, server_errors, total_latency

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vertex_deploy.spec import Gate


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One objective.

    Args:
        label: the gate's.
        goal: share of requests that must be good, 0 to 1.
        sli: what a good request is, in pulumi-gcp's types.
    """

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


def objectives(gates: Iterable[Gate], *, endpoint_id: str, private: bool) -> Iterator[Objective]:
    """The objective of each gate that has one; the same metric twice is one, with the first limit."""
    seen: set[str] = set()
    for gate in gates:
        if gate.custom or gate.max is None or gate.dry_run or gate.metric in seen:
            continue
        seen.add(gate.metric)
        where: Mapping[str, Any] = {"endpoint_id": endpoint_id, "private": private}
        if gate.quantile is None:
            ratio = monitoring.SloRequestBasedSliGoodTotalRatioArgs(
                bad_service_filter=endpoint_filter("response_count", extra=server_errors(private=private), **where),
                total_service_filter=endpoint_filter("response_count", **where),
            )
            sli = monitoring.SloRequestBasedSliArgs(good_total_ratio=ratio)
            yield Objective(label=gate.label, goal=round(1 - gate.max, 9), sli=sli)
        else:
            cut = monitoring.SloRequestBasedSliDistributionCutArgs(
                distribution_filter=endpoint_filter(
                    "prediction_latencies", extra=total_latency(private=private), **where
                ),
                range=monitoring.SloRequestBasedSliDistributionCutRangeArgs(max=gate.max * 1000),
            )
            sli = monitoring.SloRequestBasedSliArgs(distribution_cut=cut)
            yield Objective(label=gate.label, goal=gate.quantile, sli=sli)
