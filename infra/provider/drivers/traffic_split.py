"""The traffic split of an endpoint: written whole, with the etag that was read, where it is Pulumi's to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.drivers.base import NOT_FOUND, Cloud, Found, Request
from infra.provider.properties import keep_written
from infra.provider.resources import traffic_split
from infra.provider.resources.base import left_alone
from vertex_deploy.errors import CloudError, SplitConflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.provider.resources.base import Inputs

_ATTEMPTS = 3


class TrafficSplitDriver:
    """Drives ``vertexdeploy:index:TrafficSplit``.

    Args:
        cloud: makes the calls.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, news: Inputs, request: Request) -> tuple[str, Inputs]:
        """Set the split; one that a rollout owns is left where the endpoint has one already."""
        del request
        endpoint = news["endpoint"]
        wanted = traffic_split.as_map(news["split"])
        keep = news["owner"] == "rollout"
        return endpoint, {**news, "observed": set_split(self._cloud, endpoint, wanted, keep=keep)}

    def read(self, ident: str, state: Inputs, inputs: Inputs) -> Found | None:
        """The endpoint's split; of one that a rollout owns, the inputs stay as they were written."""
        del state
        found = get_endpoint(self._cloud, names.check_endpoint(ident))
        if found is None:
            return None
        observed = _observed(found)
        if inputs.get("owner") == "rollout":
            return Found(ident, {**inputs, "observed": observed}, inputs)
        live = {"endpoint": ident, "split": traffic_split.as_list(observed)}
        kept = keep_written(traffic_split.INPUTS, inputs, live)
        kept.setdefault("owner", traffic_split.INPUTS["owner"].default)
        return Found(ident, {**kept, "observed": observed}, kept)

    def update(self, ident: str, state: Inputs, olds: Inputs, news: Inputs, request: Request) -> Inputs:
        """Set the split, unless a rollout owns it from now on."""
        del request
        if news["owner"] == "rollout":
            if left_alone(olds, news):
                return {**news, "observed": state.get("observed", {})}
            found = get_endpoint(self._cloud, ident)
            return {**news, "observed": _observed(found) if found is not None else {}}
        return {**news, "observed": set_split(self._cloud, ident, traffic_split.as_map(news["split"]))}

    def delete(self, ident: str, state: Inputs, request: Request) -> None:
        """Empty the split if it was Pulumi's, so that what is deployed can go; leave a rollout's as it is."""
        del request
        if state.get("owner") != "pulumi":
            return
        try:
            set_split(self._cloud, ident, {})
        except CloudError as error:
            if error.code != NOT_FOUND:
                raise


def get_endpoint(cloud: Cloud, endpoint: str) -> Any:
    """An ``aiplatform_v1.Endpoint``, or None."""
    client = cloud.endpoints(names.region(endpoint))
    return cloud.find(client.get_endpoint, {"name": endpoint}, what=f"GetEndpoint {endpoint}")


def set_split(cloud: Cloud, endpoint: str, wanted: Mapping[str, int], *, keep: bool = False) -> dict[str, int]:
    """Write an endpoint's split with the etag that was read, again when somebody else wrote in between.

    Args:
        cloud: makes the calls.
        endpoint: its name.
        wanted: percent by deployed model id; empty: no traffic.
        keep: leave a split that is there.

    Returns:
        The split that the endpoint has now.

    Raises:
        SplitConflict: it changed each time.
        CloudError: the API refused: an id that is not deployed, no such endpoint.
    """
    client = cloud.endpoints(names.region(endpoint))
    what = f"UpdateEndpoint {endpoint} traffic_split={dict(wanted)}"
    for attempt in range(1, _ATTEMPTS + 1):
        found = cloud.call(client.get_endpoint, {"name": endpoint}, what=f"GetEndpoint {endpoint}")
        observed = _observed(found)
        if observed == wanted or (keep and observed):
            return observed
        changed = {"name": endpoint, "traffic_split": dict(wanted), "etag": found.etag}
        request = {"endpoint": changed, "update_mask": {"paths": ["traffic_split"]}}
        try:
            return _observed(cloud.call(client.update_endpoint, request, what=what))
        except CloudError as error:
            if error.code != "ABORTED":
                raise
            if attempt == _ATTEMPTS:
                raise SplitConflict(f"{error}; is a rollout under way?", code=error.code) from error
    raise AssertionError  # the last attempt returns or raises


def _observed(endpoint: Any) -> dict[str, int]:
    return {ident: percent for ident, percent in sorted(endpoint.traffic_split.items()) if percent}
