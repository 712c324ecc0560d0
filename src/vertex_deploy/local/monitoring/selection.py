"""From the text of a filter to the tree and the one metric that it selects; for queries and for alert conditions.

Pure. Left out: filters that select several metric types at once; refused, as for ListTimeSeries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.local.monitoring import errors, filters
from vertex_deploy.local.monitoring.catalogue import RESOURCE_BY_TYPE, RESOURCES, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 1000


def parsed(text: str, allowed: set[str] | None = None, *, path: str = "filter") -> filters.Node:
    """Parse a filter.

    Args:
        text: the filter.
        allowed: the selectors that the method takes, None for all.
        path: the field of the request, for messages.

    Raises:
        ApiError: INVALID_ARGUMENT naming what cannot be parsed or evaluated.
    """
    try:
        tree = filters.parse(text)
    except filters.FilterError as error:
        raise errors.field(path, text[:_SHOWN], f"{error}.") from error
    for term in filters.comparisons(tree):
        if allowed is not None and term.selector not in allowed:
            raise errors.field(path, text, f'the selector "{term.selector}" cannot be used here.')
    return tree


def metric_of(text: str, tree: filters.Node, lookup: Callable[[str], Metric | None], *, path: str = "filter") -> Metric:
    """The metric a filter names, after checking that the filter's other terms can hold for it.

    Args:
        text: the filter, for messages.
        tree: the same, parsed.
        lookup: metric type -> metric, None if there is no such one.
        path: the field of the request, for messages.

    Raises:
        ApiError: INVALID_ARGUMENT, no single metric or labels it does not have; NOT_FOUND, the metric is not known.
    """
    name = filters.single_metric(tree)
    if name is None:
        why = 'must specify a restriction on "metric.type" in the filter: exactly one metric type, with "=".'
        raise errors.field(path, text, why)
    metric = lookup(name)
    if metric is None:
        raise errors.unknown_metric(name)
    resources = [RESOURCE_BY_TYPE[t] for t in metric.resources] or list(RESOURCES)
    labels = {f"metric.labels.{x.key}" for x in metric.labels}
    labels |= {f"resource.labels.{x.key}" for r in resources for x in r.labels}
    for term in filters.comparisons(tree):
        if ".labels." in term.selector and term.selector not in labels:
            raise errors.bad_combination()
        exact = term.selector == "resource.type" and term.op == "=" and not term.function
        if exact and term.values[0] not in {r.type for r in resources}:
            raise errors.bad_combination()
    return metric
