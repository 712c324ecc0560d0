"""Alert policies and their conditions as plain values, as the state machine and the measuring take them. No I/O.

Times are nanoseconds. ``minute`` in this package is the cloud's minute or, in a rehearsal whose sample period is
shorter, the sample period: durations that the API wants in whole minutes are then whole sample periods.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertex_deploy.local.monitoring.catalogue import Metric
    from vertex_deploy.local.monitoring.filters import Node
    from vertex_deploy.local.monitoring.query import Aggregation
    from vertex_deploy.local.monitoring.values import SeriesKey

MINUTE = 60 * 10**9
DAY = 24 * 60 * MINUTE


class Combiner(StrEnum):
    """google.monitoring.v3.AlertPolicy.ConditionCombinerType."""

    AND = "AND"
    OR = "OR"
    AND_WITH_MATCHING_RESOURCE = "AND_WITH_MATCHING_RESOURCE"


class Missing(StrEnum):
    """What a series without data means (AlertPolicy.Condition.EvaluationMissingData).

    NO_OP: nothing changes, incidents stay open until auto-close. INACTIVE: not violated. ACTIVE: violated.
    """

    NO_OP = "NO_OP"
    INACTIVE = "INACTIVE"
    ACTIVE = "ACTIVE"


@dataclass(frozen=True, slots=True)
class Selection:
    """Time series and what is made of them.

    Args:
        metric: the one that the filter names.
        tree: the filter.
        steps: aggregations, in order.
    """

    metric: Metric
    tree: Node
    steps: tuple[Aggregation, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """How many series must violate: a count, or a percentage of those with data (0: the count holds)."""

    count: int = 1
    percent: float = 0.0

    def fires(self, violating: int, total: int) -> bool:
        """Whether this many of all series are enough."""
        if not violating:
            return False
        return violating * 100 >= self.percent * total if self.percent else violating >= self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A MetricThreshold condition.

    Args:
        name: full resource name.
        display_name: for people.
        series: what is compared, or the numerator of the ratio.
        denominator: of the ratio, or None.
        above: COMPARISON_GT rather than COMPARISON_LT.
        limit: what the series are compared with.
        duration: how long a series must violate without a break, nanoseconds.
        trigger: how many series must.
        missing: what no data means.
    """

    name: str
    display_name: str = ""
    series: Selection
    denominator: Selection | None = None
    above: bool = True
    limit: float = 0.0
    duration: int = 0
    trigger: Trigger = Trigger()
    missing: Missing = Missing.NO_OP

    @property
    def retest(self) -> int:
        """Nanoseconds that the state machine waits."""
        return self.duration

    def forgotten(self, auto_close: int) -> int:
        """Nanoseconds without data after which a series is given up and its incident closes."""
        return auto_close


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A MetricAbsence condition.

    Args:
        name: full resource name.
        display_name: for people.
        series: what must report.
        duration: nanoseconds without data after which a series violates.
        trigger: how many series must.
    """

    name: str
    display_name: str = ""
    series: Selection
    duration: int
    trigger: Trigger = Trigger()

    @property
    def retest(self) -> int:
        """None: the duration is part of what is measured."""
        return 0

    def forgotten(self, auto_close: int) -> int:
        """Nanoseconds without data after which its incident closes: auto-close, from when it opened."""
        return self.duration + auto_close

    @property
    def missing(self) -> Missing:
        """Without meaning: absence is always measured."""
        return Missing.NO_OP


Condition = Threshold | Absence


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is evaluated of an alert policy.

    Args:
        name: full resource name.
        project: project id.
        conditions: one to six.
        combiner: when incidents open.
        auto_close: nanoseconds without data after which an incident closes.
        since: when the policy was last changed; absence needs a point later than that.
    """

    name: str
    project: str
    conditions: tuple[Condition, ...]
    combiner: Combiner = Combiner.OR
    auto_close: int = 7 * DAY
    since: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One time series of one condition at one time.

    Args:
        key: the series after aggregation.
        violated: whether the comparison holds; None: there is no data to tell.
        value: what was compared, or None.
        seen: when it last had data, nanoseconds; 0: not known.
    """

    key: SeriesKey
    violated: bool | None
    value: float | None = None
    seen: int = 0
