from __future__ import annotations

import ast
import inspect
from collections import Counter
from pathlib import Path

import pytest
import yaml

pytest.importorskip("pulumi")

import pulumi

from infra import __main__ as program
from tests.infra.discovery import findings
from tests.infra.recorder import Recording, parameters, record, resource_class, snake
from vertex_deploy.errors import SpecError
from vertex_deploy.spec import load

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / "infra" / "components"
HELPERS = {"__init__", "base", "gke_nodes", "objectives"}


def configuration(stack: str) -> dict[str, str]:
    return yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]


@pytest.fixture(scope="module", params=["dev", "prod"])
def made(request) -> Recording:
    return run(request.param)


def run(stack: str) -> Recording:
    def main():
        settings = configuration(stack)
        pulumi.runtime.set_all_config(settings)
        program.main()

    return record(main)


def test_a_stacks_configuration_is_path_and_environment():
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert project["main"] == "infra"
    assert set(project["config"]) == {"spec", "environment"}
    for stack in ("dev", "prod"):
        assert set(configuration(stack)) == {"vertex-deploy:spec", "vertex-deploy:environment"}
        assert configuration(stack)["vertex-deploy:environment"] == stack


def test_dev_and_prod_make_what_their_spec_asks_for():
    dev, prod = ({made.kind for made in run(stack) if not made.custom} for stack in ("dev", "prod"))
    assert dev == {"Registry", "Storage", "Identity", "Endpoint", "Alerts", "Dashboard"}
    assert prod - dev == {"Network", "Gke", "Budget", "Triggers", "Runner"}


def test_every_resource_belongs_to_a_component(made):
    components = {item.name for item in made if not item.custom}
    orphans = [item.name for item in made if item.custom and item.parent not in components]
    assert orphans == ["google"]


def test_names_are_unique_by_type(made):
    assert max(Counter((item.type, item.name) for item in made).values()) == 1


def test_every_input_is_a_parameter_of_its_class(made):
    checked = 0
    for item in made:
        if not item.custom:
            continue
        known = parameters(resource_class(item.type)) | {"api_version", "kind"}
        for name in item.inputs:
            assert snake(name) in known or name in known, f"{item.type} has no {name}"
            checked += 1
    assert checked > 100


def test_changes_are_ignored_only_of_what_others_own_or_the_api_writes_otherwise(made):
    known = {
        "AiEndpoint": ["trafficSplit"],  # a rollout's
        "Budget": ["budgetFilter.projects"],  # told by number
        "ServicePerimeter": ["status.egressPolicies"],  # of those who know what is outside
    }
    ignored = {item.kind: item.ignored for item in made if item.ignored}
    assert ignored == {kind: paths for kind, paths in known.items() if any(item.kind == kind for item in made)}
    assert "AiEndpoint" in ignored


def test_production_protects_what_holds_state_or_answers_traffic():
    protected = {item.kind for item in run("prod") if item.protect}
    assert {"AiEndpoint", "Bucket", "Repository", "Cluster", "Network", "Dataset"} <= protected
    assert not any(item.protect for item in run("dev"))


def test_production_has_its_key_wherever_data_rests():
    made = run("prod")
    key = load(ROOT / configuration("prod")["vertex-deploy:spec"], "prod").infra.encryption_key
    for kind in ("AiEndpoint", "Bucket", "Repository", "Cluster", "Dataset", "NodePool"):
        assert made.of(kind)
        assert all(key in str(item.inputs) for item in made.of(kind)), kind


def test_a_private_endpoint_waits_for_its_network():
    after = run("prod").one("AiEndpoint").after
    assert {"network", "network-psc"} <= after


def test_every_resource_that_has_labels_says_whose_it_is(made):
    for item in made:
        for name in ("labels", "userLabels", "resourceLabels"):
            if name in item.inputs and item.kind != "NotificationChannel":
                assert item.inputs[name]["vertex-deploy"] == "lite-private", item.name


def test_a_wrong_spec_makes_nothing(tmp_path, monkeypatch):
    (tmp_path / "deploy.yaml").write_text("name: x\n")
    monkeypatch.setattr(program, "ROOT", tmp_path)
    seen = []

    def main():
        pulumi.runtime.set_all_config({"vertex-deploy:spec": "deploy.yaml"})
        with pytest.raises(SpecError) as error:
            program.main()
        seen.append(len(error.value.problems))

    assert record(main) == []
    assert seen[0] > 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [("wrong.yaml", "wrong.yaml:1: infra.emails[0]: 'a' is not an address"), ("gone.yaml", "gone.yaml")],
)
def test_a_wrong_spec_is_told_in_its_own_lines(tmp_path, monkeypatch, spec, message):
    """Pulumi prints a RunError as it is, and any other exception with its traceback."""
    place = "gcp: {project: my-project, region: us-central1}\ncontainer: {image: torch-aoti}\n"
    target = "target: {type: vertex, machine: {type: n1-standard-4}}\n"
    (tmp_path / "wrong.yaml").write_text(f"infra: {{emails: [a]}}\nname: lite0\n{place}{target}")
    monkeypatch.setattr(program, "ROOT", tmp_path)

    def main():
        pulumi.runtime.set_all_config({"vertex-deploy:spec": spec})
        with pytest.raises(pulumi.RunError) as error:
            program.run()
        assert message in str(error.value)
        assert "Traceback" not in str(error.value)

    assert record(main) == []


def test_the_program_reads_as_a_table_of_contents():
    """Every component is used, and the program itself makes nothing but the provider."""
    source = (ROOT / "infra" / "__main__.py").read_text()
    modules = {path.stem for path in COMPONENTS.glob("*.py")} - HELPERS
    assert modules == {
        *("alerts", "budget", "dashboard", "endpoint", "gke", "gpu_pool"),
        *("identity", "network", "registry", "runner", "static_split", "storage", "triggers"),
    }
    assert all(f"infra.components.{module}" in source for module in modules)
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    assert {call for call in calls if call.startswith("gcp.")} == {"gcp.Provider"}


def test_components_take_arguments_and_options_and_nothing_else():
    for cls in (program.Network, program.Registry, program.Storage, program.Identity, program.Gke, program.Alerts):
        assert list(inspect.signature(cls).parameters) == ["name", "args", "opts"]


def test_preview_makes_the_same_requests():
    def main():
        pulumi.runtime.set_all_config(configuration("prod"))
        program.main()

    assert {(m.type, m.name) for m in record(main, preview=True)} == {(m.type, m.name) for m in run("prod")}


def test_the_dashboard_is_valid_against_the_monitoring_api(made):
    import json  # noqa: PLC0415 - beside its only use

    text = json.loads(made.one("Dashboard").inputs["dashboardJson"])
    assert findings(text, "monitoring.v1", "Dashboard") == []


def test_alert_policies_name_the_endpoint_that_was_made(made):
    endpoint = made.one("AiEndpoint").inputs["name"]
    policies = [item for item in made.of("AlertPolicy") if "burn" not in item.name]
    assert policies
    assert all(f'endpoint_id="{endpoint}"' in str(item.inputs["conditions"]) for item in policies)
