"""The permissions of each service account against what is called: methods in the source, commands in the build.

Which permission a method needs is Google's IAM reference's to say (iam/docs/roles-permissions); the tables here are its
words for the methods that are called. A method or a command that no table knows fails, and so does a permission that
nothing needs.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("pulumi")

from google.cloud import aiplatform_v1, monitoring_v3

from infra.components import identity

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/vertex_deploy"
ELSEWHERE = ("local", "contract")
"""Parts that call nothing of Google's."""

METHODS = {
    "create_alert_policy": {"monitoring.alertPolicies.create"},
    "create_endpoint": {"aiplatform.endpoints.create"},
    "delete_alert_policy": {"monitoring.alertPolicies.delete"},
    "deploy_model": {"aiplatform.endpoints.deploy"},
    "get_deployment_resource_pool": {"aiplatform.deploymentResourcePools.get"},
    "get_endpoint": {"aiplatform.endpoints.get"},
    "get_model": {"aiplatform.models.get"},
    "get_operation": set(),
    "list_alert_policies": {"monitoring.alertPolicies.list"},
    "list_endpoints": {"aiplatform.endpoints.list"},
    "list_model_versions": {"aiplatform.models.list"},
    "list_time_series": {"monitoring.timeSeries.list"},
    "query_deployed_models": {"aiplatform.deploymentResourcePools.queryDeployedModels"},
    "undeploy_model": {"aiplatform.endpoints.undeploy"},
    "update_endpoint": {"aiplatform.endpoints.update"},
    "upload_model": {"aiplatform.models.upload", "aiplatform.models.get"},
}
"""Method of a generated client -> permissions. A version is added to a model, which is read for it."""
REST = {
    "/alerts": {"monitoring.alerts.list"},
    ":access": identity.SECRET[0],
    ":publish": identity.TOPIC[0],
}
"""Ends of paths that are called without a client -> permissions on the project, or a role on the resource."""
SERVING = {
    "create_metric_descriptor": {"monitoring.metricDescriptors.create"},
    "create_time_series": {"monitoring.timeSeries.create"},
}
"""The same of serving/, which names its methods in strings too."""
UPLOAD = ("list_model_versions", "upload_model", "get_operation")
"""What `vertex-deploy build upload` calls: ``targets.upload`` by way of ``VertexTarget``."""
WRITES_LOGS = {"logging.logEntries.create"}
COMMANDS = {
    "docker pull": {"roles/artifactregistry.writer"},
    "docker push": {"roles/artifactregistry.writer"},
    "gcloud artifacts docker images list-vulnerabilities": {"ondemandscanning.scans.listVulnerabilities"},
    "gcloud artifacts docker images scan": {
        "ondemandscanning.scans.analyzePackages",
        "ondemandscanning.operations.get",
    },
    "gcloud storage cp": {"roles/storage.objectUser"},
    "vertex-deploy build contract": set(),
    "vertex-deploy build upload": set().union(*(METHODS[method] for method in UPLOAD)),
    "vertex-deploy rollout start": set(),
    "vertex-deploy rollout tick": set(),
}
"""Command of cloudbuild.yaml -> permissions, or roles on bucket and repository. Those of rollouts are rollout's own."""


def methods() -> set[str]:
    """Every method that a generated client could have."""
    clients = (
        aiplatform_v1.EndpointServiceClient,
        aiplatform_v1.ModelServiceClient,
        aiplatform_v1.DeploymentResourcePoolServiceClient,
        monitoring_v3.MetricServiceClient,
        monitoring_v3.AlertPolicyServiceClient,
        monitoring_v3.NotificationChannelServiceClient,
        monitoring_v3.SnoozeServiceClient,
    )
    verbs = ("get", "list", "create", "update", "delete", "deploy", "undeploy", "mutate", "upload", "merge", "query")
    return {name for client in clients for name in dir(client) if name.partition("_")[0] in verbs and "_" in name}


def trees(root: Path) -> dict[Path, ast.Module]:
    files = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ELSEWHERE]
    assert len(files) > 50
    return {path: ast.parse(path.read_text()) for path in files}


def called(found: dict[Path, ast.Module]) -> set[str]:
    return {node.attr for tree in found.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_a_rollout_may_call_what_vertex_deploy_calls_and_nothing_else():
    found = trees(SOURCE)
    assert called(found) & methods() == set(METHODS)
    needed = set().union(*METHODS.values(), REST["/alerts"], WRITES_LOGS)
    assert set(identity.PERMISSIONS["rollout"]) == needed


def test_a_server_may_write_its_logs_and_metrics_and_nothing_else():
    found = {path: ast.parse(path.read_text()) for path in (ROOT / "serving").rglob("*.py")}
    nodes = [node for tree in found.values() for node in ast.walk(tree)]
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert (words | called(found)) & methods() == set(SERVING)
    assert set(identity.PERMISSIONS["serving"]) == set().union(*SERVING.values(), WRITES_LOGS)


def test_what_is_called_without_a_client_is_in_the_table():
    found = trees(SOURCE)
    clients = [path for path, tree in found.items() if "rest" in imported(tree)]
    texts = "\n".join(path.read_text() for path in clients)
    ends = set(re.findall(r"(?<=})(/alerts|:[a-z]+)(?=\")", texts))
    assert ends == set(REST)


def imported(tree: ast.Module) -> set[str]:
    return {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}


def test_a_build_may_do_what_its_steps_do_and_nothing_else():
    steps = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())["steps"]
    scripts = "\n".join(step["script"] for step in steps)
    pattern = r"\b(gcloud(?: [a-z][a-z-]+(?=\s))+|vertex-deploy [a-z]+ [a-z]+|docker (?:push|pull))"
    assert set(re.findall(pattern, scripts)) == set(COMMANDS)
    needed = set().union(*COMMANDS.values(), WRITES_LOGS)
    roles = {role for role in needed if role.startswith("roles/")}
    assert set(identity.PERMISSIONS["build"]) == needed - roles
    assert {identity.REPOSITORY["build"][0], identity.BUCKETS["build", "state"][0]} == roles
    # No step writes to the bucket of models.
    assert identity.BUCKETS["build", "models"][0] == "roles/storage.objectViewer"
    assert not re.findall(r"gcloud storage cp .*_ARTIFACT", scripts)
