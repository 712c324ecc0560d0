"""Runs components against Pulumi's mocks and keeps every request of the engine, so that tests assert in plain Python.

An assertion inside ``apply`` passes in silence where nobody waits for it; here everything is awaited before the first
assertion, and options (parent, protection, ignored changes) are read from the request, where mocks do not show them.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime import mocks, rpc, settings

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN_BY_PROVIDER = {
    "gcp:serviceaccount/account:Account": lambda i: {
        "email": f"{i['accountId']}@{i['project']}.iam.gserviceaccount.com",
        "member": f"serviceAccount:{i['accountId']}@{i['project']}.iam.gserviceaccount.com",
        "name": f"projects/{i['project']}/serviceAccounts/{i['accountId']}@{i['project']}.iam.gserviceaccount.com",
    },
    "gcp:projects/iAMCustomRole:IAMCustomRole": lambda i: {"name": f"projects/{i['project']}/roles/{i['roleId']}"},
    "gcp:container/cluster:Cluster": lambda _: {
        "endpoint": "172.16.0.2",
        "masterAuth": {"clusterCaCertificate": "Q0E="},
    },
    "gcp:monitoring/notificationChannel:NotificationChannel": lambda i: {
        "name": f"projects/{i['project']}/notificationChannels/1"
    },
    "gcp:monitoring/slo:Slo": lambda i: {
        "name": f"projects/{i['project']}/services/{i['service']}/serviceLevelObjectives/{i['sloId']}"
    },
    "gcp:monitoring/alertPolicy:AlertPolicy": lambda i: {"name": f"projects/{i['project']}/alertPolicies/1"},
    "gcp:cloudbuild/trigger:Trigger": lambda _: {"triggerId": "trigger-1"},
    "vertexdeploy:index:Model": lambda i: {
        "versionName": f"projects/{i['project']}/locations/{i['region']}/models/{i['modelId']}@1"
    },
    "vertexdeploy:index:DeployedModel": lambda i: {"deployedModelId": f"id-of-{i['displayName']}"},
}
"""Type -> outputs that its provider computes."""


@dataclass(frozen=True)
class Made:
    """One resource as the engine was asked for it.

    Args:
        type: type token.
        name: Pulumi's name.
        inputs: by the names of the wire, camelCase.
        parent: name of the parent, "" for the stack.
        custom: a provider's resource, not a component.
        protect: as the engine was told.
        ignored: properties whose changes are ignored.
        after: names of the resources that it depends on.
    """

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    custom: bool
    protect: bool
    ignored: list[str] = field(default_factory=list)
    after: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        return self.type.rpartition(":")[2]


class _Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        computed = SEEN_BY_PROVIDER.get(args.typ, lambda _: {})(args.inputs)
        identity = args.inputs.get("name") or args.name
        return f"{identity}-id", {"name": identity, **args.inputs, **computed}

    def call(self, args):
        raise AssertionError(f"a component must not look things up while it is made: {args.token}")


class _Monitor(mocks.MockMonitor):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made: list[Made] = []

    def RegisterResource(self, request):  # noqa: N802 - gRPC's name
        response = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            self.made.append(
                Made(
                    type=request.type,
                    name=request.name,
                    inputs=rpc.deserialize_properties(request.object),
                    parent=_name(request.parent),
                    custom=request.custom,
                    protect=request.protect,
                    ignored=list(request.ignoreChanges),
                    after=frozenset(_name(urn) for urn in request.dependencies),
                )
            )
        return response


def _name(urn: str) -> str:
    kind, _, name = urn.rpartition("::")
    return "" if "pulumi:pulumi:Stack" in kind.rpartition("::")[2].split("$")[-1:] else name


class Recording(list[Made]):
    """What was made, in order."""

    def of(self, kind: str) -> list[Made]:
        """Providers' resources of a kind; a component may be called like one."""
        return [made for made in self if made.kind == kind and made.custom]

    def one(self, kind: str, name: str | None = None) -> Made:
        found = [made for made in self.of(kind) if name in (None, made.name)]
        assert len(found) == 1, (
            f"{len(found)} of {kind} {name or ''}, not one; made: {[(m.kind, m.name) for m in self]}"
        )
        return found[0]


def record(make: Callable[[], Any], *, preview: bool = False) -> Recording:
    """What ``make`` asks the engine for. Any exception of a callback is raised here."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    fake = _Mocks()
    monitor = _Monitor(fake)
    pulumi.runtime.set_mocks(fake, project="vertex-deploy", stack="test", preview=preview, monitor=monitor)

    @pulumi.runtime.test
    def program() -> Any:
        return make()

    program()
    assert not settings.SETTINGS.rpc_manager.unhandled_exception
    return Recording(monitor.made)


def resource_class(token: str) -> type:
    """The class of a type token, such as gcp:vertex/aiEndpoint:AiEndpoint."""
    import importlib  # noqa: PLC0415 - beside its only use

    package, module, name = token.split(":")
    root = {"gcp": "pulumi_gcp", "kubernetes": "pulumi_kubernetes", "pulumi": "pulumi_gcp"}[package]
    if package == "pulumi":
        return importlib.import_module({"gcp": "pulumi_gcp", "kubernetes": "pulumi_kubernetes"}[name]).Provider
    folder = module.partition("/")[0]
    if package == "kubernetes":
        folder = {"core": "core"}.get(folder, folder.partition(".")[0])
        return getattr(importlib.import_module(f"{root}.{folder}.v1"), name)
    return getattr(importlib.import_module(f"{root}.{folder}"), name)


def parameters(cls: type) -> set[str]:
    """Names of the inputs that a resource class takes."""
    return set(inspect.signature(cls._internal_init).parameters) - {"resource_name", "opts"}


def snake(name: str) -> str:
    """masterIpv4CidrBlock -> master_ipv4_cidr_block."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: f"_{m[1]}", name).lower()
