"""Who answers a request: the deployed model by weight, then the replica with the least to do. Pure.

A split is immutable and swapped whole, and choosing a model, choosing its replica and counting the request happen
without a pause in between. So a shift takes effect with the next request, and no request can be sent to a replica that
has begun to drain.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc

from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from random import Random

_WHOLE = 100


class Split:
    """Traffic weights of an endpoint.

    Args:
        weights: deployed model id -> percent; they sum to 100, or there are none.

    Raises:
        ApiError: INVALID_ARGUMENT: a negative weight, or a sum that is not 100.
    """

    __slots__ = ("_cumulative", "_ids", "weights")

    def __init__(self, weights: Mapping[str, int]) -> None:
        total = sum(weights.values())
        if any(weight < 0 for weight in weights.values()) or (weights and total != _WHOLE):
            raise ApiError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"traffic_split must sum to 100 without negative values: {dict(weights)}",
            )
        self.weights = dict(weights)
        chosen = {key: weight for key, weight in weights.items() if weight}
        self._ids = tuple(chosen)
        self._cumulative = tuple(itertools.accumulate(chosen.values()))

    def __bool__(self) -> bool:
        return bool(self._ids)

    def choose(self, random: Random) -> str:
        """A deployed model id, each with the probability of its weight. The split must not be empty."""
        if len(self._ids) == 1:
            return self._ids[0]
        return self._ids[bisect.bisect_right(self._cumulative, random.random() * _WHOLE)]


class Loaded(Protocol):
    """What the choice of a replica looks at."""

    @property
    def ready(self) -> bool:
        """It may be given requests."""
        ...

    @property
    def outstanding(self) -> int:
        """Requests it has been given and not yet answered."""
        ...


R = TypeVar("R", bound=Loaded)


def least_outstanding(replicas: Iterable[R], random: Random, *, exclude: R | None = None) -> R | None:
    """A ready replica with the fewest outstanding requests, any of them in a tie; None if there is none.

    Args:
        replicas: those of one deployed model.
        random: breaks ties, so that idle replicas share the work.
        exclude: not this one.
    """
    best: list[R] = []
    for replica in replicas:
        if not replica.ready or replica is exclude:
            continue
        if best and replica.outstanding > best[0].outstanding:
            continue
        if best and replica.outstanding < best[0].outstanding:
            best.clear()
        best.append(replica)
    if len(best) <= 1:
        return best[0] if best else None
    return best[int(random.random() * len(best))]
