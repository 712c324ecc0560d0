"""The Vertex AI endpoint: public, dedicated, Private Service Connect or VPC peering.

With a customer-managed key where the spec names one, and with requests and answers sampled into BigQuery where the spec
says so. The endpoint's id is chosen, not given: a rollout and the alert policies know it without asking.

Deliberately not created: the model, its deployment and the traffic split, which a rollout owns (with
``traffic: pulumi`` the component ``StaticSplit``); a request timeout, which pulumi-gcp cannot set; and the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pulumi_gcp import bigquery, vertex

from infra.components.base import Component, child_options, labels_of
from vertex_deploy.spec import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pulumi

    from vertex_deploy.spec import Spec


@dataclass(frozen=True, kw_only=True)
class EndpointArgs:
    """Arguments of ``Endpoint``.

    Args:
        project: project id.
        region: region.
        endpoint_id: at most ten digits without a leading zero.
        display_name: what the console and a rollout call it.
        access: who reaches it.
        labels: labels of endpoint and data set.
        network: projects/NUMBER/global/networks/NAME (psa).
        allow_projects: projects that may connect (psc).
        automation: project and network in which Vertex AI makes the connection itself (psc).
        encryption_key: customer-managed key, or None.
        sampling: share of requests logged, 0 to 1; None for no log.
        protect: refuse to delete it.
    """

    project: str
    region: str
    endpoint_id: str
    display_name: str
    access: Literal["public", "dedicated", "psc", "psa"] = "public"
    labels: Mapping[str, str]
    network: str | None = None
    allow_projects: tuple[str, ...] = ()
    automation: tuple[tuple[str, str], ...] = ()
    encryption_key: str | None = None
    sampling: float | None = None
    protect: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """From ``target.endpoint``, ``monitoring.sampling`` and ``infra``."""
        wanted = spec.target.endpoint
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            endpoint_id=names.endpoint_id(spec),
            display_name=names.endpoint_display_name(spec),
            access=wanted.access,
            labels=labels_of(spec),
            network=wanted.network,
            allow_projects=wanted.allow_projects,
            automation=tuple((item.project, item.network) for item in wanted.automation),
            encryption_key=spec.infra.encryption_key,
            sampling=spec.monitoring.sampling,
            protect=spec.infra.protect,
        )


def wanted(spec: Spec) -> bool:
    """Whether Pulumi makes the endpoint: what it cannot set, it leaves to the rollout."""
    if spec.infra.endpoint is not None:
        return spec.infra.endpoint
    return spec.target.endpoint.request_timeout is None


def endpoint_options(
    parent: pulumi.Resource, *, protect: bool, after: Sequence[pulumi.Resource]
) -> pulumi.ResourceOptions:
    """Options of the endpoint: its split is never its own.

    A rollout changes the split many times between two runs of Pulumi; seen as drift, each would be undone. A static
    split is a resource of its own (``StaticSplit``), which puts drift right; two owners of one split would fight.
    """
    return child_options(parent, protect=protect, after=after, ignore=("traffic_split",))


class Endpoint(Component):
    """A Vertex AI endpoint, and the BigQuery data set of its log.

    Args:
        after: resources that must be there first, such as ``Network.ready``.

    Outputs: ``endpoint_id`` (the number) and ``resource_name`` (projects/P/locations/L/endpoints/E).
    """

    def __init__(
        self,
        name: str,
        args: EndpointArgs,
        opts: pulumi.ResourceOptions | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        super().__init__(name, opts)
        endpoint = vertex.AiEndpoint(
            name,
            name=args.endpoint_id,
            display_name=args.display_name,
            project=args.project,
            location=args.region,
            region=args.region,
            labels=dict(args.labels),
            dedicated_endpoint_enabled=True if args.access == "dedicated" else None,
            network=args.network if args.access == "psa" else None,
            private_service_connect_config=_psc(args) if args.access == "psc" else None,
            encryption_spec=vertex.AiEndpointEncryptionSpecArgs(kms_key_name=args.encryption_key)
            if args.encryption_key
            else None,
            predict_request_response_logging_config=self._log(name, args) if args.sampling else None,
            opts=endpoint_options(self, protect=args.protect, after=after),
        )
        self.endpoint_id: pulumi.Output[str] = endpoint.name
        place = f"projects/{args.project}/locations/{args.region}/endpoints"
        self.resource_name: pulumi.Output[str] = endpoint.name.apply(lambda number: f"{place}/{number}")
        # No register_outputs: the engine would show what it shows of the endpoint anyway, at a call a component, and a
        # program of many endpoints feels it (bench/infra).

    def _log(self, name: str, args: EndpointArgs) -> vertex.AiEndpointPredictRequestResponseLoggingConfigArgs:
        dataset = bigquery.Dataset(
            f"{name}-log",
            # A display name is anything; a data set's is letters, digits and underscores.
            dataset_id=f"{re.sub(r'[^A-Za-z0-9]', '_', args.display_name)}_requests",
            project=args.project,
            location=args.region,
            labels=dict(args.labels),
            default_encryption_configuration=bigquery.DatasetDefaultEncryptionConfigurationArgs(
                kms_key_name=args.encryption_key
            )
            if args.encryption_key
            else None,
            # Vertex AI makes the table; a data set with one in it could not go.
            delete_contents_on_destroy=not args.protect,
            opts=self.child(protect=args.protect),
        )
        destination = vertex.AiEndpointPredictRequestResponseLoggingConfigBigqueryDestinationArgs(
            output_uri=dataset.dataset_id.apply(lambda name: f"bq://{args.project}.{name}.requests")
        )
        return vertex.AiEndpointPredictRequestResponseLoggingConfigArgs(
            enabled=True, sampling_rate=args.sampling, bigquery_destination=destination
        )


def _psc(args: EndpointArgs) -> vertex.AiEndpointPrivateServiceConnectConfigArgs:
    return vertex.AiEndpointPrivateServiceConnectConfigArgs(
        enable_private_service_connect=True,
        project_allowlists=list(args.allow_projects),
        psc_automation_configs=[
            vertex.AiEndpointPrivateServiceConnectConfigPscAutomationConfigArgs(project_id=project, network=network)
            for project, network in args.automation
        ],
    )
