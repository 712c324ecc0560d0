from __future__ import annotations

import inspect
import json
import re
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

pytest.importorskip("pulumi")

import pulumi
from pulumi.runtime import rpc
from pulumi_gcp import accesscontextmanager

from infra.components import (
    alerts,
    budget,
    dashboard,
    gke,
    gke_nodes,
    gpu_pool,
    identity,
    network,
    objectives,
    registry,
    runner,
    static_split,
    storage,
    triggers,
)
from infra.components import endpoint as endpoint_module
from infra.components.base import child_options
from tests.infra.recorder import Made, Recording, record
from tests.spec.examples import examined
from vertex_deploy.spec import Gate, Spec, machines
from vertex_deploy.spec.infra import GpuNodes

KEY = "projects/my-project/locations/us-central1/keyRings/r/cryptoKeys/k"
BASE = """\
name: lite0
gcp: {project: my-project, region: us-central1}
model: {artifact: gs://my-project-models/lite0/2}
container: {image: torch-aoti}
target:
  type: vertex
  endpoint: ENDPOINT
  machine: {type: g2-standard-8, accelerator: L4:1}
  replicas: {min: 2, max: 10, scale_on: {gpu_duty_cycle: 60}}
rollout:
  gates:
    - {metric: error_rate, max: 0.5%}
    - {metric: latency_p95, max: 500ms, worse_than_stable: 10%, critical: false}
    - {metric: latency_p99, worse_than_stable: 10%}
monitoring: MONITORING
infra: INFRA
"""


def spec(infra: str = "{}", *, endpoint: str = "{}", monitoring: str = "{}") -> Spec:
    text = BASE.replace("ENDPOINT", endpoint).replace("MONITORING", monitoring).replace("INFRA", infra)
    found = examined(text)
    assert found.spec is not None, [str(problem) for problem in found.problems]
    return found.spec


def network_of(wanted: Spec) -> Recording:
    return record(lambda: network.Network("network", network.NetworkArgs.of(wanted)))


def endpoint_of(wanted: Spec) -> Recording:
    return record(lambda: endpoint_module.Endpoint("endpoint", endpoint_module.EndpointArgs.of(wanted)))


ARGUMENTS = [
    network.NetworkArgs,
    endpoint_module.EndpointArgs,
    gpu_pool.GpuPoolArgs,
    static_split.StaticSplitArgs,
    registry.RegistryArgs,
    storage.StorageArgs,
    identity.IdentityArgs,
    gke.GkeArgs,
    alerts.AlertsArgs,
    dashboard.DashboardArgs,
    triggers.TriggersArgs,
    runner.RunnerArgs,
    budget.BudgetArgs,
]


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_arguments_are_frozen_keyword_only_and_described(cls):
    assert is_dataclass(cls)
    assert all(item.kw_only for item in fields(cls))
    assert cls.__dataclass_params__.frozen
    assert all(f"        {item.name}: " in f"\n    {cls.__doc__}" for item in fields(cls)), cls.__doc__
    blank = object.__new__(cls)
    with pytest.raises(FrozenInstanceError):
        blank.project = "other"


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_every_component_says_what_it_does_not_create(cls):
    import sys  # noqa: PLC0415 - beside its only use

    assert "Deliberately not created:" in sys.modules[cls.__module__].__doc__


# options


def test_a_childs_options_hold_its_parent_and_what_was_asked():
    class Parent(pulumi.ComponentResource):
        def __init__(self):
            super().__init__("t:t:T", "parent")

    def make():
        parent = Parent()
        plain = child_options(parent)
        assert plain.parent is parent
        assert (plain.protect, plain.depends_on, plain.ignore_changes) == (None, None, None)
        full = child_options(parent, protect=True, after=[parent], ignore=["traffic_split"])
        assert (full.protect, full.depends_on, full.ignore_changes) == (True, [parent], ["traffic_split"])

    record(make)


def test_the_split_is_never_the_endpoints_own():
    def make():
        parent = pulumi.ComponentResource("t:t:T", "parent")
        options = endpoint_module.endpoint_options(parent, protect=False, after=())
        assert options.ignore_changes == ["traffic_split"]

    record(make)


# network


def test_a_network_lets_in_itself_and_health_checks_and_denies_the_rest():
    made = network_of(spec("{network: {}}"))
    rules = {rule.name: rule.inputs for rule in made.of("Firewall")}
    assert rules["network-internal"]["sourceRanges"] == ["10.10.0.0/20", "10.64.0.0/14"]
    assert rules["network-health"]["sourceRanges"] == list(network.HEALTH_CHECKS)
    assert rules["network-deny"]["denies"] == [{"protocol": "all"}]
    assert rules["network-deny"]["priority"] > rules["network-internal"]["priority"]
    assert "allows" not in rules["network-deny"]


def test_a_subnet_reaches_google_privately_and_has_ranges_for_gke():
    subnet = network_of(spec("{network: {}}")).one("Subnetwork").inputs
    assert subnet["privateIpGoogleAccess"] is True
    assert {item["rangeName"] for item in subnet["secondaryIpRanges"]} == {"pods", "services"}
    vpc = network_of(spec("{network: {}}")).one("Network", "network").inputs
    assert (vpc["name"], vpc["autoCreateSubnetworks"]) == ("lite0", False)


def test_nat_is_made_unless_the_spec_says_no():
    assert network_of(spec("{network: {}}")).one("RouterNat").inputs["router"] == "lite0-us-central1"
    assert not network_of(spec("{network: {nat: false}}")).of("RouterNat")


