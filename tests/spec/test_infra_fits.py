from __future__ import annotations

import zoneinfo

import pytest

from tests.spec.examples import GOOD, examined, problems, swap
from vertex_deploy.spec import machines
from vertex_deploy.spec.machines import ACCELERATORS, PARTITIONS, AcceleratorSpec

RUNNER = f"infra: {{runner: {{image: us-central1-docker.pkg.dev/p/r/i@sha256:{'a' * 64}, "
REPOSITORY = "projects/p/locations/us-central1/connections/c/repositories/r"
TRIGGERS = f"infra: {{triggers: {{repository: {REPOSITORY}, sample: s.json}}}}\n"
NODES = "{machine: g2-standard-8, accelerator: L4:1, max: 4, spot_share: 50%}"
STORAGE = "storage.googleapis.com"
PERIMETER = "infra: {network: {perimeter: {policy: accessPolicies/1, project_number: '123456', "
SLO = "infra: {slo: {}}\n"


def named(name: str, infra: str) -> list[str]:
    """Problems of a spec of another name."""
    return problems(swap(("name: lite0", f"name: {name}")) + infra)


@pytest.mark.parametrize(
    ("infra", "most", "message"),
    [
        ("infra: {network: {}, gke: {}, storage: null}\n", 40, "a GKE cluster would be called"),
        ("infra: {network: {}, storage: null}\n", 51, "a VPC resource would be called"),
        (f"{RUNNER[:-2]}}}, storage: null}}\n", 55, "a Cloud Run job would be called"),
        (TRIGGERS.replace("infra: {", "infra: {storage: null, "), 56, "a Cloud Build trigger would be called"),
        (
            "infra: {budget: {billing_account: 012345-6789AB-CDEF01, amount: 5}, storage: null}\n",
            60,
            "a budget would be",
        ),
        ("infra: {}\n", 63 - len("my-project--rollouts"), "infra.storage.state"),
    ],
)
def test_a_name_that_makes_another_too_long_is_refused_and_one_shorter_is_not(infra, most, message):
    assert named("n" * most, infra) == []
    found = named("n" * (most + 1), infra)
    assert len(found) == 1, found
    assert message in found[0]
    assert " name: " in found[0]


def test_a_network_that_is_named_is_blamed_itself():
    text = f"""\
name: lite0
gcp: {{project: my-project, region: us-central1}}
container: {{image: torch-aoti}}
target:
  type: vertex
  endpoint: {{access: psa, network: projects/1/global/networks/{"n" * 60}}}
  machine: {{type: n1-standard-4}}
rollout: {{steps: [{{weight: 100}}]}}
infra: {{network: {{}}}}
"""
    (found,) = problems(text)
    assert "target.endpoint.network: a VPC resource would be called nnn" in found


@pytest.mark.parametrize(
    "schedule",
    [
        *("*/5 * * * *", "0 9-17 * * mon-fri", "0,30 0 1 jan,JUL *", "59 23 31 12 7", "10-50/20 */2 * * 0"),
        *("*/60 */24 * * SAT-SUN", "0  0-23/2 * * 1-5", "0 0 * * sun-sat", "0 0 * * sun"),
        # Cloud Scheduler's alternative format.
        *("every 5 minutes", "every 2 hours from 08:00 to 18:00", "every 1 hours synchronized", "every day 00:00"),
        *("every monday of month 09:00", "1st,third mon,wed of jan,jul 04:50", "2nd friday of quarter 10:00"),
    ],
)
def test_schedules_that_come_are_taken(schedule):
    assert problems(GOOD + RUNNER + f"schedule: '{schedule}'}}}}\n") == []


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        ("60 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("*/99 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "weekday"),
        ("* * * mon *", "month"),
        ("30-10 * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("*- * * * *", "minute"),
        ("*/61 * * * *", "minute"),
        ("* * ? * *", "day"),
        ("* * L * *", "day"),
        ("* * * * sun-", "weekday"),
        ("* * * * tue-sun-sun", "weekday"),
        ("* * * *", "schedule"),
        ("@daily", "schedule"),
        ("often", "schedule"),
        ("every", "schedule"),
    ],
)
def test_a_schedule_that_never_comes_names_its_field(schedule, field):
    found = problems(GOOD + RUNNER + f"schedule: '{schedule}'}}}}\n")
    assert len(found) == 1, found
    assert "deploy.yaml:" in found[0]
    assert "infra.runner.schedule: " in found[0]
    assert f" is no {field}; write " in found[0]


