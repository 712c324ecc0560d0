"""What a traffic split becomes: pure functions over ``{deployed model id: percent}``.

Rules: DeployModelRequest.traffic_split, UndeployModelRequest.traffic_split and Endpoint.traffic_split of aiplatform
v1. A split sums to 100 or is empty. Entries of 0 are kept as they were sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.local.control.refusals import invalid, precondition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Split = dict[str, int]
BEING_DEPLOYED = "0"
_ALL = 100


def check(split: Mapping[str, int], deployed: Collection[str]) -> None:
    """Refuse a split that the endpoint could not follow.

    Args:
        split: percent by deployed model id.
        deployed: ids that may get traffic.

    Raises:
        ApiError: INVALID_ARGUMENT: percentages outside 0..100, a sum that is not 100, or an id that is not deployed.
    """
    if not split:
        return
    if any(not 0 <= percent <= _ALL for percent in split.values()) or sum(split.values()) != _ALL:
        raise invalid(
            f"The traffic percentages in traffic_split must be between 0 and 100 and add up to 100, got {dict(split)}.",
        )
    unknown = sorted(split.keys() - set(deployed))
    if unknown:
        raise invalid(
            f"traffic_split refers to DeployedModel id(s) {', '.join(unknown)} that are not deployed to the Endpoint.",
        )


def after_deploy(
    current: Mapping[str, int], requested: Mapping[str, int], new: str, deployed: Collection[str]
) -> Split:
    """The split once ``new`` is deployed: ``requested`` with "0" replaced by ``new``, or unchanged where it is empty.

    Args:
        current: the endpoint's split.
        requested: the request's.
        new: id of the model being deployed.
        deployed: ids deployed already.

    Raises:
        ApiError: as ``check``; INVALID_ARGUMENT if both "0" and ``new`` are named.
    """
    if not requested:
        return dict(current)
    if BEING_DEPLOYED in requested and new in requested and new != BEING_DEPLOYED:
        raise invalid(f'traffic_split names the model being deployed twice: "0" and "{new}".')
    filled = {new if ident == BEING_DEPLOYED else ident: percent for ident, percent in requested.items()}
    check(filled, {*deployed, new})
    return filled


def after_undeploy(
    current: Mapping[str, int], requested: Mapping[str, int], gone: str, remaining: Collection[str]
) -> Split:
    """The split once ``gone`` is undeployed.

    Args:
        current: the endpoint's split.
        requested: the request's; empty leaves the others as they are.
        gone: id of the model being undeployed.
        remaining: ids still deployed afterwards.

    Raises:
        ApiError: FAILED_PRECONDITION if ``gone`` would still have traffic; as ``check`` for a bad ``requested``.
    """
    if not remaining:
        return {}
    wanted = requested or current
    if wanted.get(gone, 0) > 0:
        raise precondition(
            f"DeployedModel {gone} has {wanted[gone]}% of the Endpoint's traffic and cannot be undeployed; "
            "move its traffic to other DeployedModels first, or with traffic_split in this request.",
        )
    left = {ident: percent for ident, percent in wanted.items() if ident != gone}
    check(left, remaining)
    return left
