"""``vertexdeploy:index:DeployedModel``: one model version on one endpoint, its machines and replicas. Pure.

What MutateDeployedModel can change (replica counts, autoscaling, container logging) is changed in place; everything
else, the access log too, is another deployed model, made before the old one goes. Its id on the endpoint is chosen
here, from the resource and what it is made of, so that a deployment which nobody waited for is found again instead of
repeated.

A deployment gets no traffic by itself: a TrafficSplit or a rollout gives it some. With ``owner: rollout``, the default,
the set of deployed models belongs to the rollout tool after the creation: the program's differences are ignored, and a
deployed model that a rollout has removed stays in the state, marked ``deployed: false``.

Facts: DeployedModel, DedicatedResources, MachineSpec, ReservationAffinity of aiplatform v1. Left out: automatic
resources, scale to zero (v1beta1), explanations.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.properties import Failure, Prop, diff
from infra.provider.resources.base import Context, Definition, Inputs, on_endpoint, owner
from infra.provider.values import UNKNOWN, has_unknown
from vertex_deploy.spec import machines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCALE_ON = {
    "cpuUtilization": "aiplatform.googleapis.com/prediction/online/cpu/utilization",
    "gpuDutyCycle": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
    "requestCountPerMinute": "aiplatform.googleapis.com/prediction/online/request_count",
}
"""Property -> metric of AutoscalingMetricSpec, as the SDK's ``Endpoint.deploy`` names them."""
_PERCENT = ("cpuUtilization", "gpuDutyCycle")
_TPUS = ("ct5lp-", "ct6e-", "tpu7x-")
RESERVATIONS = {"any": "ANY_RESERVATION", "none": "NO_RESERVATION", "specific": "SPECIFIC_RESERVATION"}


def _same_accelerator(old: Any, new: Any) -> bool:
    try:
        return machines.AcceleratorSpec.parse(old) == machines.AcceleratorSpec.parse(new)
    except ValueError:
        return bool(old == new)


def _same_replicas(old: Any, new: Any) -> bool:
    return not has_unknown([old, new]) and _counts(old or {}) == _counts(new or {})


def _counts(replicas: Mapping[str, Any]) -> tuple[int, int, int]:
    low = replicas.get("min") or 1
    return low, replicas.get("max") or low, replicas.get("required") or 0


_RESERVATION = Prop(
    type="object",
    ref="Reservation",
    doc="Which Compute Engine reservations are used.",
    fields={
        "type": Prop(type="string", required=True, choices=tuple(RESERVATIONS), doc="Which ones."),
        "key": Prop(type="string", doc="compute.googleapis.com/reservation-name (specific)."),
        "values": Prop(
            type="array",
            items=Prop(
                type="string",
                pattern=r"projects/[^/]+/zones/[^/]+/reservations/.+",
                says="projects/P/zones/Z/reservations/NAME",
                doc="One.",
            ),
            doc="projects/P/zones/Z/reservations/NAME (specific).",
        ),
    },
)
_MACHINE = Prop(
    type="object",
    ref="Machine",
    replace=True,
    doc="What each replica runs on; a DeployedModel has this or a pool.",
    fields={
        "type": Prop(type="string", required=True, doc="Compute Engine machine type, such as g2-standard-8."),
        "accelerator": Prop(
            type="string",
            same=_same_accelerator,
            doc="GPU and count, L4:1; left out for machines without GPU and TPUs.",
        ),
        "gpuPartitionSize": Prop(
            type="string", doc="MIG partition, such as 1g.10gb; the accelerator's count is then 1."
        ),
        "tpuTopology": Prop(
            type="string",
            pattern=r"([0-9]+(x[0-9]+){1,2})?",
            says="a topology, such as 2x2x1",
            doc="Topology of a TPU slice, such as 2x2x1.",
        ),
        "spot": Prop(type="boolean", doc="Spot VMs: cheaper, preemptible."),
        "reservation": _RESERVATION,
    },
)
_REPLICAS = Prop(
    type="object",
    ref="Replicas",
    same=_same_replicas,
    doc="How many replicas. Changed in place.",
    fields={
        "min": Prop(type="integer", minimum=1, doc="Always running; 1 where absent."),
        "max": Prop(type="integer", minimum=1, doc="At most; the minimum where absent."),
        "required": Prop(type="integer", minimum=1, doc="That must be up for the deployment to succeed."),
    },
)
_SCALE_ON = Prop(
    type="object",
    ref="ScaleOn",
    doc="Autoscaling targets. Changed in place.",
    fields={
        "cpuUtilization": Prop(type="integer", minimum=1, maximum=100, doc="CPU in percent."),
        "gpuDutyCycle": Prop(type="integer", minimum=1, maximum=100, doc="GPU duty cycle in percent."),
        "requestCountPerMinute": Prop(type="integer", minimum=1, doc="Requests a minute of one replica."),
    },
)

