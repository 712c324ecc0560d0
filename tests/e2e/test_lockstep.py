"""A lockstep group of the command line: two regions of one Local Vertex, real servers, real traffic.

What ends a rollout here ends its holds; only the good versions are held for a time. ``awaiting_group`` is reached
whatever was measured on the way.
"""

from contextlib import ExitStack

import pytest
import yaml

from vertex_deploy.rollout.alert_clients import incident_of

from .conftest import IMAGE
from .rollouts import HELD, Rollouts, as_json, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PROD = ("--env", "prod")
ROLLOUT = {
    "steps": [{"weight": 20, "hold": "8s"}, {"weight": 100}],
    "gates": [{"metric": "error_rate", "max": "20%", "min_requests": 10}],
    "keep_stable": "4s",
    "poll": "1s",
}
PATIENT = ROLLOUT | {"steps": [{"weight": 20, "hold": HELD}, {"weight": 100}]}
REGIONS = {"us": "us-central1", "eu": "europe-west4"}


class Grouped(Rollouts):
    """Rollouts of the group ``prod``; ``member`` says whose records are read."""

    member = "us"

    def write(self, who, **env):
        super().write(who, **env)
        path = self.cli.folder / f"{self.name}.yaml"
        spec = yaml.safe_load(path.read_text())
        spec["environments"] = {member: {"gcp": {"region": region}} for member, region in REGIONS.items()}
        spec["environments"]["eu"]["container"] = {"image": IMAGE.replace("us-central1", "europe-west4")}
        spec["lockstep"] = {"prod": list(REGIONS)}
        path.write_text(yaml.safe_dump(spec))

    def records(self):
        return sorted((self.cli.folder / f".vertex-deploy/rollouts/{self.name}@{self.member}").glob("*/record.json"))


@pytest.fixture(scope="module")
def site(vertex):
    """The first version has all traffic in both regions, and requests come steadily."""
    groups = [Grouped(vertex, "pair", ROLLOUT) for _ in REGIONS]
    for group, member in zip(groups, REGIONS, strict=True):
        group.member = member
    groups[0].write("one")
    code, out = groups[0].run("start", "--env", "prod")
    assert code == 0, out
    with ExitStack() as stack:
        for group in groups:
            stack.enter_context(group.traffic(threads=4, pause=0.1))
        yield groups[0]


@pytest.fixture
def served(site):
    """The same, with no rollout under way, whatever became of the test before."""
    site.put_right(*PROD)
    return site


def endings(found):
    return {member: view["ending"] for member, view in found["members"].items()}


def test_good_versions_are_promoted_in_both_regions(served):
    served.write("two")
    code, found = served.through("start", where=PROD)
    assert (code, endings(found)) == (0, {"us": "promoted", "eu": "promoted"})


def test_an_abort_takes_both_regions_back(served):
    served.rollout = PATIENT
    served.write("three")
    first = served.begin("start", *PROD)
    until(lambda: served.record()["phase"] == "holding", process=first)
    code, found = served.json("abort", *PROD)
    assert (code, endings(found)) == (11, {"us": "aborted", "eu": "aborted"})
    assert served.finished(first)[0] == 11


def test_errors_in_one_region_roll_both_back(served):
    path = served.cli.folder / "pair.yaml"
    served.rollout = PATIENT
    served.write("four")
    spec = yaml.safe_load(path.read_text())
    spec["environments"]["eu"]["container"]["env"] = {"FAIL_EVERY": "2"}
    path.write_text(yaml.safe_dump(spec))
    code, found = served.json("start", *PROD)
    assert (code, endings(found)) == (10, {"us": "rolled_back", "eu": "rolled_back"}), found
    reasons = {member: view["reason"] for member, view in found["members"].items()}
    assert "error_rate" in reasons["eu"]
    assert "eu went back" in reasons["us"]


def test_an_incident_in_a_region_that_waits_for_the_other_takes_both_back(served):
    """us has passed its hold and waits at its split; its canary turns bad there, and its alert policy says so."""
    path = served.cli.folder / "pair.yaml"
    # Two gates, so that one can weigh next to nothing: that leaves it so little of alpha that nothing is ever proof.
    gates = [
        {"metric": "error_rate", "max": "10%", "min_requests": 20, "weight": 1e-100},
        {"metric": "latency_p50", "max": "30s", "min_requests": 20},
    ]
    served.rollout = ROLLOUT | {"gates": gates, "on_inconclusive": "proceed"}
    served.write("five")
    spec = yaml.safe_load(path.read_text())
    spec["environments"]["eu"]["rollout"] = {"steps": PATIENT["steps"]}
    path.write_text(yaml.safe_dump(spec))
    first = served.begin("start", *PROD, "-o", "json")
    until(lambda: (served.record()["phase"], served.record()["step"]) == ("awaiting_group", 0), process=first)
    canary = served.record()["canary"]
    served.cli.run("fault", canary, "--fail", "60%")
    code, found = as_json(served.finished(first))
    served.cli.run("fault", canary, "--clear")
    assert (code, endings(found)) == (10, {"us": "rolled_back", "eu": "rolled_back"}), found
    reasons = {member: view["reason"] for member, view in found["members"].items()}
    assert "error_rate' fired for the canary" in reasons["us"]
    assert "us went back (rolled_back): alert" in reasons["eu"]
    record = served.record()
    assert served.served() == ({record["stable"]: 100}, [record["stable"]])
    assert served.own_policies(f"{record['id']}-{canary}") == {}
    _, log = served.json("history", "--env", "us", "--id", record["id"])
    (fired,) = [entry["data"] for entry in log if entry["data"].get("event") == "alert_fired"]
    assert (fired["from"], fired["to"]) == ("awaiting_group", "rolling_back")
    blamed = [incident_of(alert).deployed_id for alert in served.alerts()]
    assert canary in blamed
