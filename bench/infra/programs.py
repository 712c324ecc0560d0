"""Two programs that ask the engine for the same provider resources: with the components, and bare.

Left out: the engine and Google, which would dwarf both: what is compared is the language host's own work.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_gcp import bigquery, vertex

from infra.components.endpoint import Endpoint, EndpointArgs

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT, REGION = "my-project", "us-central1"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/serving/cryptoKeys/serving"
LABELS = {"team": "vision", "vertex-deploy": "lite"}


def with_components(count: int) -> None:
    """``count`` endpoints, each with its data set, by the component."""
    args = EndpointArgs(
        project=PROJECT,
        region=REGION,
        endpoint_id="1",
        display_name="lite",
        access="psc",
        labels=LABELS,
        allow_projects=("consumer-project",),
        encryption_key=KEY,
        sampling=0.01,
    )
    for index in range(count):
        Endpoint(f"e{index}", replace(args, endpoint_id=str(100_000_000 + index), display_name=f"lite-{index}"))


def bare(count: int) -> None:
    """The same resources with the same properties, as one would write them by hand with pulumi-gcp."""
    for index in range(count):
        dataset = bigquery.Dataset(
            f"e{index}-log",
            dataset_id=f"lite_{index}_requests",
            project=PROJECT,
            location=REGION,
            labels=LABELS,
            default_encryption_configuration={"kms_key_name": KEY},
            delete_contents_on_destroy=True,
        )
        uri = dataset.dataset_id.apply(lambda name: f"bq://{PROJECT}.{name}.requests")
        endpoint = vertex.AiEndpoint(
            f"e{index}",
            name=str(100_000_000 + index),
            display_name=f"lite-{index}",
            project=PROJECT,
            location=REGION,
            region=REGION,
            labels=LABELS,
            private_service_connect_config={
                "enable_private_service_connect": True,
                "project_allowlists": ["consumer-project"],
                "psc_automation_configs": [],
            },
            encryption_spec={"kms_key_name": KEY},
            predict_request_response_logging_config={
                "enabled": True,
                "sampling_rate": 0.01,
                "bigquery_destination": {"output_uri": uri},
            },
            opts=pulumi.ResourceOptions(ignore_changes=["traffic_split"]),
        )
        pulumi.export(f"e{index}", pulumi.Output.format("projects/{0}/endpoints/{1}", PROJECT, endpoint.name))


PROGRAMS: dict[str, Callable[[int], None]] = {"components": with_components, "bare": bare}


class Echo(pulumi.runtime.Mocks):
    """Gives every resource back what it was asked for, and keeps what custom resources were asked for."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """See ``Mocks``."""
        if args.custom:
            self.made[args.typ, args.name] = args.inputs
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        """See ``Mocks``; neither program looks anything up."""
        raise AssertionError(args.token)


def run(name: str, count: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Run one program to its end.

    Args:
        name: of ``PROGRAMS``.
        count: endpoints.

    Returns:
        (type, name) -> inputs of every custom resource.
    """
    mocks = Echo()
    pulumi.runtime.set_mocks(mocks, project="bench", stack="bench", preview=False)
    waited: Any = pulumi.runtime.test  # not typed
    waited(lambda: PROGRAMS[name](count))()
    return mocks.made