def test_psa_peers_a_range_of_the_network_that_the_endpoint_names():
    text = BASE.replace("rollout:\n", "rollout:\n  steps: [{weight: 100}]\n")
    text = text.replace("ENDPOINT", "{access: psa, network: projects/123/global/networks/served}")
    wanted = examined(text.replace("MONITORING", "{}").replace("INFRA", "{network: {peering_prefix: 20}}")).spec
    made = network_of(wanted)
    assert made.one("GlobalAddress").inputs["prefixLength"] == 20
    assert made.one("GlobalAddress").inputs["purpose"] == "VPC_PEERING"
    assert made.one("Connection").inputs["reservedPeeringRanges"] == ["served-peering"]
    assert not made.of("ServiceConnectionPolicy")


def test_psc_with_automation_lets_vertex_ai_connect():
    item = "{project: my-project, network: projects/my-project/global/networks/lite0}"
    made = network_of(spec("{network: {}}", endpoint=f"{{access: psc, automation: [{item}]}}"))
    assert made.one("ServiceConnectionPolicy").inputs["serviceClass"] == "gcp-vertexai"
    assert not made.of("GlobalAddress")
    assert not network_of(spec("{network: {}}", endpoint="{access: psc, allow_projects: [other-project]}")).of(
        "ServiceConnectionPolicy"
    )


def test_a_perimeter_restricts_the_services_inside():
    perimeter = "{network: {perimeter: {policy: accessPolicies/1, project_number: '123456'}}}"
    status = network_of(spec(perimeter)).one("ServicePerimeter").inputs["status"]
    assert status["resources"] == ["projects/123456"]
    assert "aiplatform.googleapis.com" in status["restrictedServices"]
    assert status["vpcAccessibleServices"] == {"enableRestriction": True, "allowedServices": ["RESTRICTED-SERVICES"]}
    assert "ingressPolicies" not in status
    assert "accessLevels" not in status


def test_perimeters_of_two_projects_have_two_names_under_one_policy():
    names = [network.perimeter_name("n" * 63, number) for number in ("123456", "123457", "9" * 20)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z]\w{0,49}", name, re.ASCII) for name in names), names
    assert network.perimeter_name("lite-private", "123456") == "lite_private_123456"


@pytest.mark.parametrize(("given", "name"), [("", "lite0_123456"), (", name: of_the_project", "of_the_project")])
def test_a_perimeter_that_is_there_is_adopted_by_its_name(given, name):
    wanted = spec(f"{{network: {{perimeter: {{policy: accessPolicies/1, project_number: '123456'{given}}}}}}}")
    inputs = network_of(wanted).one("ServicePerimeter").inputs
    assert inputs["name"] == f"accessPolicies/1/servicePerimeters/{name}"
    assert inputs["title"] == name


def test_a_project_is_in_one_perimeter_so_the_old_one_goes_before_the_new_one_comes():
    found = []

    def make() -> None:
        found.append(network.perimeter_options(pulumi.ComponentResource("a:b:C", "parent"), protect=True))

    record(make)
    assert [(options.delete_before_replace, options.protect) for options in found] == [(True, True)]


def test_egress_policies_of_a_perimeter_are_somebody_elses():
    perimeter = "{network: {perimeter: {policy: accessPolicies/1, project_number: '123456'}}}"
    made = network_of(spec(perimeter)).one("ServicePerimeter")
    assert made.ignored == ["status.egressPolicies"]
    # The path is of properties that there are.
    assert "egress_policies" in inspect.signature(accesscontextmanager.ServicePerimeterStatusArgs.__init__).parameters


def test_people_get_into_a_perimeter_by_the_access_levels_that_the_spec_names():
    level = "accessPolicies/1/accessLevels/office"
    wanted = f"{{policy: accessPolicies/1, project_number: '123456', access_levels: [{level}]}}"
    status = network_of(spec(f"{{network: {{perimeter: {wanted}}}}}")).one("ServicePerimeter").inputs["status"]
    assert status["accessLevels"] == [level]


def test_nodes_in_a_perimeter_reach_what_their_accounts_may_use():
    wanted = spec(
        GKE.replace("network: {}", "network: {perimeter: {policy: accessPolicies/1, project_number: '123456'}}")
    )
    status = network_of(wanted).one("ServicePerimeter").inputs["status"]
    reached = {*status["restrictedServices"], *status["vpcAccessibleServices"]["allowedServices"]}
    used = {name.partition(".")[0] for role in ("serving", "nodes") for name in identity.PERMISSIONS[role]}
    # Google's autoscaler hears of metrics by Cloud Monitoring.
    assert {f"{service}.googleapis.com" for service in used - {"autoscaling"}} <= reached
    # What workload identity gets its tokens from.
    assert "sts.googleapis.com" in reached


def test_builds_and_rollouts_call_into_the_perimeter_from_outside():
    perimeter = spec("{network: {perimeter: {policy: accessPolicies/1, project_number: '123456'}}}")
    args = network.NetworkArgs.of(perimeter, callers=["build@x", "rollout@x"])
    status = record(lambda: network.Network("network", args)).one("ServicePerimeter").inputs["status"]
    (policy,) = status["ingressPolicies"]
    assert policy["ingressFrom"]["identities"] == ["serviceAccount:build@x", "serviceAccount:rollout@x"]
    operations = policy["ingressTo"]["operations"]
    assert [operation["serviceName"] for operation in operations] == status["restrictedServices"]
    assert all(operation["methodSelectors"] == [{"method": "*"}] for operation in operations)


# endpoint


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("{}", {}),
        ("{access: dedicated}", {"dedicatedEndpointEnabled": True}),
        (
            "{access: psc, allow_projects: [other-project]}",
            {
                "privateServiceConnectConfig": {
                    "enablePrivateServiceConnect": True,
                    "projectAllowlists": ["other-project"],
                    "pscAutomationConfigs": [],
                }
            },
        ),
    ],
)
def test_each_kind_of_access_sets_its_own_properties_and_no_other(endpoint, expected):
    inputs = endpoint_of(spec(endpoint=endpoint)).one("AiEndpoint").inputs
    access = ("dedicatedEndpointEnabled", "network", "privateServiceConnectConfig")
    assert {key: inputs[key] for key in access if key in inputs} == expected


