# ruff: noqa: E501 - one case a line reads better than a wrapped table
from __future__ import annotations

import pytest

from tests.spec.examples import GOOD, examined, problems, swap
from vertex_deploy.spec.checks import MAX_ENV, MAX_ENV_BYTES, environment
from vertex_deploy.spec.models import Container

STEPS = "steps: [{weight: 10, hold: 30m}, {weight: 50, hold: 30m}, {weight: 100}]"
PSC = "{access: psc, allow_projects: [consumer-project]}"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (STEPS, "steps: []", "rollout.steps: no steps; end with {weight: 100}"),
        (STEPS, "steps: [{weight: 10, hold: 1m}, {weight: 90}]", "rollout.steps[1].weight: the last step has weight 90"),
        (STEPS, "steps: [{weight: 50, hold: 1m}, {weight: 50, hold: 1m}, {weight: 100}]", "rollout.steps[1].weight: 50 follows 50; weights rise"),
        (STEPS, "steps: [{weight: 100, hold: 1m}, {weight: 100}]", "rollout.steps[1].weight: 100 follows 100; remove what follows 100"),
        (STEPS, "steps: [{weight: 10}, {weight: 100}]", "rollout.steps[0].hold: without a hold nothing is measured"),
        (STEPS, "steps: [{weight: 10, hold: 0s}, {weight: 100}]", "rollout.steps[0].hold: without a hold nothing is measured"),
        (STEPS, "steps: [{weight: 10, hold: 1m}, {weight: 100, hold: 1m}]", "rollout.steps[1].hold: the last step has nothing to hold for"),
        ("keep_stable: 24h", "poll: 1h", "rollout.poll: 1h never comes around; write less than the shortest hold, "),
        ("keep_stable: 24h", "poll: 0s", "rollout.poll: 0s is no period"),
        ("keep_stable: 24h", "deploy_timeout: 0s", "rollout.deploy_timeout: no deployment is that fast"),
        ("region: us-central1", "region: us-central", "gcp.region: 'us-central' is not a region"),
        ("project: my-project", "project: My_Project", "gcp.project: 'My_Project' is not a project id"),
        ("gs://my-project-models/lite0/2", "./lite0", "model.artifact: './lite0' is not a folder in Cloud Storage"),
        ("labels: {team: vision}", "labels: {Team: vision}", "model.labels.Team: not a label"),
        ("labels: {team: vision}", "labels: {vertex-deploy: x}", "model.labels.vertex-deploy: labels in vertex-deploy are"),
        ("labels: {team: vision}", "aliases: ['1']", "model.aliases[0]: '1' is not a version alias"),
        ("labels: {team: vision}", "display_name: ''", "model.display_name: a name of 0 characters"),
        ("image: torch-aoti", "image: gcr.io/my-project/torch", "container.image: gcr.io (Container Registry) is shut down; push to Artifact Registry: us-central1-docker.pkg.dev/my-project/REPO/IMAGE"),
        ("image: torch-aoti", "image: eu.gcr.io/my-project/torch", "container.image: gcr.io"),
        ("image: torch-aoti", "image: docker.io/library/nginx", "container.image: 'docker.io/library/nginx' is not an image in Artifact Registry"),
        ("image: torch-aoti", "image: ../torch-aoti", "container.image: '../torch-aoti' is not an image"),
        ("image: torch-aoti", f"image: europe-west4-docker.pkg.dev/my-project/r/i@{DIGEST}", "container.image: the image is in europe-west4, the model in us-central1"),
        ("image: torch-aoti", "image: us-docker.pkg.dev/my-project/r/i:1", "container.image: the image is in us, the model in us-central1"),
        ('WORKERS: "2"', "AIP_HTTP_PORT: '1'", "container.env.AIP_HTTP_PORT: AIP_* variables are set by Vertex AI"),
        ('WORKERS: "2"', "2X: '1'", "container.env.2X: not a variable's name"),
        ("image: torch-aoti", "image: a\n  predict_route: predict", "container.predict_route: 'predict' is not a path; write /predict"),
        ("image: torch-aoti", "image: a\n  startup_timeout: 3h", "container.startup_timeout: 3h is out of range; write from 1s to 2h"),
        ("g2-standard-8", "g2-standrd-8", "target.machine.type: no machine type 'g2-standrd-8' for online prediction; did you mean g2-standard-"),
        ("accelerator: L4:1", "accelerator: L4:2", "target.machine.accelerator: g2-standard-8 cannot carry L4:2; write L4:1, or use a machine that carries L4:2: g2-standard-24"),
        (", accelerator: L4:1", "", "target.machine.type: g2-standard-8 is a GPU machine and needs its accelerator; add accelerator: L4:1"),
        ("type: g2-standard-8", "type: n1-standard-8", "target.machine.accelerator: n1-standard-8 cannot carry L4:1; allowed: T4:1, T4:2"),
        ("type: g2-standard-8, accelerator: L4:1", "type: n1-standard-8, accelerator: A100:1", "target.machine.accelerator: n1-standard-8 cannot carry A100:1; allowed: T4:1, T4:2, T4:4, V100:1, V100:2, V100:4, V100:8, or use a machine that carries A100:1: a2-highgpu-1g"),
        ("type: g2-standard-8", "type: e2-standard-4", "target.machine.accelerator: e2-standard-4 has no GPU and cannot carry L4:1; remove it, or use"),
        ("type: g2-standard-8", "type: ct6e-standard-4t", "target.machine.accelerator: ct6e-standard-4t is a TPU machine, which takes no accelerator; remove"),
        ("min: 2, max: 10", "min: 3, max: 2", "target.replicas.max: max 2 is below min 3; raise max to 3 or lower min"),
        ("gpu_duty_cycle: 60", "gpu_duty_cycle: 600", "target.replicas.scale_on.gpu_duty_cycle: 600 is above 100 percent"),
        ("gpu_duty_cycle: 60", "gpu_duty_cycle: 0.6", "target.replicas.scale_on.gpu_duty_cycle: 0.6 is not a whole number"),
        ("type: g2-standard-8, accelerator: L4:1", "type: n1-standard-8", "target.replicas.scale_on.gpu_duty_cycle: n1-standard-8 has no GPU to measure"),
        (PSC, "{access: psc}", "target.endpoint.access: psc lets nobody in; add allow_projects: [PROJECT], or automation"),
        (PSC, "{allow_projects: [a]}", "target.endpoint.allow_projects: a public endpoint has no allow_projects"),
        (PSC, "{access: psa}", "target.endpoint.access: psa needs the network that is peered"),
        (PSC, "{network: projects/1/global/networks/n}", "target.endpoint.network: a public endpoint has no network"),
        (PSC, "{access: psa, network: default}", "target.endpoint.network: 'default' is not a VPC network"),
        (PSC, "{access: psa, network: projects/1/global/networks/n}", "rollout.steps: a psa endpoint cannot split traffic; write steps: [{weight: 100}]"),
        (PSC, "{access: psc, automation: [{project: p, network: n}]}", "target.endpoint.automation[0].network: 'n' is not a VPC network"),
        (PSC, "{request_timeout: 90s}", "target.endpoint.request_timeout: a public endpoint always answers within 60s"),
        (PSC, "{access: dedicated, request_timeout: 2h}", "target.endpoint.request_timeout: 2h is out of range; write whole seconds, from 1s to 1h"),
        (PSC, "{access: dedicated, request_timeout: 1500ms}", "target.endpoint.request_timeout: 1s500ms is out of range"),
        ("type: vertex", "type: vertex\n  service_account: me", "target.service_account: 'me' is not a service account"),
        ("name: lite0", "name: lite0\nmonitoring: {sampling: 200%}", "monitoring.sampling: a share of requests is from 0% to 100%"),
        ("name: lite0", "name: lite0\nmonitoring: {notification_channels: [me]}", "monitoring.notification_channels[0]: 'me' is no channel"),
        ("name: lite0", "name: lite0\nmonitoring: {alerts: [{metric: latency_p95, worse_than_stable: 10%}]}", "monitoring.alerts[0]: an alert needs an absolute limit"),
        ("metric: error_rate", "metric: eror_rate", "rollout.gates[0]: unknown metric 'eror_rate'; did you mean error_rate?"),
    ],
)  # fmt: skip
def test_refused(old, new, expected):
    found = problems(swap((old, new)))
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("image: torch-aoti", f"image: us-central1-docker.pkg.dev/my-project/repo/dir/img@{DIGEST}"),
        ("image: torch-aoti", "image: us-central1-docker.pkg.dev/example.com/p/repo/img:v1"),
        ("image: torch-aoti", "image: us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest"),
        ("project: my-project", "project: example.com:my-project"),
        ("project: my-project", 'project: "123456789012"'),
        (PSC, "{}"),
        (PSC, "{access: dedicated, request_timeout: 10m}"),
        (PSC, "{access: psc, automation: [{project: p, network: projects/p/global/networks/n}]}"),
        ("accelerator: L4:1", "accelerator: NVIDIA_L4"),
        ("g2-standard-8, accelerator: L4:1", "a2-ultragpu-2g, accelerator: a100_80gb:2"),
        ("keep_stable: 24h", "keep_stable: 0s"),
        (STEPS, "steps: [{weight: 100}]"),
    ],
)
def test_accepted(old, new):
    # The good spec's environment has a psc rollout of its own; a base without split needs none.
    text = swap((old, new))
    assert problems(text) == []


