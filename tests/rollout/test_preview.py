from __future__ import annotations

from typing import Any

import pytest

from tests.rollout.world import STABLE, World, spec_with, step
from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.metrics.quota import QuotaLevel
from vertex_deploy.rollout import session
from vertex_deploy.rollout.alert_clients import MemoryAlerts
from vertex_deploy.rollout.alerting import AlertWatch
from vertex_deploy.rollout.evidence import Evidence
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.plan import plan_of
from vertex_deploy.rollout.preview import Preview, last_deployment, preview
from vertex_deploy.rollout.preview_text import preview_lines
from vertex_deploy.rollout.quota import checked


def look(world: World, **more: Any) -> Preview:
    plan = plan_of(world.spec)
    return preview(
        plan=plan,
        spec=world.spec,
        release=world.release,
        target=world.target,
        evidence=Evidence(
            plan=plan, gates=world.spec.rollout.gates, source_for=lambda _endpoint: world.source, log=list
        ),
        current=world.store().current(),
        now=world.clock.now(),
        **more,
    )


class Quotas:
    """Quotas of which so much is left of 100."""

    def __init__(self, spec: Any, left: int | None) -> None:
        self.spec, self.left = spec, left

    def levels(self, quotas: Any, now: float) -> dict[str, QuotaLevel]:
        return {} if self.left is None else {quota.metric: QuotaLevel(100, 100 - self.left) for quota in quotas}

    def __call__(self, now: float) -> Any:
        return checked(self.spec, self, now)


def test_a_plan_says_every_check_step_time_and_command_and_changes_nothing() -> None:
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": True}]
    world = World(spec=spec_with(steps=steps))
    alerts = MemoryAlerts()
    found = look(world, quotas=Quotas(world.spec, 8), alerts=alerts, deployed_in=120.0)
    back = "sets the split to 111 100% and undeploys NEW; ends as"
    assert "\n".join(preview_lines(found)) == (
        "would start: stable is 111 (projects/p/locations/l/models/m@1)\n"
        "checked: machine n1-standard-4: Google's table for predictions has it\n"
        "checked: quota custom_model_serving_cpus in us-central1: 4 needed (max 1 x 4 vCPUs of n1-standard-4), "
        "8 left of 100\n"
        "checked: alert policies for its own time: lite0 NEW: error_rate; they keep the API's rules and can be listed, "
        "and incidents can be read; whether you may create them only the start shows\n"
        "1. upload the release as a model version\n"
        "2. deploy it, without traffic\n"
        "3. set the split to 111 90%, NEW 10%, hold 1m\n"
        "4. wait for `rollout promote --approver NAME`, then set the split to NEW 100%\n"
        "5. keep stable warm for 30s, then undeploy it\n"
        "gates: error_rate; at least 1m of holds\n"
        "started now: promoted from 2027-01-15 08:03Z, over from 2027-01-15 08:03Z, with 2m until the first traffic, "
        "as last time and not counting approvals\n"
        "rollout pause                           stands still at the split of the step; `rollout resume` holds and "
        "measures the step anew\n"
        "rollout promote --approver NAME         goes to the next step at once, with your name in the history\n"
        "rollout promote --full --approver NAME  sets the split to NEW 100% at once, past all remaining steps and "
        "gates\n"
        f"rollout abort                           {back} aborted\n"
        f"rollout rollback                        {back} rolled_back; works while stable is kept, too\n"
        "Nothing was changed."
    )
    assert set(world.target.calls) == {"find_endpoint", "observe", "find_model", "check", "check_artifact"}
    assert world.blobs.content == {}
    assert alerts.made == 0


def test_without_quota_a_plan_and_a_start_are_refused_and_nothing_is_left_behind() -> None:
    world = World()
    quotas, alerts = Quotas(world.spec, 3), MemoryAlerts()
    found = look(world, quotas=quotas)
    assert not found.starts
    assert "4 needed (max 1 x 4 vCPUs of n1-standard-4), 3 left of 100" in found.reason
    controller = world.start()
    controller._quotas, controller._alerts = quotas, AlertWatch(world.spec, alerts)
    record = controller.run()
    assert (record.ending, record.reason) == (Ending.FAILED, found.reason)
    assert world.target.versions == ["old-1"]
    assert world.deployed() == [STABLE]
    assert world.target.split == {STABLE: 100}
    assert alerts.made == 0


def test_a_model_without_files_refuses_a_plan_and_a_start_before_anything_is_uploaded() -> None:
    world = World()
    world.target.lacks_files = "there are no files below gs://p-models/lite0/2"
    found = look(world)
    assert (found.outcome, found.reason) == ("refuse", world.target.lacks_files)
    record = world.run()
    assert (record.ending, record.reason) == (Ending.FAILED, found.reason)
    assert world.target.versions == ["old-1"]
    assert world.deployed() == [STABLE]


