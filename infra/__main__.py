"""The Pulumi program: a table of contents of what one deploy.yaml needs in Google Cloud.

The stack's configuration is the spec's path and the environment; everything else is in the spec, which is validated
whole before the first resource. Left out: models and their deployment, which `vertex-deploy rollout` owns, unless the
spec says ``traffic: pulumi``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_gcp as gcp

from infra.components import endpoint, static_split
from infra.components.alerts import Alerts, AlertsArgs
from infra.components.budget import Budget, BudgetArgs
from infra.components.dashboard import Dashboard, DashboardArgs
from infra.components.endpoint import Endpoint, EndpointArgs
from infra.components.gke import Gke, GkeArgs
from infra.components.gpu_pool import GpuPool, GpuPoolArgs
from infra.components.identity import Identity, IdentityArgs
from infra.components.network import Network, NetworkArgs
from infra.components.registry import Registry, RegistryArgs
from infra.components.runner import Runner, RunnerArgs
from infra.components.static_split import StaticSplit, StaticSplitArgs
from infra.components.storage import Storage, StorageArgs
from infra.components.triggers import Triggers, TriggersArgs
from vertex_deploy.errors import VertexDeployError
from vertex_deploy.spec import load

if TYPE_CHECKING:
    from vertex_deploy.spec import Spec

ROOT = Path(__file__).resolve().parents[1]


def stack(spec: Spec, *, path: str, text: str, environment: str | None) -> dict[str, Any]:
    """Make everything that a spec asks for.

    Args:
        spec: with its environment applied.
        path: of deploy.yaml in the repository, for the builds.
        text: of deploy.yaml, for the runner.
        environment: whose overrides apply.

    Returns:
        The stack's outputs.
    """
    wanted = spec.infra
    google = gcp.Provider("google", project=spec.gcp.project, region=spec.gcp.region)
    opts = pulumi.ResourceOptions(providers=[google])

    registry = Registry("registry", RegistryArgs.of(spec), opts) if wanted.registry else None
    storage = Storage("storage", StorageArgs.of(spec), opts) if wanted.storage else None
    identity = Identity(
        "identity",
        IdentityArgs.of(
            spec,
            models=storage.models if storage else None,
            state=storage.state if storage else None,
            repository=registry.repository if registry else None,
        ),
        opts,
    )
    who = identity.emails
    # Cloud Build, Cloud Run and Cloud Scheduler call as these, from outside of the network.
    outside = {"build": wanted.triggers, "rollout": wanted.triggers or wanted.runner, "scheduler": wanted.runner}
    callers = [who[role] for role, asked in outside.items() if asked]
    network = Network("network", NetworkArgs.of(spec, callers=callers), opts) if wanted.network else None

    served = None
    if endpoint.wanted(spec):
        served = Endpoint("endpoint", EndpointArgs.of(spec), opts, after=network.ready if network else ())
    pool = GpuPool("pool", GpuPoolArgs.of(spec), opts) if wanted.pool else None
    if served and static_split.wanted(spec):
        shared = pool.pool if pool else None
        StaticSplit("split", StaticSplitArgs.of(spec, endpoint=served.resource_name, pool=shared), opts)
    if wanted.gke and network:
        place = {"network": network.network_id, "subnet": network.subnet_id}
        Gke("gke", GkeArgs.of(spec, **place, node_account=who["nodes"], service_account=who["serving"]), opts)

    alerts = Alerts("alerts", AlertsArgs.of(spec), opts)
    dashboard = Dashboard("dashboard", DashboardArgs.of(spec), opts)
    if wanted.budget:
        Budget("budget", BudgetArgs.of(spec, channels=alerts.channels), opts)

    if wanted.triggers:
        accounts = {"build_account": who["build"], "rollout_account": who["rollout"]}
        Triggers("triggers", TriggersArgs.of(spec, path=path, environment=environment, **accounts), opts)
    if wanted.runner:
        arguments = RunnerArgs.of(
            spec,
            spec_text=text,
            environment=environment,
            state=storage.state if storage else None,
            rollout_account=who["rollout"],
            scheduler_account=who["scheduler"],
        )
        Runner("runner", arguments, opts)

    return {
        "endpoint": served.resource_name if served else None,
        "pool": pool.pool if pool else None,
        "images": registry.url if registry else None,
        "models": storage.models if storage else None,
        "state": storage.state if storage else None,
        "serving_account": who["serving"],
        "dashboard": dashboard.dashboard,
    }


def main() -> None:
    """Read the stack's configuration and the spec, then make the stack.

    Raises:
        SpecError: the spec is wrong; nothing has been made.
        UsageError: it cannot be read.
    """
    config = pulumi.Config("vertex-deploy")
    path, environment = config.require("spec"), config.get("environment")
    spec = load(ROOT / path, environment)
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, value in stack(spec, path=path, text=text, environment=environment).items():
        if value is not None:
            pulumi.export(name, value)


def run() -> None:
    """``main`` as the engine runs it.

    Raises:
        RunError: the spec is wrong or cannot be read. Pulumi prints it as it is; of others it prints a traceback.
    """
    try:
        main()
    except VertexDeployError as error:
        raise pulumi.RunError(str(error)) from error


if __name__ == "__main__":
    run()
