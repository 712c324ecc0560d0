"""Local Vertex's data plane: runs deployed models as processes and routes requests to them.

``LocalDataPlane`` is what the control plane calls (``seams.DataPlane``); ``http_routes`` and ``prediction_service`` are
what the listeners mount.

Leaves out autoscaling (a deployed model has as many replicas as it is told), private endpoints' own addresses, and
request logging to BigQuery. Models on a deployment resource pool have replicas of their own here: see
``control.pools``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from random import Random
from typing import TYPE_CHECKING

import grpc

from vertex_deploy.local.data.admin import Admin
from vertex_deploy.local.data.deployed import DeployedModel, EndpointState, Machinery
from vertex_deploy.local.data.faults import FaultTable, target_matches
from vertex_deploy.local.data.forward import Forwarder
from vertex_deploy.local.data.gauges import Gauges
from vertex_deploy.local.data.podman import LocalLauncher
from vertex_deploy.local.data.predict_grpc import PredictionService
from vertex_deploy.local.data.predict_http import PredictHttp
from vertex_deploy.local.data.prober import LoopbackProber
from vertex_deploy.local.data.router import Split
from vertex_deploy.local.data.timing import SystemTimer, Timing
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aiohttp import web

    from vertex_deploy.local.data.images import ImageMap
    from vertex_deploy.local.data.launcher import Launcher
    from vertex_deploy.local.data.prober import Prober
    from vertex_deploy.local.data.replica import Replica
    from vertex_deploy.local.data.timing import Timer
    from vertex_deploy.local.seams import DeployPlan, Recorder


class LocalDataPlane:
    """Runs deployed models and routes requests to them; implements ``seams.DataPlane``.

    Args:
        images: image references -> local commands.
        recorder: takes the measurements.
        log_dir: folder for the replicas' logs, one folder an endpoint.
        storage_emulator_host: where Cloud Storage is, ``http://127.0.0.1:PORT``; what replicas get as
            STORAGE_EMULATOR_HOST.
        extra_env: variables that every replica gets.
        timing: periods; ``Timing(scale=0.1)`` makes a rehearsal's probes and restarts ten times as fast.
        max_outstanding: requests that one replica may have been given and not answered; more are answered 429.
        resolve_endpoint: the control plane's view of endpoints: the canonical name of a resource name, or None if there
            is no such endpoint. Without it an endpoint exists once something was deployed to it or its split was set.
        launcher: starts processes.
        prober: carries out probes.
        timer: time.
        random: where chance comes from.
        inherited: Local Vertex's own environment, of which a few variables are handed on.

    Attributes:
        faults: what is done to requests on purpose.
        endpoints: endpoint resource name -> its state.
    """

    def __init__(
        self,
        images: ImageMap,
        recorder: Recorder,
        *,
        log_dir: Path,
        storage_emulator_host: str | None = None,
        extra_env: Mapping[str, str] | None = None,
        timing: Timing | None = None,
        max_outstanding: int = 256,
        resolve_endpoint: Callable[[str], str | None] | None = None,
        launcher: Launcher | None = None,
        prober: Prober | None = None,
        timer: Timer | None = None,
        random: Random | None = None,
        inherited: Mapping[str, str] | None = None,
    ) -> None:
        self.faults = FaultTable()
        self.endpoints: dict[str, EndpointState] = {}
        self._recorder = recorder
        self._resolve = resolve_endpoint
        self._machinery = Machinery(
            images=images,
            launcher=launcher or LocalLauncher(os.environ),
            prober=prober or LoopbackProber(),
            timer=timer or SystemTimer(),
            timing=timing or Timing(),
            log_dir=log_dir,
            inherited=os.environ if inherited is None else inherited,
            storage_emulator_host=storage_emulator_host,
            extra_env={} if extra_env is None else extra_env,
        )
        random = random or Random()  # noqa: S311 - routes requests, keeps no secrets
        self._random = random
        self._forwarder = Forwarder(
            self, recorder=recorder, faults=self.faults, random=random, max_outstanding=max_outstanding
        )
        self._gauges = Gauges(recorder, self._machinery.timer)
        self._gauge_task: asyncio.Task[None] | None = None
        self._replacements: set[asyncio.Task[None]] = set()
        self.prediction_service = PredictionService(self._forwarder)
        self._http = PredictHttp(self._forwarder)

    def http_routes(self) -> list[web.RouteDef]:
        """Routes for the REST listener: the predict methods, /local/v1/faults and /local/v1/status."""
        return [*self._http.routes(), *Admin(self).routes()]

    async def deploy(self, plan: DeployPlan, on_stage: Callable[[str], None]) -> None:
        """Start the replicas and return when all are healthy; see ``seams.DataPlane.deploy``.

        The API's stages of making a cluster and adding nodes to it are not reported: nothing of the kind happens.

        Raises:
            ApiError: ALREADY_EXISTS: the deployed model id is in use; INVALID_ARGUMENT: the image is not mapped or the
                container asks for what cannot be done here; FAILED_PRECONDITION: it never got healthy.
        """
        on_stage("PREPARING_MODEL")
        endpoint = self.endpoints.setdefault(plan.endpoint, EndpointState(plan.endpoint))
        if plan.deployed_model_id in endpoint.models:
            raise ApiError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"Deployed model {plan.deployed_model_id} already exists in {plan.endpoint}.",
            )
        on_stage("GETTING_CONTAINER_IMAGE")
        model = DeployedModel(plan, self._machinery)
        endpoint.models[plan.deployed_model_id] = model
        if self._gauge_task is None:
            self._gauge_task = asyncio.create_task(self._write_gauges(), name="gauges")
        on_stage("STARTING_MODEL_SERVER")
        try:
            await model.scale(plan.replicas)
        except BaseException:
            endpoint.models.pop(plan.deployed_model_id, None)
            self._recorder.forget(endpoint=plan.endpoint, deployed_model_id=plan.deployed_model_id)
            raise
        self._gauges.counts(model)
        on_stage("FINISHING_UP")

    async def undeploy(self, endpoint: str, deployed_model_id: str) -> None:
        """Take no new requests, finish those accepted, stop the replicas.

        Raises:
            ApiError: NOT_FOUND.
        """
        state, model = self._deployed(endpoint, deployed_model_id)
        # No longer found from here on; what it was given it finishes.
        del state.models[deployed_model_id]
        await model.stop()
        self._recorder.forget(endpoint=endpoint, deployed_model_id=deployed_model_id)

    async def scale(self, endpoint: str, deployed_model_id: str, replicas: int) -> None:
        """Run this many replicas; see ``seams.DataPlane.scale``.

        Raises:
            ApiError: NOT_FOUND; INVALID_ARGUMENT: fewer than one; FAILED_PRECONDITION: a new one never got healthy.
        """
        if replicas < 1:
            raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, f"replicas is {replicas}; at least 1 is needed")
        _, model = self._deployed(endpoint, deployed_model_id)
        fewer = replicas < len(model.replicas)
        await model.scale(replicas)
        if fewer:
            # The gauges of replicas that are gone would stand for ever.
            self._recorder.forget(endpoint=endpoint, deployed_model_id=deployed_model_id)
        self._gauges.counts(model)

    def available(self, endpoint: str, deployed_model_id: str) -> int | None:
        """Replicas that take requests now; see ``seams.DataPlane.available``."""
        state = self.endpoints.get(endpoint)
        model = state.models.get(deployed_model_id) if state else None
        return None if model is None else sum(replica.ready for replica in model.replicas)

    def set_split(self, endpoint: str, split: Mapping[str, int]) -> None:
        """Route by these weights from the next request on; see ``seams.DataPlane.set_split``.

        Raises:
            ApiError: INVALID_ARGUMENT: the weights do not sum to 100.
        """
        self.endpoints.setdefault(endpoint, EndpointState(endpoint)).split = Split(split)

    def forget_endpoint(self, endpoint: str) -> None:
        """Drop an endpoint that was deleted; it must have no deployed models left."""
        state = self.endpoints.get(endpoint)
        if state is not None and not state.models:
            del self.endpoints[endpoint]

    def find(self, name: str) -> EndpointState:
        """The endpoint of a resource name, with the project as id or number.

        Raises:
            ApiError: NOT_FOUND.
        """
        canonical = self._resolve(name) if self._resolve is not None else name
        if canonical is not None:
            state = self.endpoints.get(canonical) or (None if self._resolve is not None else self._by_number(canonical))
            if state is not None:
                return state
            if self._resolve is not None:
                return EndpointState(canonical)
        raise ApiError(grpc.StatusCode.NOT_FOUND, f"The Endpoint {name} does not exist.")

    def kill_replica(self, target: str, *, endpoint: str | None = None) -> str:
        """SIGKILL one replica of a deployed model; it is restarted as after a crash.

        Args:
            target: deployed model id, or MODEL[@VERSION].
            endpoint: only on this endpoint.

        Returns:
            The replica's name.

        Raises:
            ApiError: NOT_FOUND: nothing of that name runs.
        """
        _, replica = self._victim(target, endpoint)
        replica.kill()
        return replica.name

    def preempt_replica(self, target: str, *, endpoint: str | None = None) -> str:
        """Take one replica away as Spot capacity is: SIGTERM now, gone after the grace period, replaced later.

        Arguments and errors as in ``kill_replica``. The replacement starts after ``Timing.preempted_away``.
        """
        model, replica = self._victim(target, endpoint)
        model.replicas.remove(replica)
        task = asyncio.create_task(self._replace(model, replica), name=f"replace {replica.name}")
        self._replacements.add(task)
        task.add_done_callback(self._replacements.discard)
        return replica.name

    async def close(self) -> None:
        """Stop everything that was started; requests in flight are cut short."""
        tasks = [*self._replacements, *([self._gauge_task] if self._gauge_task else [])]
        for task in tasks:
            task.cancel()
        models = [model for state in self.endpoints.values() for model in state.models.values()]
        await asyncio.gather(*(model.stop(wait_for_requests=False) for model in models), *tasks, return_exceptions=True)
        self.endpoints.clear()
        await self._forwarder.close()
        await self._machinery.prober.close()

    async def collect_gauges(self) -> None:
        """Measure replicas, CPU and memory once."""
        await self._gauges.collect(model for state in self.endpoints.values() for model in state.models.values())

    async def _write_gauges(self) -> None:
        while True:
            await self._machinery.timer.sleep(self._machinery.timing.gauge_period)
            with contextlib.suppress(OSError):
                await self.collect_gauges()

    async def _replace(self, model: DeployedModel, replica: Replica) -> None:
        timing = self._machinery.timing
        try:
            await replica.stop(wait_for_requests=False)
        except asyncio.CancelledError:
            replica.kill()
            raise
        self._recorder.forget(endpoint=model.plan.endpoint, deployed_model_id=model.id)
        await self._machinery.timer.sleep(timing.preempted_away * timing.scale)
        if len(model.replicas) < model.target:
            model.add()

    def _deployed(self, endpoint: str, deployed_model_id: str) -> tuple[EndpointState, DeployedModel]:
        state = self.endpoints.get(endpoint)
        if state is None or deployed_model_id not in state.models:
            raise ApiError(
                grpc.StatusCode.NOT_FOUND, f"Deployed model {deployed_model_id} does not exist in {endpoint}."
            )
        return state, state.models[deployed_model_id]

    def _victim(self, target: str, endpoint: str | None) -> tuple[DeployedModel, Replica]:
        for state in self.endpoints.values():
            for model in state.models.values():
                if endpoint in (None, state.name) and target_matches(target, model.plan):
                    for replica in model.replicas:
                        if replica.pid is not None:
                            return model, replica
        raise ApiError(
            grpc.StatusCode.NOT_FOUND,
            f"No replica of {target!r} runs: name a deployed model id, MODEL or MODEL@VERSION.",
        )

    def _by_number(self, name: str) -> EndpointState | None:
        project, _, rest = name.removeprefix("projects/").partition("/")
        for state in self.endpoints.values():
            for model in state.models.values():
                if project == model.plan.project_number and state.name == f"projects/{model.plan.project}/{rest}":
                    return state
        return None
