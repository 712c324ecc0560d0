"""A VPC network for private endpoints and clusters.

One subnet in the spec's region with ranges for GKE, a firewall that lets in nothing but the network itself and
Google's health checks, Cloud NAT, and what the endpoint's access needs: an address range and peering (psa), or a policy
that lets Vertex AI make Private Service Connect endpoints (psc with automation). A VPC Service Controls perimeter on
request: machines of the network reach the services in it and what GKE's nodes need besides, and the accounts of builds,
rollouts and their schedule come in from outside, since Cloud Build, Cloud Run and Cloud Scheduler call from machines of
Google's.

Deliberately not created: Private Service Connect endpoints of consumers in other projects (they belong there), VPN and
interconnects, DNS zones, a shared VPC's host project, access levels, by which people get into the perimeter (the spec
names those that are there), and its egress policies, which are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import pulumi
from pulumi_gcp import accesscontextmanager, compute, networkconnectivity, servicenetworking

from infra.components.base import Component, asked, child_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.spec import Spec
    from vertex_deploy.spec.infra import Perimeter

HEALTH_CHECKS = ("35.191.0.0/16", "130.211.0.0/22")
"""Where Google's health checks come from (load balancing documentation)."""
SERVICE_CLASS = "gcp-vertexai"
"""Service class of Vertex AI in service connection policies."""
NODE_SERVICES = ("logging.googleapis.com", "sts.googleapis.com")
"""What nodes and servers of GKE call beside the perimeter's services: logs, and tokens for workload identity. The
Service Account Credentials API, which is asked too, is none of those that VPC Service Controls restricts."""
PODS, SERVICES = "pods", "services"
"""Names of the secondary ranges."""
PERIMETER_NAME = 50
"""Characters of a perimeter's name at most; it is letters, digits and underscores (gcloud access-context-manager)."""


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Arguments of ``Network``.

    Args:
        project: project id.
        region: region of the subnet.
        network: name of the network.
        subnet: addresses of machines, CIDR.
        pods: addresses of GKE's pods, CIDR.
        services: addresses of GKE's services, CIDR.
        access: psa makes a peered range, psc a service connection policy, None neither.
        peering_prefix: prefix length of the peered range.
        nat: make Cloud NAT.
        perimeter: VPC Service Controls perimeter, or None.
        reachable: services that machines of the network may call beside the perimeter's own.
        callers: emails of service accounts that may call into the perimeter from outside.
        protect: refuse to delete network and peering.
    """

    project: str
    region: str
    network: str
    subnet: str
    pods: str
    services: str
    access: Literal["psa", "psc"] | None = None
    peering_prefix: int = 16
    nat: bool = True
    perimeter: Perimeter | None = None
    reachable: tuple[str, ...] = ()
    callers: Sequence[pulumi.Input[str]] = ()
    protect: bool = False

    @classmethod
    def of(cls, spec: Spec, *, callers: Sequence[pulumi.Input[str]] = ()) -> Self:
        """From ``infra.network`` and the endpoint's access; accounts are another component's outputs.

        Raises:
            ValueError: the spec has no ``infra.network``.
        """
        wanted, endpoint = asked(spec.infra.network, "network"), spec.target.endpoint
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            network=(endpoint.network or spec.name).rpartition("/")[2],
            subnet=wanted.subnet,
            pods=wanted.pods,
            services=wanted.services,
            access="psa" if endpoint.access == "psa" else "psc" if endpoint.automation else None,
            peering_prefix=wanted.peering_prefix,
            nat=wanted.nat,
            perimeter=wanted.perimeter,
            reachable=NODE_SERVICES if spec.infra.gke is not None else (),
            callers=callers,
            protect=spec.infra.protect,
        )


class Network(Component):
    """A VPC network with a subnet, firewall, NAT and private access to Vertex AI.

    Outputs: ``network_id`` and ``subnet_id`` (both projects/...); ``ready``: what a private endpoint waits for.
    """

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        network = compute.Network(
            name,
            name=args.network,
            project=args.project,
            auto_create_subnetworks=False,
            routing_mode="REGIONAL",
            opts=self.child(protect=args.protect),
        )
        subnet = compute.Subnetwork(
            name,
            name=f"{args.network}-{args.region}",
            project=args.project,
            region=args.region,
            network=network.id,
            ip_cidr_range=args.subnet,
            private_ip_google_access=True,
            secondary_ip_ranges=[
                compute.SubnetworkSecondaryIpRangeArgs(range_name=PODS, ip_cidr_range=args.pods),
                compute.SubnetworkSecondaryIpRangeArgs(range_name=SERVICES, ip_cidr_range=args.services),
            ],
            log_config=compute.SubnetworkLogConfigArgs(
                aggregation_interval="INTERVAL_10_MIN", flow_sampling=0.1, metadata="INCLUDE_ALL_METADATA"
            ),
            opts=self.child(),
        )
        self._firewall(name, args, network)
        if args.nat:
            self._nat(name, args, network)
        self.ready: list[pulumi.Resource] = [subnet]
        if args.access == "psa":
            self.ready.append(self._peering(name, args, network))
        elif args.access == "psc":
            self.ready.append(self._connection_policy(name, args, network, subnet))
        if args.perimeter is not None:
            self._perimeter(name, args, args.perimeter)
        self.network_id: pulumi.Output[str] = network.id
        self.subnet_id: pulumi.Output[str] = subnet.id
        self.register_outputs({"network_id": network.id, "subnet_id": subnet.id})

    def _firewall(self, name: str, args: NetworkArgs, network: compute.Network) -> None:
        """The implied rules deny ingress already; written down with logging, so that a refusal can be seen."""

        def rule(word: str, *, sources: Sequence[str], priority: int = 1000, **what: Any) -> None:
            compute.Firewall(
                f"{name}-{word}",
                name=f"{args.network}-{word}",
                project=args.project,
                network=network.id,
                direction="INGRESS",
                priority=priority,
                source_ranges=list(sources),
                opts=self.child(),
                **what,
            )

        rule("internal", sources=[args.subnet, args.pods], allows=[compute.FirewallAllowArgs(protocol="all")])
        rule("health", sources=HEALTH_CHECKS, allows=[compute.FirewallAllowArgs(protocol="tcp")])
        rule(
            "deny",
            sources=["0.0.0.0/0"],
            priority=65534,
            denies=[compute.FirewallDenyArgs(protocol="all")],
            log_config=compute.FirewallLogConfigArgs(metadata="INCLUDE_ALL_METADATA"),
        )

    def _nat(self, name: str, args: NetworkArgs, network: compute.Network) -> None:
        router = compute.Router(
            name,
            name=f"{args.network}-{args.region}",
            project=args.project,
            region=args.region,
            network=network.id,
            opts=self.child(),
        )
        compute.RouterNat(
            name,
            name=f"{args.network}-{args.region}",
            project=args.project,
            region=args.region,
            router=router.name,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
            log_config=compute.RouterNatLogConfigArgs(enable=True, filter="ERRORS_ONLY"),
            opts=self.child(),
        )

    def _peering(self, name: str, args: NetworkArgs, network: compute.Network) -> pulumi.Resource:
        ranges = compute.GlobalAddress(
            f"{name}-peering",
            name=f"{args.network}-peering",
            project=args.project,
            purpose="VPC_PEERING",
            address_type="INTERNAL",
            prefix_length=args.peering_prefix,
            network=network.id,
            opts=self.child(protect=args.protect),
        )
        return servicenetworking.Connection(
            f"{name}-peering",
            network=network.id,
            service="servicenetworking.googleapis.com",
            reserved_peering_ranges=[ranges.name],
            opts=self.child(protect=args.protect),
        )

    def _connection_policy(
        self, name: str, args: NetworkArgs, network: compute.Network, subnet: compute.Subnetwork
    ) -> pulumi.Resource:
        return networkconnectivity.ServiceConnectionPolicy(
            f"{name}-psc",
            name=f"{args.network}-vertexai",
            project=args.project,
            location=args.region,
            network=network.id,
            service_class=SERVICE_CLASS,
            psc_config=networkconnectivity.ServiceConnectionPolicyPscConfigArgs(subnetworks=[subnet.id]),
            opts=self.child(),
        )

    def _perimeter(self, name: str, args: NetworkArgs, wanted: Perimeter) -> None:
        title = wanted.name or perimeter_name(args.network, wanted.project_number)
        services = list(wanted.services)
        accesscontextmanager.ServicePerimeter(
            f"{name}-perimeter",
            parent=wanted.policy,
            name=f"{wanted.policy}/servicePerimeters/{title}",
            title=title,
            perimeter_type="PERIMETER_TYPE_REGULAR",
            status=accesscontextmanager.ServicePerimeterStatusArgs(
                resources=[f"projects/{wanted.project_number}"],
                restricted_services=services,
                access_levels=list(wanted.access_levels) or None,
                vpc_accessible_services=accesscontextmanager.ServicePerimeterStatusVpcAccessibleServicesArgs(
                    enable_restriction=True, allowed_services=["RESTRICTED-SERVICES", *args.reachable]
                ),
                ingress_policies=[_ingress(args.callers, services)] if args.callers else None,
            ),
            opts=perimeter_options(self, protect=args.protect),
        )


def perimeter_name(network: str, project_number: str) -> str:
    """A name that no other project's perimeter has: one access policy serves a whole organization."""
    return f"{network.replace('-', '_')[: PERIMETER_NAME - 1 - len(project_number)]}_{project_number}"


