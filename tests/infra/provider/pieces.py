"""The part of the program that Local Vertex has all APIs for: endpoint, alerts, buckets, and a static split if asked.

Pulumi's own engine and the stand-in run this same function, so that what is written for the one is tried by the other.
Accounts, registry, dashboard and the rest have no API there; a whole `pulumi up` is the cloud's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_gcp as gcp

from infra.components import static_split
from infra.components.alerts import Alerts, AlertsArgs
from infra.components.endpoint import Endpoint, EndpointArgs
from infra.components.static_split import StaticSplit, StaticSplitArgs
from infra.components.storage import Storage, StorageArgs

if TYPE_CHECKING:
    from vertex_deploy.spec import Spec


def custom_endpoints(rest: str) -> dict[str, Any]:
    """pulumi-gcp's configuration for a Local Vertex: each API's base, as the provider's defaults write it.

    Args:
        rest: http://127.0.0.1:PORT.
    """
    root = rest.rstrip("/")
    return {
        "vertex_ai_custom_endpoint": f"{root}/v1/",
        "monitoring_custom_endpoint": f"{root}/",
        "storage_custom_endpoint": f"{root}/storage/v1/",
        "access_token": "local",
    }


def pieces(spec: Spec, rest: str) -> None:
    """Make them.

    Args:
        spec: with infra.storage.
        rest: http://127.0.0.1:PORT of a Local Vertex.
    """
    google = gcp.Provider("google", project=spec.gcp.project, region=spec.gcp.region, **custom_endpoints(rest))
    opts = pulumi.ResourceOptions(providers=[google])
    Storage("storage", StorageArgs.of(spec), opts)
    served = Endpoint("endpoint", EndpointArgs.of(spec), opts)
    if static_split.wanted(spec):
        StaticSplit("split", StaticSplitArgs.of(spec, endpoint=served.resource_name), opts)
    Alerts("alerts", AlertsArgs.of(spec), opts)