def test_who_may_not_look_into_the_models_folder_is_warned_and_not_held_up() -> None:
    world = World()

    def denied(call: str, _moment: str) -> None:
        if call == "check_artifact":
            raise CloudError("gs://p-models/lite0/2: PERMISSION_DENIED", code="PERMISSION_DENIED")

    world.target.hook = denied
    (warning,) = look(world).warnings
    assert warning == ("whether the model's files are there is not known: gs://p-models/lite0/2: PERMISSION_DENIED")
    assert world.run().ending is Ending.PROMOTED
    assert warning in [entry.text for entry in world.store().log(world.record().id) if entry.kind == "warning"]


@pytest.mark.parametrize(
    ("then", "ending", "phase"), [("hold", "inconclusive", Phase.PAUSED), ("fail", "failed", Phase.DONE)]
)
def test_a_hold_that_is_too_short_for_its_gates_is_said_before_it_starts(then: str, ending: str, phase: Phase) -> None:
    gates = [{"metric": "error_rate", "max": "1%", "min_requests": 700, "inconclusive": then}]
    world = World(spec=spec_with(gates=gates))
    # 100 requests a second, a tenth of them for a minute.
    said = (
        "at the traffic of stable's last hour, 10% held for 1m gets about 600 requests, and error_rate needs 700: the "
        f"hold would end as {ending}; hold it longer, or lower min_requests"
    )
    assert look(world).warnings == (said,)
    record = world.run()
    assert record.phase is phase
    assert said in [entry.text for entry in world.store().log(record.id) if entry.kind == "warning"]


@pytest.mark.parametrize(
    "gate",
    [
        {"metric": "error_rate", "max": "1%", "min_requests": 599},
        {"metric": "error_rate", "max": "1%", "min_requests": 700, "dry_run": True},
        {"metric": "error_rate", "max": "1%", "min_requests": 700, "inconclusive": "ignore"},
    ],
)
def test_a_hold_that_is_long_enough_or_need_not_be_is_not_warned_of(gate: dict[str, Any]) -> None:
    assert look(World(spec=spec_with(gates=[gate]))).warnings == ()


def test_a_release_that_is_uploaded_already_needs_no_files_any_more() -> None:
    world = World()
    world.target.versions.append(world.release.hash)
    world.target.lacks_files = "there are no files below gs://p-models/lite0/2"
    assert look(world).outcome == "start"
    assert world.run().ending is Ending.PROMOTED
    assert "check_artifact" not in world.target.calls


def test_quota_that_is_not_known_is_a_warning_of_plan_and_history() -> None:
    world = World()
    quotas = Quotas(world.spec, None)
    (warning,) = look(world, quotas=quotas).warnings
    assert "custom_model_serving_cpus in us-central1 is not known" in warning
    controller = world.start()
    controller._quotas = quotas
    assert controller.run().ending is Ending.PROMOTED
    assert warning in [entry.text for entry in world.store().log(world.record().id) if entry.kind == "warning"]


def test_alerts_that_cannot_be_listed_refuse_a_plan_as_they_would_a_start() -> None:
    world = World()
    denied = CloudError("ListAlertPolicies: PERMISSION_DENIED", code="PERMISSION_DENIED")
    found = look(world, alerts=MemoryAlerts(failure=denied))
    assert not found.starts
    assert "alerts cannot watch this rollout" in found.reason
    assert "PERMISSION_DENIED" in found.reason


def test_the_time_until_traffic_is_the_last_rollouts() -> None:
    world = World()
    assert last_deployment(world.store()) is None
    world.target.polls = 30
    started = world.run().started
    log = world.store().log(world.record().id)
    shifted = next(entry.at for entry in log if entry.data.get("to") == Phase.SHIFTING)
    assert last_deployment(world.store()) == shifted - started > 0


def test_an_old_rollout_that_cannot_be_read_times_nothing_and_hides_no_plan() -> None:
    world = World()
    record = world.run()
    known = last_deployment(world.store())
    world.blobs.write("20990101-000000-0badc0de/record.json", b'{"format": 99}')
    assert last_deployment(world.store()) == known
    world.blobs.delete(f"{record.id}/log/00000003.json")
    assert last_deployment(world.store()) is None


def test_what_is_planned_is_what_happens() -> None:
    world = World()
    planned = look(world)
    record = world.run()
    done = [{("NEW" if key == record.canary else key): value for key, value in s.items()} for s in world.target.splits]
    assert [s.split for s in planned.steps] == done
    assert look(world).outcome == "nothing"


def test_the_first_version_is_planned_with_all_traffic() -> None:
    world = World(first=True)
    world.target.endpoint = None
    found = look(world)
    assert found.actions == (
        "create the endpoint",
        "upload the release as a model version",
        "deploy it, with all traffic, ungated",
    )
    assert found.steps == ()


def two_with_traffic(world: World) -> None:
    world.target.deployed = (
        *world.target.deployed,
        type(world.target.deployed[0])(id="7", model="x/models/o", version="1"),
    )
    world.target.split = {STABLE: 60, "7": 40}


