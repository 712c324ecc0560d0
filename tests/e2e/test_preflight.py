"""Quota, end to end: what Local Vertex limits is what preflight refuses, the plan shows and a deployment runs into."""

import json
import time

import pytest
import yaml
from google.cloud import aiplatform_v1

from .conftest import Cli
from .rollouts import Rollouts, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
GPUS, CPUS = "custom_model_serving_nvidia_l4_gpus", "custom_model_serving_cpus"
PARENT = "projects/my-project/locations/us-central1"
ROLLOUT = {
    "steps": [{"weight": 50, "hold": "5s"}, {"weight": 100}],
    "gates": [{"metric": "error_rate", "max": "5%", "min_requests": 1}],
    "on_missing_metrics": "warn",
    # What is asked is quota, not whether a slow machine measures enough for a verdict.
    "on_inconclusive": "proceed",
    "keep_stable": "1s",
}


class OnGpus(Rollouts):
    """Rollouts of a spec whose replicas have an L4 each."""

    def write(self, who, *, most=1, **env):
        super().write(who, **env)
        path = self.cli.folder / f"{self.name}.yaml"
        spec = yaml.safe_load(path.read_text())
        spec["target"]["machine"] = {"type": "g2-standard-8", "accelerator": "L4:1"}
        spec["target"]["replicas"] = {"min": 1, "max": most}
        path.write_text(yaml.safe_dump(spec))

    def versions(self):
        (model,) = self._client(aiplatform_v1.ModelServiceClient).list_models(parent=PARENT)
        return [
            found.version_id
            for found in self._client(aiplatform_v1.ModelServiceClient).list_model_versions(name=model.name)
        ]

    def policies(self):
        return [found.display_name for found in self.alert_policies().list_alert_policies(name="projects/my-project")]


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    """Quota for three GPUs; the first version, with up to two, has all the traffic."""
    cli = Cli(tmp_path_factory.mktemp("limited"))
    cli.up("--quota", f"{GPUS}=3", "--quota", f"aiplatform.googleapis.com/{CPUS}=100")
    rollouts = OnGpus(cli, "gpu", ROLLOUT)
    rollouts.write("one", most=2)
    code, out = rollouts.run("start")
    assert code == 0, out
    yield rollouts
    cli.down()


def test_a_quota_that_does_not_exist_is_refused_with_the_nearest_name(tmp_path):
    found = Cli(tmp_path).run("up", "--quota", "custom_model_serving_nvidia_l4_gpu=2", check=False)
    assert found.returncode == 2
    assert f"did you mean {GPUS}?" in found.stderr


def test_a_rollout_without_quota_for_the_new_version_is_refused_and_leaves_nothing_behind(stable):
    before = stable.served()
    stable.write("two", most=2)
    why = f"quota {GPUS} in us-central1: 2 needed (max 2 x L4:1), 1 left of 3"
    until(lambda: why in stable.run("plan", "-o", "json")[1])
    code, planned = stable.json("plan")
    assert (code, planned["outcome"]) == (6, "refuse")
    code, view = stable.json("start")
    assert (code, view["ending"]) == (6, "failed")
    assert why in view["reason"]
    assert "lower target.replicas.max, undeploy what is not used, or ask for more at https://" in view["reason"]
    assert stable.served() == before
    assert stable.versions() == ["1"]
    assert stable.policies() == []


def test_with_quota_enough_the_new_version_goes_through_without_a_word_of_quota(stable):
    stable.write("three")
    with stable.traffic(threads=4, pause=0.1):
        code, view = stable.json("start")
    assert (code, view["ending"]) == (0, "promoted"), view
    assert "quota" not in json.dumps(stable.json("history", "--id", view["id"])[1])
    assert stable.versions() == ["1", "2"]


def test_quota_that_was_taken_after_it_was_read_fails_the_rollout_and_leaves_stable_alone(tmp_path):
    """Usage is published once a sample period, and so preflight does not see yet what stable has taken."""
    cli = Cli(tmp_path)
    # The one that has just begun: of so many one has, and lasts longer than any test.
    period = max(range(41, 61), key=lambda minutes: minutes * 60 - time.time() % (minutes * 60))
    cli.up("--quota", f"{GPUS}=1", "--quota", f"{CPUS}=100", "--sample-period", f"{period}m")
    try:
        rollouts = OnGpus(cli, "late", ROLLOUT)
        rollouts.write("one")
        assert rollouts.run("start")[0] == 0
        before = rollouts.served()
        rollouts.write("two")
        code, view = rollouts.json("start")
        assert (code, view["ending"]) == (6, "failed")
        assert "RESOURCE_EXHAUSTED" in view["reason"]
        exceeded = "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion"
        assert exceeded in view["reason"]
        assert rollouts.served() == before
        assert rollouts.policies() == []
    finally:
        cli.down()