@pytest.mark.parametrize(
    "machine", ["n1-standard-2", "e2-highmem-16", "c3-highcpu-22", "n2d-standard-48", "ct5lp-hightpu-1t"]
)
def test_machines_without_gpu_need_no_accelerator(machine):
    text = swap(("g2-standard-8, accelerator: L4:1", machine), ("gpu_duty_cycle", "cpu_utilization"))
    assert problems(text) == []


def test_psa_with_one_step_is_accepted():
    head = GOOD[: GOOD.index("environments:")]
    text = swap(
        (PSC, "{access: psa, network: projects/1/global/networks/n}"), (STEPS, "steps: [{weight: 100}]"), text=head
    )
    assert examined(text).spec is not None


def test_environment_limits_are_the_apis():
    many = Container(image="a", env={f"A{i}": "x" for i in range(MAX_ENV)})
    assert list(environment(many)) == []
    over = Container(image="a", env={f"A{i}": "x" for i in range(MAX_ENV + 1)})
    assert [finding.path for finding in environment(over)] == [("container", "env")]
    # NAME=value must be smaller than the limit: two characters are NAME and =.
    assert not list(environment(Container(image="a", env={"A": "x" * (MAX_ENV_BYTES - 3)})))
    assert list(environment(Container(image="a", env={"A": "x" * (MAX_ENV_BYTES - 2)})))
    total = Container(image="a", env=dict.fromkeys("ABCDE", "x" * (MAX_ENV_BYTES - 9)))
    assert [finding.path for finding in environment(total)] == [("container", "env")]


def test_checks_of_valid_sections_run_beside_errors_of_types():
    found = problems(swap(("on_failure: rollback", "on_failure: 3"), ("min: 2, max: 10", "min: 3, max: 2")))
    assert [line.split(": ")[1] for line in found] == ["target.replicas.max", "rollout.on_failure"]