def test_a_peered_endpoint_names_its_network_and_no_other_access():
    text = BASE.replace("rollout:\n", "rollout:\n  steps: [{weight: 100}]\n")
    text = text.replace("ENDPOINT", "{access: psa, network: projects/123/global/networks/served}")
    inputs = (
        endpoint_of(examined(text.replace("MONITORING", "{}").replace("INFRA", "{}")).spec).one("AiEndpoint").inputs
    )
    assert inputs["network"] == "projects/123/global/networks/served"
    assert not {"dedicatedEndpointEnabled", "privateServiceConnectConfig"} & set(inputs)


def test_an_endpoint_has_the_id_and_label_that_a_rollout_looks_for():
    made = endpoint_of(spec("{labels: {team: vision}}")).one("AiEndpoint")
    assert made.inputs["name"].isdigit()
    assert made.inputs["labels"] == {"team": "vision", "vertex-deploy": "lite0"}
    assert made.ignored == ["trafficSplit"]
    assert made.parent == "endpoint"
    assert "trafficSplit" not in made.inputs


def test_a_key_encrypts_the_endpoint_and_its_log():
    made = endpoint_of(spec(f"{{encryption_key: {KEY}}}", monitoring="{sampling: 10%}"))
    assert made.one("AiEndpoint").inputs["encryptionSpec"] == {"kmsKeyName": KEY}
    assert made.one("Dataset").inputs["defaultEncryptionConfiguration"] == {"kmsKeyName": KEY}


def test_a_key_encrypts_the_disks_of_all_nodes_and_the_clusters_secrets():
    made = cluster(GKE.replace("network: {}", f"encryption_key: {KEY}, network: {{}}"))
    inputs = made.one("Cluster").inputs
    assert inputs["databaseEncryption"] == {"state": "ENCRYPTED", "keyName": KEY}
    assert inputs["nodeConfig"]["bootDiskKmsKey"] == KEY
    assert {pool.inputs["nodeConfig"]["bootDiskKmsKey"] for pool in made.of("NodePool")} == {KEY}


def test_the_log_goes_with_its_table_unless_it_is_protected():
    for protect in (False, True):
        made = endpoint_of(spec(f"{{protect: {str(protect).lower()}}}", monitoring="{sampling: 10%}"))
        assert made.one("Dataset").inputs["deleteContentsOnDestroy"] is not protect


def test_sampled_requests_go_to_bigquery():
    made = endpoint_of(spec(monitoring="{sampling: 10%}"))
    config = made.one("AiEndpoint").inputs["predictRequestResponseLoggingConfig"]
    assert config["samplingRate"] == 0.1
    assert config["bigqueryDestination"] == {"outputUri": "bq://my-project.lite0_requests.requests"}
    assert not endpoint_of(spec()).of("Dataset")


def test_the_log_of_an_endpoint_of_any_name_is_a_data_set():
    made = endpoint_of(spec(endpoint="{name: 'Größe, 2. version'}", monitoring="{sampling: 10%}"))
    assert made.one("Dataset").inputs["datasetId"] == "Gr__e__2__version_requests"


def test_protection_reaches_what_answers_traffic():
    assert endpoint_of(spec("{protect: true}")).one("AiEndpoint").protect
    assert not endpoint_of(spec()).one("AiEndpoint").protect


def test_an_endpoint_with_a_timeout_is_left_to_the_rollout():
    assert endpoint_module.wanted(spec())
    assert not endpoint_module.wanted(spec(endpoint="{access: dedicated, request_timeout: 5m}"))
    assert not endpoint_module.wanted(spec("{endpoint: false}"))


# pool, registry, storage


def on_a_pool() -> Spec:
    image = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest"
    text = BASE.replace("image: torch-aoti", f"image: {image}").replace("  machine:", "  pool: shared\n  machine:")
    for word, value in {"ENDPOINT": "{}", "MONITORING": "{}", "INFRA": "{pool: true}"}.items():
        text = text.replace(word, value)
    return examined(text).spec


def test_a_pool_that_nobody_asked_for_is_not_made():
    with pytest.raises(ValueError, match="pool: true"):
        gpu_pool.GpuPoolArgs.of(spec())


