"""A private GKE cluster with GPU node pools: on demand and spot in a given ratio, and flex-start.

Nodes have no public addresses; workloads have identities of their own; each GPU pool is tainted, so that only pods that
ask for its GPUs land there; spot pools carry a second taint and label. GKE installs the drivers and divides GPUs into
MIG partitions where the spec says so. A PodDisruptionBudget keeps a share of the servers up while nodes are drained.

Deliberately not created: the servers (Deployments, Services, Gateways), which belong to whoever deploys them; a service
mesh; Autopilot, which chooses nodes by itself; a fleet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pulumi
import pulumi_kubernetes as k8s
from pulumi_gcp import container, serviceaccount

from infra.components.base import Component, asked, labels_of
from infra.components.gke_nodes import node_pools
from infra.components.network import PODS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.components.gke_nodes import NodePool
    from vertex_deploy.spec import Spec

KSA = "serving"
"""Kubernetes service account of the servers."""
APP_LABEL = "vertex-deploy"
"""Label of the servers' pods; the disruption budget selects by it."""


@dataclass(frozen=True, kw_only=True)
class GkeArgs:
    """Arguments of ``Gke``.

    Args:
        project: project id.
        region: region; the cluster is regional.
        cluster: name of the cluster.
        network: VPC network.
        subnet: subnetwork, with the secondary ranges of ``Network``.
        control_plane: /28 of the control plane.
        admins: CIDRs that reach the control plane.
        channel: RAPID, REGULAR or STABLE.
        zones: zones of the nodes; all of the region where empty.
        pools: node pools with GPUs.
        labels: labels.
        namespace: Kubernetes namespace of the servers.
        min_available: share of the servers' pods that stay up, 0 to 1.
        node_account: email of the nodes' account, which pulls images and writes the system's logs.
        service_account: email of the account that the servers act as, by workload identity.
        encryption_key: key of Kubernetes secrets and boot disks, or None.
        protect: refuse to delete the cluster.
    """

    project: str
    region: str
    cluster: str
    network: pulumi.Input[str]
    subnet: pulumi.Input[str]
    control_plane: str
    admins: tuple[str, ...] = ()
    channel: str = "REGULAR"
    zones: tuple[str, ...] = ()
    pools: tuple[NodePool, ...] = ()
    labels: Mapping[str, str]
    namespace: str = "serving"
    min_available: float = 0.8
    node_account: pulumi.Input[str]
    service_account: pulumi.Input[str]
    encryption_key: str | None = None
    protect: bool = False

    @classmethod
    def of(
        cls,
        spec: Spec,
        *,
        network: pulumi.Input[str],
        subnet: pulumi.Input[str],
        node_account: pulumi.Input[str],
        service_account: pulumi.Input[str],
    ) -> Self:
        """From ``infra.gke``; network, subnet and accounts are other components' outputs.

        Raises:
            ValueError: the spec has no ``infra.gke``.
        """
        wanted = asked(spec.infra.gke, "gke")
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            cluster=spec.name,
            network=network,
            subnet=subnet,
            control_plane=wanted.control_plane,
            admins=wanted.admins,
            channel=wanted.channel.upper(),
            zones=wanted.zones,
            pools=tuple(pool for kind, nodes in wanted.nodes.items() for pool in node_pools(kind, nodes)),
            labels=labels_of(spec),
            namespace=wanted.namespace,
            min_available=wanted.min_available,
            node_account=node_account,
            service_account=service_account,
            encryption_key=spec.infra.encryption_key,
            protect=spec.infra.protect,
        )