ZONES = {"Europe/Berlin", "Europe/Kyiv", "Etc/UTC", "US/Pacific"}


def test_a_time_zone_is_one_that_is_there(monkeypatch):
    monkeypatch.setattr(zoneinfo, "available_timezones", lambda: ZONES)
    assert problems(GOOD + RUNNER + "time_zone: Europe/Berlin}}\n") == []
    assert "did you mean Europe/Berlin?" in problems(GOOD + RUNNER + "time_zone: Europe/Berln}}\n")[0]


@pytest.mark.parametrize("missing", ["US/Pacific", "Europe/Kyiv"])
def test_a_machine_whose_database_lacks_zones_refuses_none(monkeypatch, missing):
    monkeypatch.setattr(zoneinfo, "available_timezones", lambda: ZONES - {missing})
    assert problems(GOOD + RUNNER + f"time_zone: {missing}}}}}\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infra: {network: {}, gke: {zones: [europe-west4-a]}}\n", "europe-west4-a is not in us-central1"),
        ("infra: {network: {}, gke: {namespace: Serving}}\n", "is not a namespace of ours"),
        ("infra: {network: {}, gke: {namespace: kube-system}}\n", "is not a namespace of ours"),
        ("infra: {network: {}, gke: {namespace: default}}\n", "is not a namespace of ours"),
        ("infra: {network: {}, gke: {min_available: 150%}}\n", "from 0% to 100%"),
        ("infra: {storage: {models: same, state: same}}\n", "infra.storage.state: same is the bucket of models"),
        ("infra: {storage: {state: my-project-models}}\n", "infra.storage.state: my-project-models is the bucket of"),
        (PERIMETER + "services: [storage.googleapis.com, storage]}}}\n", "services[1]: 'storage' is no service"),
        (PERIMETER + f"services: [{STORAGE}, {STORAGE}]}}}}}}\n", f"services[1]: {STORAGE} is written twice"),
        (PERIMETER + "access_levels: [accessPolicies/2/accessLevels/x]}}}\n", "is no access level of the policy"),
        (PERIMETER + "access_levels: [office]}}}\n", "write accessPolicies/1/accessLevels/NAME"),
        (PERIMETER + "name: my-net}}}\n", "name: 'my-net' is no name of a perimeter"),
        (PERIMETER + f"name: {'n' * 51}}}}}}}\n", "is no name of a perimeter; write at most 50 letters"),
        (PERIMETER + "services: []}}}\n", "services: a perimeter of no service restricts nothing"),
        (
            f"infra: {{network: {{}}, gke: {{nodes: {{default-pool: {NODES}}}}}}}\n",
            "infra.gke.nodes.default-pool: the cluster has a pool of the name default-pool; call it defaultpool",
        ),
        ("infra: {emails: [a@b.co, c@b.co, a@b.co]}\n", "infra.emails[2]: a@b.co is written twice"),
        (
            f"infra: {{network: {{}}, gke: {{nodes: {{l4: {NODES}, l4-spot: {NODES}}}}}}}\n",
            "infra.gke.nodes.l4-spot: l4 has a pool of the name l4-spot; call it l4spot",
        ),
        (TRIGGERS.replace("locations/us-central1", "locations/europe-west4"), "triggers are made in us-central1"),
        (TRIGGERS.replace("sample", "branch: '^release-.*$', sample"), "names no single branch"),
        (TRIGGERS.replace("sample", "branch: '(main|dev)', sample"), "names no single branch"),
        (TRIGGERS.replace("s.json", "/etc/passwd"), "is no file of the repository"),
        (TRIGGERS.replace("s.json", "../s.json"), "is no file of the repository"),
        (TRIGGERS.replace("s.json", "'a; b'"), "is no file of the repository"),
        ("monitoring: {sampling: 1%}\ninfra: {endpoint: false}\n", "the endpoint that a rollout makes has no log"),
    ],
)
def test_what_google_cloud_would_refuse_is_said(text, message):
    found = problems(GOOD + text)
    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    "nodes",
    [
        # Pools l4 and l4-spot: of each kind one.
        f"{{l4: {NODES}, l4-spot: {NODES}}}".replace(", spot_share: 50%", ""),
        # l4, l4-spot and l4-spot-spot.
        f"{{l4: {NODES}, l4-spot: {NODES.replace('50%', '100%')}}}",
        f"{{l4: {NODES}, l4-flex: {NODES}}}",
    ],
)
def test_kinds_whose_pools_have_names_of_their_own_are_taken(nodes):
    assert problems(GOOD + f"infra: {{network: {{}}, gke: {{nodes: {nodes}}}}}\n") == []