def no_metrics(world: World) -> None:
    world.source.produce = lambda *_: []


def denied(world: World) -> None:
    world.source.failure = CloudError("ListTimeSeries: PERMISSION_DENIED", code="PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (two_with_traffic, "no single stable version"),
        (no_metrics, "no metrics of the last hour"),
        (denied, "PERMISSION_DENIED"),
    ],
)
def test_a_plan_refuses_what_a_start_would_refuse(spoil: Any, why: str) -> None:
    world = World(spec=spec_with(on_missing_metrics="refuse"))
    spoil(world)
    found = look(world)
    assert not found.starts
    assert why in found.reason
    assert world.run().ending is Ending.FAILED


def test_a_rollout_under_way_is_resumed_or_in_the_way() -> None:
    world = World()
    world.start()
    assert look(world).outcome == "resume"
    world.release = type(world.release)(image="other", artifact="", commit="", hash="0" * 12)
    found = look(world)
    assert found.outcome == "refuse"
    assert "under way" in found.reason


def test_a_plan_names_what_changed_in_the_spec_as_a_start_does() -> None:
    world = World()
    world.start()
    world.spec = spec_with(gates=[{"metric": "error_rate", "max": "2%"}])
    with pytest.raises(RolloutError, match=r"deploy\.yaml changed since: rollout") as refused:
        world.start()
    found = look(world)
    assert (found.outcome, found.reason) == ("refuse", str(refused.value))


def test_a_plan_refuses_static_traffic_as_a_start_does() -> None:
    world = World()
    world.spec = world.spec.model_copy(update={"target": world.spec.target.model_copy(update={"traffic": "pulumi"})})
    with pytest.raises(RolloutError) as refused:
        world.start()
    found = look(world)
    assert (found.outcome, found.reason) == ("refuse", str(refused.value))
    assert world.target.calls == []


def test_a_plan_does_not_take_an_api_that_failed_for_a_refusal() -> None:
    world = World()
    alerts = MemoryAlerts(failure=CloudError("GET alerts: INTERNAL: oops", code="INTERNAL"))
    with pytest.raises(CloudError, match="oops"):
        look(world, alerts=alerts)


def test_a_retry_begins_the_same_release_again_and_says_after_what() -> None:
    world = World(errors=0.3)
    first = world.run()
    assert first.ending is Ending.ROLLED_BACK
    world.errors = 0.0
    world.clock.sleep(60)
    again = session.retry(world.store(), clock=world.clock)
    assert (again.release, again.spec_hash) == (first.release, first.spec_hash)
    assert again.tail is not None
    assert again.tail.text.endswith(f", again after {first.id} (rolled_back)")
    record = world.run()
    assert (record.id, record.ending) == (again.id, Ending.PROMOTED)
    assert world.target.versions.count(world.release.hash) == 1
    with pytest.raises(RolloutError, match="was promoted"):
        session.retry(world.store(), clock=world.clock)


def test_there_is_nothing_to_retry_before_a_rollout_or_while_one_is_under_way() -> None:
    world = World()
    with pytest.raises(RolloutError, match="no rollout yet"):
        session.retry(world.store(), clock=world.clock)
    world.start()
    with pytest.raises(RolloutError, match="goes on with it"):
        session.retry(world.store(), clock=world.clock)


@pytest.mark.parametrize(
    ("steps", "errors", "phase"),
    [
        ([{"weight": 10, "hold": "1m"}, {"weight": 100}], 0.0, Phase.KEEPING_STABLE),
        ([{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": True}], 0.0, Phase.AWAITING_APPROVAL),
        ([{"weight": 10, "hold": "1m"}, {"weight": 100}], 0.3, Phase.DONE),
    ],
)
def test_waiting_ends_where_the_rollout_has_come_somewhere(steps: Any, errors: float, phase: Phase) -> None:
    world = World(spec=spec_with(steps=steps), errors=errors)
    controller = world.start()
    sleep = world.clock.sleep

    def driven(seconds: float) -> None:
        """Somebody else drives while we wait."""
        world.clock.sleep = sleep
        step(controller)
        world.clock.sleep = driven

    world.clock = type("Driven", (type(world.clock),), {"__slots__": ("sleep",)})(time=world.clock.time)
    world.clock.sleep = driven
    assert session.wait(world.store(), clock=world.clock).phase is phase


def test_what_a_rollout_needs_and_does_not_make_is_missed_by_plan_and_start_alike() -> None:
    world = World()
    world.target.lacks = "there is no DeploymentResourcePool shared in us-central1"
    assert (look(world).outcome, look(world).reason) == ("refuse", world.target.lacks)
    record = world.run()
    assert (record.ending, record.reason) == (Ending.FAILED, world.target.lacks)
    assert not any(call.startswith(("start_", "create_", "set_")) for call in world.target.calls)