def test_a_pool_has_the_targets_machine_and_scales_as_it_does():
    made = record(lambda: gpu_pool.GpuPool("pool", gpu_pool.GpuPoolArgs.of(on_a_pool())))
    inputs = made.one("AiDeploymentResourcePool").inputs
    resources = inputs["dedicatedResources"]
    assert inputs["name"] == "shared"
    assert resources["machineSpec"] == {
        "machineType": "g2-standard-8",
        "acceleratorType": "NVIDIA_L4",
        "acceleratorCount": 1,
    }
    assert (resources["minReplicaCount"], resources["maxReplicaCount"]) == (2, 10)
    assert resources["autoscalingMetricSpecs"] == [
        {"metricName": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle", "target": 60}
    ]


def test_a_registry_keeps_the_newest_deletes_the_untagged_and_moves_no_tag():
    wanted = spec("{registry: {keep: 7, untagged_after: 3d, scan: false}}")
    inputs = record(lambda: registry.Registry("registry", registry.RegistryArgs.of(wanted))).one("Repository").inputs
    policies = {policy["id"]: policy for policy in inputs["cleanupPolicies"]}
    assert policies["keep-newest"]["mostRecentVersions"] == {"keepCount": 7}
    assert policies["delete-untagged"]["condition"] == {"tagState": "UNTAGGED", "olderThan": "259200s"}
    assert inputs["dockerConfig"] == {"immutableTags": True}
    assert inputs["vulnerabilityScanningConfig"] == {"enablementConfig": "DISABLED"}
    assert (inputs["location"], inputs["repositoryId"]) == ("us-central1", "vertex-deploy")


def test_buckets_keep_old_versions_and_nobody_sees_them():
    wanted = spec("{storage: {noncurrent_after: 5d, recoverable: 14d}, protect: true}")
    made = record(lambda: storage.Storage("storage", storage.StorageArgs.of(wanted)))
    assert {bucket.inputs["name"] for bucket in made.of("Bucket")} == {"my-project-models", "my-project-lite0-rollouts"}
    for bucket in made.of("Bucket"):
        assert bucket.inputs["versioning"] == {"enabled": True}
        assert bucket.inputs["publicAccessPrevention"] == "enforced"
        assert bucket.inputs["uniformBucketLevelAccess"] is True
        assert bucket.inputs["softDeletePolicy"] == {"retentionDurationSeconds": 14 * 86400}
        assert bucket.inputs["lifecycleRules"][0]["condition"]["daysSinceNoncurrentTime"] == 5
        assert bucket.inputs["forceDestroy"] is False
        assert bucket.protect


def test_the_state_bucket_lets_a_lease_be_overwritten():
    made = record(lambda: storage.Storage("storage", storage.StorageArgs.of(spec())))
    assert all("retentionPolicy" not in bucket.inputs for bucket in made.of("Bucket"))


# identity


GKE = "{network: {}, gke: {nodes: {l4: {machine: g2-standard-8, accelerator: L4:1, min: 1, max: 10, spot_share: 70%}}}}"


def identities(wanted: Spec | None = None) -> Recording:
    args = identity.IdentityArgs.of(wanted or spec(), models="models", state="state", repository="vertex-deploy")
    return record(lambda: identity.Identity("identity", args))


def test_each_account_gets_the_permissions_of_the_table_and_no_other():
    roles = {role.name.removeprefix("identity-"): role.inputs for role in identities(spec(GKE)).of("IAMCustomRole")}
    assert {name: set(role["permissions"]) for name, role in roles.items()} == {
        name: set(permissions) for name, permissions in identity.PERMISSIONS.items() if permissions
    }


def test_no_account_holds_a_primitive_or_a_predefined_role_on_the_project():
    members = identities().of("IAMMember")
    on_project = [m.inputs for m in members if "serviceAccountId" not in m.inputs]
    assert on_project
    assert all(m["role"].startswith("projects/my-project/roles/lite0_") for m in on_project)


def test_only_building_and_rolling_out_write_state():
    members = {(m.inputs["bucket"], m.name): m.inputs["role"] for m in identities().of("BucketIAMMember")}
    writers = {name for (bucket, name), role in members.items() if bucket == "state" and "objectUser" in role}
    assert writers == {"identity-build-state", "identity-rollout-state"}


def test_serving_cannot_change_an_endpoint():
    assert not any(name.startswith("aiplatform") for name in identity.PERMISSIONS["serving"])


def test_account_and_role_ids_are_what_iam_takes_and_long_names_that_begin_alike_stay_apart():
    long = "a-name-of-many-characters-in-all"
    for role in (*identity.ROLES, identity.NODES):
        found = [identity.account_id(prefix, role) for prefix in ("a", long, f"{long}-more", "a" * 63)]
        assert all(re.fullmatch("[a-z](?:[-a-z0-9]{4,28}[a-z0-9])", ident) for ident in found), found
        assert len(set(found)) == len(found)
    text = BASE.replace("lite0", "n" * 63).replace("ENDPOINT", "{}").replace("MONITORING", "{}")
    wanted = examined(text.replace("INFRA", "{storage: {state: s-1}}"))
    assert wanted.spec is not None, wanted.problems
    roles = identities(wanted.spec).of("IAMCustomRole")
    assert roles
    assert all(re.fullmatch("[a-zA-Z0-9_.]{3,64}", role.inputs["roleId"]) for role in roles)


def test_nodes_have_an_account_of_their_own_that_pulls_images_and_acts_as_nobody():
    plain, with_cluster = identities(), identities(spec(GKE))
    assert "identity-nodes" not in {made.name for made in plain.of("Account")}
    assert "identity-nodes" in {made.name for made in with_cluster.of("Account")}
    pulls = with_cluster.one("RepositoryIamMember", "identity-nodes-images").inputs
    assert pulls["role"] == "roles/artifactregistry.reader"
    assert not [made for made in with_cluster.of("IAMMember") if made.name == "identity-nodes-acts-as-serving"]
    nodes = cluster()
    assert nodes.one("Cluster").inputs["nodeConfig"]["serviceAccount"] == "nodes@my-project.iam"
    assert {pool.inputs["nodeConfig"]["serviceAccount"] for pool in nodes.of("NodePool")} == {"nodes@my-project.iam"}


def test_a_build_that_starts_rollouts_itself_may_do_what_a_rollout_may_and_no_other_build():
    waiting = identities(spec(TRIGGERS.replace(", approval: false", "")))
    starting = identities(spec(TRIGGERS))
    build = "serviceAccount:lite0-build@my-project.iam.gserviceaccount.com"

    def held(made: Recording) -> set[str]:
        return {m.inputs["role"] for m in made.of("IAMMember") if m.inputs["member"] == build}

    role = "projects/my-project/roles/lite0_"
    assert held(waiting) == {f"{role}build"}
    assert held(starting) == {f"{role}build", f"{role}rollout", "roles/iam.serviceAccountUser"}


@pytest.mark.parametrize(
    ("email", "granted"),
    [
        ("lite0-serving@my-project.iam.gserviceaccount.com", set()),
        ("vision@my-project.iam.gserviceaccount.com", {"vision@my-project.iam.gserviceaccount.com"}),
        ("vision@other-project.iam.gserviceaccount.com", set()),
    ],
)
def test_a_rollout_may_deploy_as_whom_the_spec_names(email, granted):
    text = BASE.replace("  endpoint: ENDPOINT", f"  service_account: {email}")
    found = examined(text.replace("MONITORING", "{}").replace("INFRA", "{}"))
    assert found.spec is not None, found.problems
    made = [m for m in identities(found.spec).of("IAMMember") if "serviceAccountId" in m.inputs]
    on = {m.inputs["serviceAccountId"].rpartition("/")[2] for m in made}
    assert on == {"lite0-serving@my-project.iam.gserviceaccount.com", *granted}


def test_a_rollout_may_use_the_topics_and_secrets_that_the_spec_names():
    notify = (
        "  notify: [{pubsub: projects/my-project/topics/rollouts}, {pubsub: projects/other-project/topics/all},"
        " {slack: projects/my-project/secrets/slack/versions/latest}, {slack: env:SLACK}]\n  gates:"
    )
    text = BASE.replace("  gates:", notify).replace("ENDPOINT", "{}").replace("INFRA", "{}")
    prometheus = "{prometheus: {url: https://p.example.com, token: projects/my-project/secrets/prom/versions/3}}"
    found = examined(text.replace("MONITORING", prometheus))
    assert found.spec is not None, found.problems
    made = identities(found.spec)
    topics = {m.inputs["topic"]: m.inputs["role"] for m in made.of("TopicIAMMember")}
    secrets = {m.inputs["secretId"]: m.inputs["role"] for m in made.of("SecretIamMember")}
    assert topics == {"rollouts": "roles/pubsub.publisher"}
    assert secrets == dict.fromkeys(("slack", "prom"), "roles/secretmanager.secretAccessor")


def test_without_buckets_no_bucket_is_granted():
    made = record(lambda: identity.Identity("identity", identity.IdentityArgs.of(spec())))
    assert not made.of("BucketIAMMember")
    assert not made.of("RepositoryIamMember")


# gke


def cluster(infra: str = GKE) -> Recording:
    accounts = {"node_account": "nodes@my-project.iam", "service_account": "serving@my-project.iam"}
    args = gke.GkeArgs.of(spec(infra), network="n", subnet="s", **accounts)
    return record(lambda: gke.Gke("gke", args))


def test_a_cluster_is_private_and_its_workloads_have_identities():
    inputs = cluster().one("Cluster").inputs
    private = inputs["privateClusterConfig"]
    assert private["enablePrivateNodes"] is True
    assert private["enablePrivateEndpoint"] is True
    assert inputs["workloadIdentityConfig"] == {"workloadPool": "my-project.svc.id.goog"}
    assert inputs["ipAllocationPolicy"]["clusterSecondaryRangeName"] == "pods"


def test_admins_reach_the_control_plane_from_their_networks_only():
    inputs = cluster(GKE.replace("gke: {", "gke: {admins: [192.0.2.0/24], ")).one("Cluster").inputs
    assert inputs["masterAuthorizedNetworksConfig"]["cidrBlocks"] == [{"cidrBlock": "192.0.2.0/24"}]
    assert inputs["privateClusterConfig"]["enablePrivateEndpoint"] is False


@pytest.mark.parametrize(
    ("most", "share", "expected"),
    [(10, 0.7, (3, 7)), (10, 0.0, (10, 0)), (10, 1.0, (0, 10)), (1, 0.5, (1, 0)), (3, 0.5, (2, 1)), (10, 0.29, (8, 2))],
)
def test_nodes_are_split_in_the_ratio_and_one_alone_is_on_demand(most, share, expected):
    assert gke_nodes.split(most, share) == expected


@pytest.mark.parametrize("machine", sorted(machines.GPU_MACHINES))
def test_nodes_boot_from_a_disk_that_their_machine_takes(machine):
    gpu, count = machines.GPU_MACHINES[machine]
    nodes = GpuNodes.model_validate({"machine": machine, "accelerator": f"{gpu}:{count}", "max": 1})
    (pool,) = gke_nodes.node_pools("gpu", nodes)
    # Compute Engine's newest machines have no Persistent Disk.
    newest = machine.startswith(("a3-ultragpu", "a4", "g4"))
    assert pool.disk_type == ("hyperdisk-balanced" if newest else "pd-balanced")


def test_spot_nodes_are_a_pool_of_their_own_with_a_taint():
    pools = {pool.name: pool.inputs for pool in cluster().of("NodePool")}
    assert set(pools) == {"gke-l4", "gke-l4-spot"}
    on_demand, spot = pools["gke-l4"], pools["gke-l4-spot"]
    assert on_demand["autoscaling"]["totalMaxNodeCount"] == 3
    assert on_demand["autoscaling"]["totalMinNodeCount"] == 1
    assert spot["autoscaling"] == {"totalMinNodeCount": 0, "totalMaxNodeCount": 7, "locationPolicy": "ANY"}
    assert spot["nodeConfig"]["spot"] is True
    assert "spot" not in on_demand["nodeConfig"]
    taints = [{taint["key"] for taint in pool["nodeConfig"]["taints"]} for pool in (on_demand, spot)]
    assert taints == [{"nvidia.com/gpu"}, {"nvidia.com/gpu", "cloud.google.com/gke-spot"}]


def test_gpus_get_drivers_and_partitions():
    nodes = "a100: {machine: a2-highgpu-1g, accelerator: A100:1, max: 1, partition: 1g.5gb, driver: latest}"
    made = cluster(f"{{network: {{}}, gke: {{nodes: {{{nodes}}}}}}}").one("NodePool")
    (gpu,) = made.inputs["nodeConfig"]["guestAccelerators"]
    assert gpu["type"] == "nvidia-tesla-a100"
    assert gpu["gpuPartitionSize"] == "1g.5gb"
    assert gpu["gpuDriverInstallationConfig"] == {"gpuDriverVersion": "LATEST"}


def test_flex_start_nodes_wait_start_at_none_and_take_no_reservation():
    flex = GpuNodes.model_validate(
        {"machine": "a3-highgpu-8g", "accelerator": "H100:8", "max": 1, "flex_start": {"max": 4, "queued": True}}
    )
    pool = next(pool for pool in gke_nodes.node_pools("h100", flex) if pool.flex_start)
    config = pool.node_config(service_account="a", labels={}, boot_disk_key=None)
    assert (pool.min, pool.max, pool.queued, pool.location_policy) == (0, 4, True, "ANY")
    assert config.flex_start is True
    assert config.max_run_duration == "604800s"
    assert config.reservation_affinity.consume_reservation_type == "NO_RESERVATION"


def test_on_demand_nodes_take_their_reservation():
    nodes = GpuNodes.model_validate(
        {"machine": "g2-standard-8", "accelerator": "L4:1", "max": 2, "spot_share": 0.5, "reservation": "r1"}
    )
    on_demand, spot = gke_nodes.node_pools("l4", nodes)
    affinity = on_demand.node_config(service_account="a", labels={}, boot_disk_key=KEY).reservation_affinity
    assert affinity.values == ["r1"]
    assert spot.reservation is None


def test_every_accelerator_of_the_spec_has_a_compute_engine_type():
    from vertex_deploy.spec import machines, regions  # noqa: PLC0415 - beside their only use

    assert set(regions.COMPUTE_TYPES) == set(machines.ACCELERATORS)


def test_servers_stay_up_while_nodes_are_drained():
    made = cluster()
    budget_ = made.one("PodDisruptionBudget").inputs["spec"]
    assert budget_["minAvailable"] == "80%"
    binding = made.one("IAMMember").inputs
    assert binding["role"] == "roles/iam.workloadIdentityUser"
    assert binding["member"] == "serviceAccount:my-project.svc.id.goog[serving/serving]"
    account = made.one("ServiceAccount").inputs["metadata"]
    assert account["annotations"] == {"iam.gke.io/gcp-service-account": "serving@my-project.iam"}


def test_the_kubeconfig_holds_no_secret():
    config = json.loads(cluster().one("kubernetes").inputs["kubeconfig"])
    assert config["clusters"][0]["cluster"]["server"] == "https://172.16.0.2"
    assert set(config["users"][0]["user"]) == {"exec"}


# alerts


def alerting(infra: str = "{}", monitoring: str = "{}") -> Recording:
    return record(lambda: alerts.Alerts("alerts", alerts.AlertsArgs.of(spec(infra, monitoring=monitoring))))


def test_each_absolute_gate_is_a_policy_and_a_relative_one_is_none():
    made = {policy.name: policy.inputs for policy in alerting().of("AlertPolicy")}
    assert set(made) == {"alerts-error_rate", "alerts-latency_p95"}
    (errors,) = made["alerts-error_rate"]["conditions"]
    assert errors["conditionThreshold"]["thresholdValue"] == 0.005
    assert made["alerts-error_rate"]["severity"] == "CRITICAL"
    assert made["alerts-latency_p95"]["severity"] == "WARNING"


def test_gates_that_stay_and_channels_join_the_rollouts_own():
    monitoring = (
        "{alerts: [{metric: latency_p99.9, max: 2s}], notification_channels: [projects/p/notificationChannels/7]}"
    )
    made = alerting("{emails: [a@example.com]}", monitoring)
    policy = made.one("AlertPolicy", "alerts-latency_p99.9").inputs
    assert "histogram_quantile(0.999" in policy["conditions"][0]["conditionPrometheusQueryLanguage"]["query"]
    assert policy["notificationChannels"] == [
        "projects/p/notificationChannels/7",
        "projects/my-project/notificationChannels/1",
    ]
    assert made.one("NotificationChannel").inputs["labels"] == {"email_address": "a@example.com"}


def test_a_condition_loses_nothing_on_its_way_to_pulumi():
    body = {
        "displayName": "x",
        "conditionPrometheusQueryLanguage": {
            "query": "q",
            "duration": "0s",
            "evaluationInterval": "60s",
            "ruleGroup": "g",
        },
    }
    with pytest.raises(ValueError, match="ruleGroup"):
        alerts.condition_args(body)
    with pytest.raises(ValueError, match="conditionAbsent"):
        alerts.condition_args({"displayName": "x", "conditionAbsent": {}})


def test_an_objective_is_the_gates_limit_held_over_a_period():
    made = {slo.name: slo.inputs for slo in alerting("{slo: {days: 7}}").of("Slo")}
    errors, latency = made["alerts-error_rate"], made["alerts-latency_p95"]
    assert (errors["goal"], latency["goal"]) == (0.995, 0.95)
    assert latency["requestBasedSli"]["distributionCut"]["range"] == {"max": 500}
    ratio = errors["requestBasedSli"]["goodTotalRatio"]
    assert "5xx" in ratio["badServiceFilter"]
    assert "5xx" not in ratio["totalServiceFilter"]
    assert errors["rollingPeriodDays"] == 7


def test_a_burn_rate_must_be_exceeded_over_both_windows():
    policy = alerting("{slo: {fast_burn: 10}}").one("AlertPolicy", "alerts-error_rate-fast-burn").inputs
    assert policy["combiner"] == "AND"
    assert [item["conditionThreshold"]["thresholdValue"] for item in policy["conditions"]] == [10, 10]
    assert [item["conditionThreshold"]["filter"] for item in policy["conditions"]] == [
        f'select_slo_burn_rate("projects/my-project/services/lite0/serviceLevelObjectives/error-rate", "{seconds}s")'
        for seconds in (3600, 300)
    ]


def test_gates_of_one_name_are_policies_of_their_own():
    stay = "{alerts: [{metric: error_rate, max: 2%}, {metric: error_rate, max: 3%}, {metric: error_rate, max: 0.5%}]}"
    policies = alerting(monitoring=stay).of("AlertPolicy")
    assert {p.name for p in policies} == {
        *("alerts-error_rate", "alerts-latency_p95", "alerts-error_rate (max 0.02)", "alerts-error_rate (max 0.03)")
    }
    assert len({p.inputs["displayName"] for p in policies}) == 4


def test_rejections_are_not_counted_as_failures_of_the_server():
    stay = "{alerts: [{metric: rejection_rate, name: 'Bad requests: too many', max: 5%}]}"
    slo = alerting("{slo: {}}", stay).one("Slo", "alerts-rejection_rate").inputs
    assert "4xx" in slo["requestBasedSli"]["goodTotalRatio"]["badServiceFilter"]
    assert (slo["sloId"], slo["goal"]) == ("rejection-rate", 0.95)


def test_a_burn_rate_that_no_outage_reaches_has_no_policy():
    stay = "{alerts: [{metric: latency_p50, max: 200ms}, {metric: rejection_rate, max: 10%}]}"
    made = alerting("{slo: {}}", stay)
    burning = {p.name for p in made.of("AlertPolicy") if p.name.endswith("-burn")}
    assert {slo.name.removeprefix("alerts-") for slo in made.of("Slo")} == {
        *("error_rate", "latency_p95", "latency_p50", "rejection_rate")
    }
    assert burning == {
        *("alerts-error_rate-fast-burn", "alerts-error_rate-slow-burn"),
        *("alerts-latency_p95-fast-burn", "alerts-latency_p95-slow-burn"),
        "alerts-rejection_rate-slow-burn",
    }


def test_burn_rates_are_those_of_the_sre_workbook():
    fast, slow = objectives.burns(14.4, 6.0)
    # Of a budget of 30 days: 2% in one hour and 5% in six; each short window is a twelfth of the long one.
    for burn, share, hours in ((fast, 0.02, 1), (slow, 0.05, 6)):
        assert burn.windows == (hours * 3600, hours * 300)
        assert burn.rate * hours / (30 * 24) == pytest.approx(share)
    assert (fast.severity, slow.severity) == ("CRITICAL", "WARNING")


def test_custom_metrics_and_dry_runs_have_no_objective():
    query = {"prometheus": "x"}
    gates = [
        Gate.model_validate({"metric": "rating", "range": (0.0, 5.0), "max": 4.0, "query": query}),
        Gate.model_validate({"metric": "error_rate", "max": "1%", "dry_run": True}),
    ]
    assert not list(objectives.objectives(gates, endpoint_id="1", private=False))


# dashboard


def test_a_dashboard_draws_the_gates_limits_in_the_metrics_unit():
    inputs = record(lambda: dashboard.Dashboard("d", dashboard.DashboardArgs.of(spec()))).one("Dashboard", "d").inputs
    if "dashboardJson" not in inputs:
        pytest.fail("no JSON")
    tiles = json.loads(inputs["dashboardJson"])["mosaicLayout"]["tiles"]
    charts = {tile["widget"]["title"]: tile["widget"]["xyChart"] for tile in tiles}
    assert charts["Latency, 95th percentile (ms)"]["thresholds"] == [{"label": "gate", "value": 500}]
    assert charts["Share of server errors"]["thresholds"] == [{"label": "gate", "value": 0.005}]
    assert "thresholds" not in charts["Latency, 99th percentile (ms)"]


def test_tiles_do_not_overlap_and_fit():
    tiles = dashboard.dashboard("t", (), endpoint_id="1", private=False, gpu=True)["mosaicLayout"]["tiles"]
    places = [(tile.get("xPos", 0), tile.get("yPos", 0)) for tile in tiles]
    assert len(set(places)) == len(tiles) == len(dashboard.CHARTS) + 1
    assert all(left + tile["width"] <= dashboard.COLUMNS for (left, _), tile in zip(places, tiles, strict=True))


def test_a_dashboard_read_back_is_the_one_that_was_written():
    """pulumi-gcp forgives what the API adds, and not what it leaves out: zeros would differ at each refresh."""

    def unset(part):
        pairs = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in pairs:
            if value in (0, "", [], {}):
                yield key
            yield from unset(value)

    gates = spec().rollout.gates
    assert list(unset(dashboard.dashboard("t", gates, endpoint_id="1", private=False, gpu=True))) == []


def test_every_line_is_called_by_its_deployed_model():
    made = dashboard.dashboard("t", (), endpoint_id="1", private=False, gpu=True)["mosaicLayout"]["tiles"]
    (lines,) = {json.dumps(tile["widget"]["xyChart"]["dataSets"][0]["legendTemplate"]) for tile in made}
    # A filter and a grouping say metric.label, a legend says metric.labels.
    assert json.loads(lines) == "${metric.labels.deployed_model_id}"
    assert "metric.label.deployed_model_id" in json.dumps(made[0]["widget"]["xyChart"]["dataSets"])


def test_charts_of_gpus_are_for_machines_that_have_one():
    text = json.dumps(dashboard.dashboard("t", (), endpoint_id="1", private=False, gpu=False))
    assert "accelerator/" not in text


def test_every_chart_is_of_a_metric_that_vertex_ai_writes():
    from vertex_deploy.local.monitoring.catalogue import METRICS, PREFIX  # noqa: PLC0415 - beside its only use

    known = {metric.type.removeprefix(PREFIX) for metric in METRICS}
    for chart in dashboard.CHARTS:
        assert chart.metric in known
        assert not chart.private or f"private/{chart.metric}" in known


# triggers, runner, budget


REPOSITORY = "projects/my-project/locations/us-central1/connections/c/repositories/r"
TRIGGERS = f"{{triggers: {{repository: {REPOSITORY}, sample: s.json, approval: false}}}}"


@pytest.mark.parametrize(
    ("region", "place"),
    [("us-central1", "us"), ("europe-west4", "europe"), ("australia-southeast1", "asia"), ("me-west1", "europe")],
)
def test_images_are_scanned_where_scans_are(region, place):
    wanted = spec()
    moved = wanted.model_copy(update={"gcp": wanted.gcp.model_copy(update={"region": region})})
    assert triggers.substitutions(moved, path="deploy.yaml", environment=None)["_LOCATION"] == place


def test_the_build_trigger_pushes_on_and_the_rollout_waits():
    def made(infra: str) -> dict[str, Made]:
        args = triggers.TriggersArgs.of(
            spec(infra), path="deploy.yaml", environment="prod", build_account="b@x", rollout_account="r@x"
        )
        return {item.name: item for item in record(lambda: triggers.Triggers("t", args)).of("Trigger")}

    waiting = made(TRIGGERS.replace(", approval: false", ""))
    assert waiting["t-build"].inputs["substitutions"]["_ROLLOUT"] == "none"
    assert waiting["t-rollout"].inputs["substitutions"]["_ROLLOUT"] == "start"
    assert waiting["t-rollout"].inputs["approvalConfig"] == {"approvalRequired": True}
    assert waiting["t-build"].inputs["repositoryEventConfig"]["push"] == {"branch": "^main$"}
    assert waiting["t-rollout"].inputs["sourceToBuild"]["ref"] == "refs/heads/main"
    escaped = made(TRIGGERS.replace("sample", r"branch: '^release/1\.2$', sample"))
    assert escaped["t-build"].inputs["repositoryEventConfig"]["push"] == {"branch": r"^release/1\.2$"}
    assert escaped["t-rollout"].inputs["sourceToBuild"]["ref"] == "refs/heads/release/1.2"
    assert waiting["t-build"].inputs["serviceAccount"] == "projects/my-project/serviceAccounts/b@x"
    for host in ("github", "bitbucket_server"):
        found = made(TRIGGERS.replace("sample", f"host: {host}, sample"))
        other = found["t-rollout"].inputs
        assert {other[name]["repoType"] for name in ("sourceToBuild", "gitFileSource")} == {host.upper()}
        # Any other host's trigger is refused with this field (BuildTrigger.includeBuildLogs).
        assert ("includeBuildLogs" in found["t-build"].inputs) == (host == "github")
    assert made(TRIGGERS)["t-build"].inputs["substitutions"]["_ROLLOUT"] == "start"


RUNNER = f"{{runner: {{image: us-central1-docker.pkg.dev/my-project/r/cli@sha256:{'a' * 64}}}}}"


def test_the_runner_ticks_the_stacks_own_spec_and_keeps_state_in_the_bucket():
    args = runner.RunnerArgs.of(
        spec(RUNNER),
        spec_text="name: lite0",
        environment="prod",
        state="bucket",
        rollout_account="rollout@x",
        scheduler_account="scheduler@x",
    )
    made = record(lambda: runner.Runner("runner", args))
    job = next(m for m in made.of("Job") if "cloudrunv2" in m.type)
    task = job.inputs["template"]["template"]
    (container,) = task["containers"]
    assert container["args"] == [
        *("rollout", "tick", "/state/spec/deploy.yaml", "--env", "prod"),
        *("--output", "json", "--store", "gs://bucket/rollouts"),
    ]
    assert container["image"].endswith("a" * 64)
    assert task["maxRetries"] == 0
    assert task["volumes"][0]["gcs"] == {
        "bucket": "bucket",
        "readOnly": True,
        "mountOptions": ["uid=10001", "gid=10001"],
    }
    assert rpc.unwrap_rpc_secret(made.one("BucketObject").inputs["content"]) == "name: lite0"
    assert "runner-spec" in job.after
    schedule = next(m for m in made.of("Job") if "cloudscheduler" in m.type)
    assert schedule.inputs["httpTarget"]["uri"].endswith("/jobs/lite0-rollout:run")
    assert schedule.inputs["httpTarget"]["oauthToken"]["serviceAccountEmail"] == "scheduler@x"
    assert made.one("JobIamMember").inputs["role"] == "roles/run.invoker"


def test_a_budget_tells_at_its_shares_and_once_more_when_it_is_forecast():
    wanted = spec("{budget: {billing_account: 012345-6789AB-CDEF01, amount: 500, at: [50%, 100%]}}")
    args = budget.BudgetArgs.of(wanted, channels=[f"c{n}" for n in range(7)])
    made = record(lambda: budget.Budget("budget", args)).one("Budget", "budget")
    inputs = made.inputs
    assert inputs["budgetFilter"]["projects"] == ["projects/my-project"]
    # Read back it is projects/NUMBER.
    assert made.ignored == ["budgetFilter.projects"]
    assert inputs["amount"]["specifiedAmount"] == {"currencyCode": "USD", "units": "500"}
    assert inputs["thresholdRules"] == [
        {"thresholdPercent": 0.5},
        {"thresholdPercent": 1.0},
        {"thresholdPercent": 1.0, "spendBasis": "FORECASTED_SPEND"},
    ]
    assert len(inputs["allUpdatesRule"]["monitoringNotificationChannels"]) == 5


def test_the_runners_command_is_one_that_the_command_line_takes():
    import typer.main  # noqa: PLC0415 - beside its only use

    from vertex_deploy.cli import rollout  # noqa: PLC0415 - beside its only use

    arguments = [*runner.command("prod"), "--store", "gs://bucket/rollouts"]
    assert arguments[:2] == ["rollout", "tick"]
    tick = typer.main.get_command(rollout.app).commands["tick"]
    parsed = tick.make_context("tick", arguments[2:], resilient_parsing=True).params
    assert str(parsed["spec_file"]) == "/state/spec/deploy.yaml"
    assert (parsed["env"], str(parsed["root"])) == ("prod", "gs://bucket/rollouts")