INPUTS: dict[str, Prop] = {
    "endpoint": on_endpoint("Endpoint, projects/P/locations/L/endpoints/E."),
    "model": Prop(
        type="string",
        required=True,
        replace=True,
        same=names.same_name,
        pattern=names.MODEL_VERSION,
        says="a model version by number, projects/P/locations/L/models/M@V",
        doc="Model version, projects/P/locations/L/models/M@V (a Model's versionName); its region may be another.",
    ),
    "deployedModelId": Prop(
        type="string",
        replace=True,
        pattern=r"[1-9][0-9]{0,9}",
        says="1 to 10 digits that do not start with 0",
        doc="Its id on the endpoint, 1 to 10 digits; derived from the resource and its fixed properties if absent.",
    ),
    "displayName": Prop(
        type="string",
        replace=True,
        pattern=r"(?s).{0,128}",
        says="at most 128 characters",
        doc="Name shown in the console; the model's where absent.",
    ),
    "machine": _MACHINE,
    "replicas": _REPLICAS,
    "scaleOn": _SCALE_ON,
    "pool": Prop(
        type="string",
        replace=True,
        same=names.same_name,
        pattern=names.POOL,
        says="projects/P/locations/L/deploymentResourcePools/R",
        doc="DeploymentResourcePool to share machines with; excludes machine, replicas and scaleOn.",
    ),
    "serviceAccount": Prop(
        type="string",
        replace=True,
        pattern=r"([^@\s]+@[^@\s]+)?",
        says="a service account's email address",
        doc="Identity of the container, an email address.",
    ),
    "accessLogging": Prop(type="boolean", replace=True, doc="Log each request."),
    "containerLogging": Prop(type="boolean", default=True, doc="Log what the container prints. Changed in place."),
    "owner": owner("rollout", "it and what else is deployed"),
    "undeployOthersOnDelete": Prop(
        type="boolean",
        default=False,
        local=True,
        doc="Deleting it empties the endpoint: whatever rollouts have deployed since goes too, and its traffic.",
    ),
}
OUTPUTS: dict[str, Prop] = {
    "name": Prop(type="string", doc="projects/P/locations/L/endpoints/E/deployedModels/D."),
    "deployed": Prop(type="boolean", doc="Whether it is on the endpoint; a rollout may have removed it."),
    "createTime": Prop(type="string", doc="When it was deployed, RFC 3339."),
    "operation": Prop(
        type="string", doc="The operation still under way when nobody waited any longer; empty otherwise."
    ),
}

_CREATED_WITH = tuple(key for key, prop in INPUTS.items() if prop.replace and key != "deployedModelId")
FIXED = (*_CREATED_WITH, "deployedModelId")
"""Properties that nobody can change on a deployed model."""


def chosen_id(urn: str, inputs: Mapping[str, Any]) -> Any:
    """The id on the endpoint: 10 digits of the resource and of all that needs a replacement, or UNKNOWN."""
    made_of = {key: inputs.get(key) for key in _CREATED_WITH}
    if has_unknown(made_of):
        return UNKNOWN
    text = json.dumps([urn, made_of], sort_keys=True, separators=(",", ":"))
    return str(1_000_000_000 + int(hashlib.sha256(text.encode()).hexdigest(), 16) % 9_000_000_000)


def _complete(inputs: Inputs, context: Context) -> Inputs:
    if "deployedModelId" in inputs:
        return inputs
    unchanged = not diff({key: INPUTS[key] for key in _CREATED_WITH}, context.olds, inputs)
    # An imported one keeps the id that it has.
    kept = context.olds.get("deployedModelId") if unchanged else None
    left = context.olds.get("owner") == inputs.get("owner") == "rollout"
    kept = kept or (context.olds.get("deployedModelId") if left else None)
    return {**inputs, "deployedModelId": kept or chosen_id(context.urn, inputs)}


