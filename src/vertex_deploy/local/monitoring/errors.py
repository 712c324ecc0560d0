"""The errors of Cloud Monitoring in the words the real API uses (seen in public issue reports of its clients).

One function an error, so that the words are said once. Left out: errors of parts that do not exist here.
"""

from __future__ import annotations

import grpc

from vertex_deploy.local.seams import ApiError


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT with this message."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def field(path: str, value: object, why: str) -> ApiError:
    """INVALID_ARGUMENT about one field.

    Args:
        path: the field as JSON names it, ``aggregation.perSeriesAligner``.
        value: what was sent.
        why: a sentence.
    """
    return invalid(f'Field {path} had an invalid value of "{value}": {why}')


def unknown_metric(metric: str) -> ApiError:
    """NOT_FOUND for a metric type that has no descriptor in the project."""
    return ApiError(
        grpc.StatusCode.NOT_FOUND,
        f'Cannot find metric(s) that match type = "{metric}". If a metric was created recently, it could take up to 10 '
        "minutes to become available. Please try again soon.",
    )


def bad_combination() -> ApiError:
    """INVALID_ARGUMENT for a filter whose labels or resource the metric does not have."""
    return invalid(
        "The supplied filter does not specify a valid combination of metric and monitored resource descriptors. "
        "The query will not return any time series."
    )


def not_found(message: str) -> ApiError:
    """NOT_FOUND with this message."""
    return ApiError(grpc.StatusCode.NOT_FOUND, message)
