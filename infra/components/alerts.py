"""Alert policies from the spec's gates, objectives with burn-rate alerts, and notification channels.

A threshold is written once, in a gate; ``vertex_deploy.spec.alerts`` makes the condition. Gates of the rollout and of
``monitoring.alerts`` both stay as policies. What a policy cannot say (a comparison with stable) is judged by rollouts
alone.

Burn rates are those of the SRE workbook, each over a long and a short window; one that an objective's budget cannot
reach, such as 14.4 where a tenth of all requests may fail, has no policy.

Deliberately not created: policies of one rollout, which it makes and removes itself; channels that need a secret
(Slack, PagerDuty): name existing ones in ``monitoring.notification_channels``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pulumi
from pulumi_gcp import monitoring

from infra.components.base import Component, labels_of
from infra.components.objectives import Burn, Objective, burns, objectives, reachable
from vertex_deploy.spec import names
from vertex_deploy.spec.alerts import evaluates_promql, expressible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vertex_deploy.spec import Gate, Spec

    Conditions = tuple[Mapping[str, Any], ...]

PRIVATE = frozenset({"psc", "psa"})
"""Kinds of access whose endpoints write ``private/*`` metrics."""
AUTO_CLOSE = "1800s"
"""An incident without data is closed after this: the shortest that the API takes."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One alert policy to be.

    Args:
        label: the gate's, with its limit where another gate is called the same.
        severity: CRITICAL for a critical gate, else WARNING.
        conditions: ``AlertPolicy.Condition`` in the REST API's JSON, combined by OR.
    """

    label: str
    severity: str
    conditions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class AlertsArgs:
    """Arguments of ``Alerts``.

    Args:
        project: project id.
        title: begins every display name.
        labels: user labels of policies and objectives.
        policies: alert policies.
        objectives: service level objectives.
        days: length of their rolling period.
        burns: burn rates at which people are told.
        channels: existing notification channels.
        emails: addresses for which channels are made.
    """

    project: str
    title: str
    labels: Mapping[str, str]
    policies: tuple[Policy, ...] = ()
    objectives: tuple[Objective, ...] = ()
    days: int = 28
    burns: tuple[Burn, ...] = ()
    channels: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """From the gates of ``rollout`` and ``monitoring``, and ``infra.slo``."""
        gates = (*spec.rollout.gates, *spec.monitoring.alerts)
        private = spec.target.endpoint.access in PRIVATE
        endpoint_id, slo = names.endpoint_id(spec), spec.infra.slo
        return cls(
            project=spec.gcp.project,
            title=spec.name,
            labels=labels_of(spec),
            policies=tuple(
                Policy(label=label, severity="CRITICAL" if gate.critical else "WARNING", conditions=conditions)
                for label, gate, conditions in _labelled(
                    expressible(
                        gates, endpoint_id=endpoint_id, private=private, promql=evaluates_promql(spec.monitoring)
                    )
                )
            ),
            objectives=tuple(objectives(gates, endpoint_id=endpoint_id, private=private)) if slo else (),
            days=slo.days if slo else 28,
            burns=burns(slo.fast_burn, slo.slow_burn) if slo else (),
            channels=spec.monitoring.notification_channels,
            emails=spec.infra.emails,
        )


def _labelled(found: Iterable[tuple[Gate, Conditions]]) -> Iterator[tuple[str, Gate, Conditions]]:
    """A label for each gate that no other has: two of one metric differ in their limits."""
    seen: set[str] = set()
    for gate, conditions in found:
        limits = [f"{word} {limit:g}" for word, limit in (("max", gate.max), ("min", gate.min)) if limit is not None]
        told = f"{gate.label} ({', '.join(limits)})"
        same = (f"{told} {number}" for number in itertools.count(2))
        label = next(label for label in itertools.chain((gate.label, told), same) if label not in seen)
        seen.add(label)
        yield label, gate, conditions


class Alerts(Component):
    """Alert policies, objectives and channels.

    Outputs: ``channels`` (all of them, for others to use) and ``policies`` (names by label).
    """

    def __init__(self, name: str, args: AlertsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.channels: Sequence[pulumi.Input[str]] = [
            *args.channels,
            *(self._email(name, args, email) for email in args.emails),
        ]
        self.policies: Mapping[str, pulumi.Output[str]] = {
            policy.label: self._policy(
                f"{name}-{policy.label}",
                args,
                title=f"{args.title}: {policy.label}",
                severity=policy.severity,
                conditions=[condition_args(item) for item in policy.conditions],
                combiner="OR",
            ).name
            for policy in args.policies
        }
        if args.objectives:
            self._objectives(name, args)
        self.register_outputs({"policies": self.policies})

    def _email(self, name: str, args: AlertsArgs, email: str) -> pulumi.Output[str]:
        channel = monitoring.NotificationChannel(
            f"{name}-{email}",
            project=args.project,
            display_name=f"{args.title}: {email}",
            type="email",
            labels={"email_address": email},
            user_labels=dict(args.labels),
            opts=self.child(),
        )
        return channel.name

    def _policy(
        self,
        name: str,
        args: AlertsArgs,
        *,
        title: str,
        severity: str,
        conditions: list[monitoring.AlertPolicyConditionArgs],
        combiner: str,
    ) -> monitoring.AlertPolicy:
        runbook = (
            f"`vertex-deploy rollout status` shows whether a rollout is under way, `rollout abort` ends it ({title})."
        )
        return monitoring.AlertPolicy(
            name,
            project=args.project,
            display_name=title,
            combiner=combiner,
            conditions=conditions,
            severity=severity,
            notification_channels=list(self.channels),
            user_labels=dict(args.labels),
            alert_strategy=monitoring.AlertPolicyAlertStrategyArgs(auto_close=AUTO_CLOSE),
            documentation=monitoring.AlertPolicyDocumentationArgs(content=runbook, mime_type="text/markdown"),
            opts=self.child(),
        )

    def _objectives(self, name: str, args: AlertsArgs) -> None:
        service = monitoring.CustomService(
            name,
            project=args.project,
            service_id=args.title,
            display_name=args.title,
            user_labels=dict(args.labels),
            opts=self.child(),
        )
        for objective in args.objectives:
            slo = monitoring.Slo(
                f"{name}-{objective.metric}",
                project=args.project,
                service=service.service_id,
                slo_id=objective.metric.replace("_", "-").replace(".", "-"),
                display_name=f"{objective.label}: {objective.goal:.4%} of requests in {args.days} days",
                goal=objective.goal,
                rolling_period_days=args.days,
                request_based_sli=objective.sli,
                user_labels=dict(args.labels),
                opts=self.child(),
            )
            for burn in reachable(objective, args.burns):
                self._policy(
                    f"{name}-{objective.metric}-{burn.word}-burn",
                    args,
                    title=f"{args.title}: {objective.label} burns its budget {burn.rate:g} times too fast",
                    severity=burn.severity,
                    conditions=[burn_condition(slo.name, burn, window) for window in burn.windows],
                    combiner="AND",
                )


def burn_condition(slo: pulumi.Input[str], burn: Burn, window: int) -> monitoring.AlertPolicyConditionArgs:
    """True while the error budget burned faster than ``burn.rate`` over ``window`` seconds."""
    threshold = monitoring.AlertPolicyConditionConditionThresholdArgs(
        filter=pulumi.Output.format('select_slo_burn_rate("{0}", "{1}s")', slo, window),
        comparison="COMPARISON_GT",
        threshold_value=burn.rate,
        duration="0s",
    )
    return monitoring.AlertPolicyConditionArgs(
        display_name=f"{burn.rate:g} times too fast over {window // 60} minutes", condition_threshold=threshold
    )


def condition_args(condition: Mapping[str, Any]) -> monitoring.AlertPolicyConditionArgs:
    """A condition of the REST API's JSON in pulumi-gcp's types.

    Raises:
        ValueError: a kind of condition, or a field, that is not known here.
    """
    body = dict(condition)
    title = body.pop("displayName")
    ((kind, detail),) = body.items()
    detail = dict(detail)
    if kind == "conditionPrometheusQueryLanguage":
        query = monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs(
            query=detail.pop("query"),
            duration=detail.pop("duration"),
            evaluation_interval=detail.pop("evaluationInterval"),
        )
        found = monitoring.AlertPolicyConditionArgs(display_name=title, condition_prometheus_query_language=query)
    elif kind == "conditionThreshold":
        threshold = monitoring.AlertPolicyConditionConditionThresholdArgs(
            filter=detail.pop("filter"),
            comparison=detail.pop("comparison"),
            threshold_value=detail.pop("thresholdValue"),
            duration=detail.pop("duration"),
            aggregations=[
                monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(**_aggregation(item))
                for item in detail.pop("aggregations")
            ],
            denominator_filter=detail.pop("denominatorFilter", None),
            denominator_aggregations=[
                monitoring.AlertPolicyConditionConditionThresholdDenominatorAggregationArgs(**_aggregation(item))
                for item in detail.pop("denominatorAggregations", ())
            ]
            or None,
            trigger=monitoring.AlertPolicyConditionConditionThresholdTriggerArgs(**detail.pop("trigger")),
        )
        found = monitoring.AlertPolicyConditionArgs(display_name=title, condition_threshold=threshold)
    else:
        raise ValueError(f"{title}: {kind} is not a kind of condition that is made here")
    if detail:
        raise ValueError(f"{title}: {', '.join(sorted(detail))} of {kind} would be lost")
    return found


_AGGREGATION = {
    "alignmentPeriod": "alignment_period",
    "perSeriesAligner": "per_series_aligner",
    "crossSeriesReducer": "cross_series_reducer",
    "groupByFields": "group_by_fields",
}


def _aggregation(item: Mapping[str, Any]) -> dict[str, Any]:
    return {_AGGREGATION[key]: value for key, value in item.items()}