def _agree(inputs: Inputs) -> Iterable[Failure]:
    endpoint, pool = inputs.get("endpoint"), inputs.get("pool")
    # The model may be in another region than the endpoint (DeployedModel.model of aiplatform v1).
    if isinstance(endpoint, str) and isinstance(pool, str) and names.region(pool) != names.region(endpoint):
        yield Failure("pool", f"is in {names.region(pool)}, the endpoint is in {names.region(endpoint)}")
    if pool is None and inputs.get("machine") is None:
        yield Failure("machine", "is required: a DeployedModel has a machine or a pool")
    for key in ("machine", "replicas", "scaleOn"):
        if pool is not None and inputs.get(key) is not None:
            yield Failure(key, "excludes pool: the pool has its own")
    machine = inputs.get("machine")
    if isinstance(machine, dict):
        yield from _machine(machine)
        busy = (inputs.get("scaleOn") or {}).get("gpuDutyCycle") if inputs.get("scaleOn") is not UNKNOWN else None
        if busy and isinstance(machine.get("type"), str) and not machine.get("accelerator"):
            yield Failure("scaleOn.gpuDutyCycle", "is of a machine with a GPU; use another target")
    if isinstance(inputs.get("replicas"), dict):
        yield from _replicas(inputs["replicas"])


def _machine(machine: Mapping[str, Any]) -> Iterable[Failure]:
    kind, text = machine.get("type"), machine.get("accelerator")
    if not isinstance(kind, str) or text is UNKNOWN:
        return
    if not machines.known(kind):
        near = machines.nearest(kind)
        hint = f"; did you mean {near}?" if near else ""
        yield Failure("machine.type", f"{kind!r} is no machine type of online prediction{hint}")
        return
    accelerator = None
    if text is not None:
        try:
            accelerator = machines.AcceleratorSpec.parse(text)
        except ValueError as error:
            yield Failure("machine.accelerator", str(error))
            return
    mismatch = machines.explain_mismatch(kind, accelerator)
    if mismatch:
        yield Failure("machine.accelerator", "; ".join(mismatch))
    yield from _parts(kind, accelerator, machine)
    reservation = machine.get("reservation")
    if isinstance(reservation, dict) and reservation.get("type") in RESERVATIONS:
        named = bool(reservation.get("key") and reservation.get("values"))
        if (reservation["type"] == "specific") != named:
            yield Failure("machine.reservation", "key and values go with type: specific, and only with it")
        if machine.get("spot") is True and reservation["type"] != "none":
            yield Failure("machine.reservation", "spot VMs use no reservations; remove spot or the reservation")


def _parts(kind: str, accelerator: Any, machine: Mapping[str, Any]) -> Iterable[Failure]:
    """Parts of a GPU, slices of a TPU."""
    partition = machine.get("gpuPartitionSize")
    if partition and (accelerator is None or accelerator.count != 1):
        yield Failure("machine.gpuPartitionSize", "needs an accelerator with a count of 1")
    elif isinstance(partition, str) and partition:
        wrong = machines.explain_partition(accelerator, partition)
        if wrong:
            yield Failure("machine.gpuPartitionSize", "; ".join(wrong))
    if machine.get("tpuTopology") and not kind.startswith(_TPUS):
        yield Failure("machine.tpuTopology", f"is of TPU machines, and {kind} is none; remove it")


def _replicas(replicas: Mapping[str, Any]) -> Iterable[Failure]:
    low, high, required = replicas.get("min") or 1, replicas.get("max"), replicas.get("required")
    if isinstance(low, int) and isinstance(high, int) and high < low:
        yield Failure("replicas.max", f"{high} is below min, which is {low}")
    if isinstance(low, int) and isinstance(required, int) and required > low:
        yield Failure("replicas.required", f"{required} is above min, which is {low}")


DEPLOYED_MODEL = Definition(
    token="vertexdeploy:index:DeployedModel",  # noqa: S106 - a type token
    doc="A model version deployed to an endpoint. Replica counts, autoscaling and container logging change in place; "
    "any other change deploys another one first and then removes this one. It gets no traffic until a TrafficSplit or "
    "a rollout gives it some.",
    inputs=INPUTS,
    outputs=OUTPUTS,
    complete=_complete,
    agree=_agree,
    identity=("endpoint", "owner", "undeployOthersOnDelete"),
    names=("endpoint", "deployedModelId"),
)


def name(inputs: Mapping[str, Any]) -> Any:
    """projects/P/locations/L/endpoints/E/deployedModels/D, or UNKNOWN."""
    endpoint, ident = inputs.get("endpoint", UNKNOWN), inputs.get("deployedModelId", UNKNOWN)
    return UNKNOWN if UNKNOWN in (endpoint, ident) else str(names.Deployed(endpoint, ident))


def preview(olds: Mapping[str, Any], news: Inputs, state: Mapping[str, Any] | None) -> Inputs:
    """What creating (no state) or updating would give, as far as it is known without a call.

    Args:
        olds: inputs in the state; not needed here.
        news: inputs wanted.
        state: inputs and outputs in the state, or None.
    """
    del olds
    if state is not None:
        return {**news, **{key: state.get(key, UNKNOWN) for key in OUTPUTS}}
    return {**news, "name": name(news), "deployed": True, "createTime": UNKNOWN, "operation": ""}