@pytest.mark.parametrize("branch", ["main", "^main$", "^release/1.2$", r"^release/1\.2$", "_x", "v2"])
def test_one_branch_is_taken_with_or_without_anchors(branch):
    assert problems(GOOD + TRIGGERS.replace("sample", f"branch: '{branch}', sample")) == []


def test_a_trigger_needs_a_folder_to_build():
    image = "us-central1-docker.pkg.dev/my-project/r/i@sha256:" + "a" * 64
    text = swap(("image: torch-aoti", f"image: {image}"))
    assert problems(text) == []
    (found,) = problems(text + TRIGGERS)
    assert "container.image: infra.triggers build a folder" in found


def test_a_log_is_of_an_endpoint_that_pulumi_makes():
    timeout = ("allow_projects: [consumer-project]", "allow_projects: [consumer-project], request_timeout: 5m")
    assert problems(swap(timeout)) == []
    (found,) = problems(swap(timeout) + "monitoring: {sampling: 1%}\n")
    assert "monitoring.sampling: the endpoint that a rollout makes has no log" in found


def test_a_pool_of_ours_has_no_key_and_so_neither_has_its_endpoint():
    image = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest"
    text = f"""\
name: lite0
gcp: {{project: my-project, region: us-central1}}
container: {{image: {image}}}
target: {{type: vertex, pool: shared, machine: {{type: n1-standard-4}}}}
infra: {{pool: true}}
"""
    assert problems(text) == []
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    (found,) = problems(text.replace("pool: true", f"pool: true, encryption_key: {key}"))
    assert "infra.pool: an endpoint and its pool have the same key" in found


def test_an_objective_of_more_than_cloud_monitoring_takes_is_refused_where_its_limit_is_written():
    strict = "monitoring: {alerts: [{metric: rejection_rate, max: 0.005%}]}\n"
    assert problems(GOOD + strict) == []
    (found,) = problems(GOOD + strict + SLO)
    assert "monitoring.alerts[0].max: Cloud Monitoring takes objectives up to 99.99%" in found
    assert problems(GOOD + strict.replace("0.005%", "0.01%") + SLO) == []
    # The objective of error_rate is that of the rollout's gate, 99.5%.
    assert problems(GOOD + strict.replace("rejection_rate", "error_rate") + SLO) == []


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("pubsub: projects/PROJECT/topics/rollouts", "rollout.notify[0].pubsub"),
        ("slack: projects/PROJECT/secrets/s/versions/latest", "rollout.notify[0].slack"),
        ("webhook: https://example.com, secret: projects/PROJECT/secrets/s/versions/1", "rollout.notify[0].secret"),
    ],
)
def test_what_a_rollout_is_granted_is_named_by_its_projects_id(told, path):
    text = swap(("  gates:", f"  notify: [{{{told}}}]\n  gates:"))
    assert problems(text.replace("PROJECT", "my-project")) == []
    (found,) = problems(text.replace("PROJECT", "123456789012"))
    assert f"{path}: the project is a number, 123456789012; grants go by its id; write its id (gcloud" in found


def test_the_token_of_prometheus_is_named_by_its_projects_id():
    token = "projects/123456/secrets/s/versions/1"
    text = GOOD + f"monitoring: {{prometheus: {{url: https://p.example.com, token: {token}}}}}\n"
    (found,) = problems(text)
    assert "monitoring.prometheus.token: the project is a number, 123456" in found
    assert problems(text.replace("projects/123456", "projects/my-project")) == []


@pytest.mark.parametrize(("gpu", "profiles"), PARTITIONS.items())
def test_a_gpu_is_given_out_in_its_own_partitions_and_no_others(gpu, profiles):
    assert gpu in ACCELERATORS
    assert not any(machines.explain_partition(AcceleratorSpec(gpu), profile) for profile in profiles)
    foreign = {profile for others in PARTITIONS.values() for profile in others} - set(profiles)
    assert all(machines.explain_partition(AcceleratorSpec(gpu), profile) for profile in foreign)


def test_a_partition_of_another_gpu_is_said_with_those_that_fit():
    nodes = "{machine: a2-highgpu-1g, accelerator: A100:1, max: 1, partition: 3g.40gb}"
    (found,) = problems(GOOD + f"infra: {{network: {{}}, gke: {{nodes: {{a: {nodes}}}}}}}\n")
    assert "'3g.40gb' is no MIG partition of A100; write 1g.5gb or 1g.10gb" in found
    assert examined(GOOD).spec is not None