def perimeter_options(parent: pulumi.Resource, *, protect: bool) -> pulumi.ResourceOptions:
    """Options of the perimeter: a project is in one at most, so the old one goes before one of another name comes.

    Egress policies are left to those who know what is outside, such as where GKE's nodes get their GPU drivers.
    """
    options = child_options(parent, protect=protect, ignore=("status.egressPolicies",))
    options.delete_before_replace = True
    return options


def _ingress(
    callers: Sequence[pulumi.Input[str]], services: Sequence[str]
) -> accesscontextmanager.ServicePerimeterStatusIngressPolicyArgs:
    """Let accounts call the perimeter's services from wherever they run."""
    every = accesscontextmanager.ServicePerimeterStatusIngressPolicyIngressFromSourceArgs(access_level="*")
    return accesscontextmanager.ServicePerimeterStatusIngressPolicyArgs(
        ingress_from=accesscontextmanager.ServicePerimeterStatusIngressPolicyIngressFromArgs(
            identities=[pulumi.Output.format("serviceAccount:{0}", caller) for caller in callers], sources=[every]
        ),
        ingress_to=accesscontextmanager.ServicePerimeterStatusIngressPolicyIngressToArgs(
            resources=["*"],
            operations=[
                accesscontextmanager.ServicePerimeterStatusIngressPolicyIngressToOperationArgs(
                    service_name=service,
                    method_selectors=[
                        accesscontextmanager.ServicePerimeterStatusIngressPolicyIngressToOperationMethodSelectorArgs(
                            method="*"
                        )
                    ],
                )
                for service in services
            ],
        ),
    )
