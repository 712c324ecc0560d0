"""``vertexdeploy:index:TrafficSplit``: which deployed model of an endpoint gets which share of its requests. Pure.

With ``owner: rollout``, the default, it gives an endpoint without a split its first one and then leaves it to the
rollout tool: no difference counts, and deleting it leaves the traffic as it is. With ``owner: pulumi`` the split is the
program's (a static A/B split): differences are put right, and deleting it empties the split.

Facts: Endpoint.traffic_split of aiplatform v1 sums to 100 or is empty; ids must be deployed; an endpoint has one split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.provider.properties import Failure, Prop, child
from infra.provider.resources.base import Context, Definition, Inputs, left_alone, on_endpoint, owner
from infra.provider.values import UNKNOWN, has_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALL = 100


def as_map(split: Any) -> dict[str, int]:
    """Percent by deployed model id, of the list that a program writes; shares of 0 mean nothing and are dropped."""
    return {share["deployedModelId"]: share["percent"] for share in split if share["percent"]}


def as_list(split: Mapping[str, int]) -> list[dict[str, Any]]:
    """The list for a split read from the API, in a fixed order."""
    return [{"deployedModelId": ident, "percent": split[ident]} for ident in sorted(split) if split[ident]]


def _same(old: Any, new: Any) -> bool:
    return old == new or (None not in (old, new) and not has_unknown([old, new]) and as_map(old) == as_map(new))


_SHARE = Prop(
    type="object",
    ref="Share",
    doc="A share of the traffic.",
    fields={
        "deployedModelId": Prop(
            type="string", required=True, pattern=r"[0-9]+", says="a deployed model's id", doc="Who gets it."
        ),
        "percent": Prop(type="integer", required=True, minimum=0, maximum=_ALL, doc="How much, 0 to 100."),
    },
)
INPUTS: dict[str, Prop] = {
    "endpoint": on_endpoint("Endpoint, projects/P/locations/L/endpoints/E; it has one split."),
    "split": Prop(type="array", required=True, items=_SHARE, same=_same, doc="Shares that sum to 100, in any order."),
    "owner": owner("rollout", "the split"),
}
OUTPUTS: dict[str, Prop] = {
    "observed": Prop(
        type="map",
        items=Prop(type="integer", doc="Percent."),
        doc="The endpoint's split as last read, percent by deployed model id.",
    ),
}


def _complete(inputs: Inputs, context: Context) -> Inputs:
    del context
    return inputs


def _agree(inputs: Inputs) -> Iterable[Failure]:
    split = inputs.get("split")
    if not isinstance(split, list) or has_unknown(split):
        return
    seen: set[str] = set()
    for index, share in enumerate(split):
        if share["deployedModelId"] in seen:
            path = child(child("split", index), "deployedModelId")
            yield Failure(path, f"{share['deployedModelId']} has a share already; give each deployed model one")
        seen.add(share["deployedModelId"])
    total = sum(share["percent"] for share in split)
    if total != _ALL:
        yield Failure("split", f"the shares sum to {total}, they must sum to 100")


TRAFFIC_SPLIT = Definition(
    token="vertexdeploy:index:TrafficSplit",  # noqa: S106 - a type token
    doc="The traffic split of an endpoint. By default it only starts the traffic, and the rollout tool owns it from "
    "then on; with `owner: pulumi` it is a static split.",
    inputs=INPUTS,
    outputs=OUTPUTS,
    complete=_complete,
    agree=_agree,
    identity=("endpoint", "owner"),
    names=("endpoint",),
)


def preview(olds: Mapping[str, Any], news: Inputs, state: Mapping[str, Any] | None) -> Inputs:
    """What creating (no state) or updating would give, as far as it is known without a call.

    Args:
        olds: inputs in the state.
        news: inputs wanted.
        state: inputs and outputs in the state, or None.
    """
    kept = state is not None and left_alone(olds, news)
    observed = state.get("observed", UNKNOWN) if state is not None and kept else UNKNOWN
    # A rollout's split may be there already, and is then left: only Pulumi's own is known before the call.
    if news.get("owner") == "pulumi" and not has_unknown(news.get("split", UNKNOWN)):
        observed = as_map(news["split"])
    return {**news, "observed": observed}