class Gke(Component):
    """A cluster, its GPU node pools, and a namespace for servers.

    Outputs: ``cluster`` (its name).
    """

    def __init__(self, name: str, args: GkeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        cluster = self._cluster(name, args)
        pools = [self._pool(name, args, cluster, pool) for pool in args.pools]
        self._namespace(name, args, cluster, pools)
        self.cluster: pulumi.Output[str] = cluster.name
        self.register_outputs({"cluster": cluster.name})

    def _cluster(self, name: str, args: GkeArgs) -> container.Cluster:
        blocks = [container.ClusterMasterAuthorizedNetworksConfigCidrBlockArgs(cidr_block=cidr) for cidr in args.admins]
        encryption = args.encryption_key and container.ClusterDatabaseEncryptionArgs(
            state="ENCRYPTED", key_name=args.encryption_key
        )
        return container.Cluster(
            name,
            name=args.cluster,
            project=args.project,
            location=args.region,
            node_locations=list(args.zones) or None,
            network=args.network,
            subnetwork=args.subnet,
            # The default pool has no GPU and runs the system's pods; without it a new cluster could not start them.
            initial_node_count=1,
            node_config=container.ClusterNodeConfigArgs(
                machine_type="e2-standard-4",
                boot_disk_kms_key=args.encryption_key,
                service_account=args.node_account,
                oauth_scopes=["https://www.googleapis.com/auth/cloud-platform"],
                workload_metadata_config=container.ClusterNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA"),
                shielded_instance_config=container.ClusterNodeConfigShieldedInstanceConfigArgs(
                    enable_secure_boot=True, enable_integrity_monitoring=True
                ),
            ),
            networking_mode="VPC_NATIVE",
            datapath_provider="ADVANCED_DATAPATH",
            ip_allocation_policy=container.ClusterIpAllocationPolicyArgs(
                cluster_secondary_range_name=PODS, services_secondary_range_name=SERVICES
            ),
            private_cluster_config=container.ClusterPrivateClusterConfigArgs(
                enable_private_nodes=True,
                enable_private_endpoint=not args.admins,
                master_ipv4_cidr_block=args.control_plane,
            ),
            master_authorized_networks_config=container.ClusterMasterAuthorizedNetworksConfigArgs(
                cidr_blocks=blocks, gcp_public_cidrs_access_enabled=False
            ),
            workload_identity_config=container.ClusterWorkloadIdentityConfigArgs(
                workload_pool=f"{args.project}.svc.id.goog"
            ),
            database_encryption=encryption or None,
            release_channel=container.ClusterReleaseChannelArgs(channel=args.channel),
            resource_labels=dict(args.labels),
            deletion_protection=args.protect,
            opts=self.child(protect=args.protect),
        )

    def _pool(self, name: str, args: GkeArgs, cluster: container.Cluster, pool: NodePool) -> container.NodePool:
        return container.NodePool(
            f"{name}-{pool.name}",
            name=pool.name,
            project=args.project,
            location=args.region,
            cluster=cluster.name,
            node_locations=list(args.zones) or None,
            # Total over all zones: a ratio per zone would depend on how many zones have the GPU.
            autoscaling=container.NodePoolAutoscalingArgs(
                total_min_node_count=pool.min, total_max_node_count=pool.max, location_policy=pool.location_policy
            ),
            queued_provisioning=container.NodePoolQueuedProvisioningArgs(enabled=True) if pool.queued else None,
            management=container.NodePoolManagementArgs(auto_repair=not pool.flex_start, auto_upgrade=True),
            node_config=pool.node_config(
                service_account=args.node_account, labels=args.labels, boot_disk_key=args.encryption_key
            ),
            opts=self.child(),
        )

    def _namespace(self, name: str, args: GkeArgs, cluster: container.Cluster, pools: list[container.NodePool]) -> None:
        provider = k8s.Provider(name, kubeconfig=kubeconfig(cluster), opts=self.child())
        options = pulumi.ResourceOptions(parent=self, provider=provider, depends_on=pools or None)
        namespace = k8s.core.v1.Namespace(name, metadata=k8s.meta.v1.ObjectMetaArgs(name=args.namespace), opts=options)
        k8s.core.v1.ServiceAccount(
            name,
            metadata=k8s.meta.v1.ObjectMetaArgs(
                name=KSA,
                namespace=namespace.metadata["name"],
                annotations={"iam.gke.io/gcp-service-account": args.service_account},
            ),
            opts=options,
        )
        serviceaccount.IAMMember(
            f"{name}-workload-identity",
            service_account_id=pulumi.Output.format(
                "projects/{0}/serviceAccounts/{1}", args.project, args.service_account
            ),
            role="roles/iam.workloadIdentityUser",
            # The pool exists once a cluster of the project has it.
            member=cluster.name.apply(lambda _: f"serviceAccount:{args.project}.svc.id.goog[{args.namespace}/{KSA}]"),
            opts=self.child(),
        )
        k8s.policy.v1.PodDisruptionBudget(
            name,
            metadata=k8s.meta.v1.ObjectMetaArgs(name="servers", namespace=namespace.metadata["name"]),
            spec=k8s.policy.v1.PodDisruptionBudgetSpecArgs(
                min_available=f"{round(args.min_available * 100)}%",
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels={"app.kubernetes.io/part-of": APP_LABEL}),
            ),
            opts=options,
        )


def kubeconfig(cluster: container.Cluster) -> pulumi.Output[str]:
    """A kubeconfig that gets its token from gke-gcloud-auth-plugin: it holds no secret."""
    return pulumi.Output.json_dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "user"}}],
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {
                        "server": pulumi.Output.format("https://{0}", cluster.endpoint),
                        "certificate-authority-data": cluster.master_auth.cluster_ca_certificate,
                    },
                }
            ],
            "users": [
                {
                    "name": "user",
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "gke-gcloud-auth-plugin",
                            "provideClusterInfo": True,
                        }
                    },
                }
            ],
        }
    )
