"""A deployed model as running replicas, and an endpoint as deployed models with a split."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from vertex_deploy.errors import LocalError
from vertex_deploy.local.data.environment import (
    container_environment,
    expand_all,
    health_route,
    predict_route,
    resource_id,
)
from vertex_deploy.local.data.images import command_line
from vertex_deploy.local.data.launcher import LaunchSpec
from vertex_deploy.local.data.probes import State, probe_set
from vertex_deploy.local.data.replica import Replica
from vertex_deploy.local.data.router import Split, least_outstanding
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from random import Random

    from vertex_deploy.local.data.faults import Fault
    from vertex_deploy.local.data.images import ImageMap
    from vertex_deploy.local.data.launcher import Launcher
    from vertex_deploy.local.data.prober import Prober
    from vertex_deploy.local.data.timing import Timer, Timing
    from vertex_deploy.local.seams import DeployPlan

DEFAULT_MAX_BYTES = 1_572_864


@dataclass(frozen=True, slots=True, kw_only=True)
class Machinery:
    """What every deployed model runs with.

    Args:
        images: image references -> local commands.
        launcher: starts processes.
        prober: carries out probes.
        timer: time.
        timing: periods.
        log_dir: folder of the replicas' logs.
        inherited: Local Vertex's own environment.
        storage_emulator_host: where Cloud Storage is, or None.
        extra_env: variables for every replica.
    """

    images: ImageMap
    launcher: Launcher
    prober: Prober
    timer: Timer
    timing: Timing
    log_dir: Path
    inherited: Mapping[str, str]
    storage_emulator_host: str | None
    extra_env: Mapping[str, str]


class DeployedModel:
    """The replicas of one deployed model.

    Args:
        plan: what to run.
        machinery: what to run it with.

    Attributes:
        replicas: those that run or are about to; draining ones are not among them.
        target: how many there should be.
        route: path that predictions are posted to.
        faults: what is done to its requests on purpose.

    Raises:
        ApiError: INVALID_ARGUMENT: the image is not mapped, or the container spec asks for what cannot be done here.
    """

    def __init__(self, plan: DeployPlan, machinery: Machinery) -> None:
        self.plan = plan
        self.replicas: list[Replica] = []
        self.draining: list[Replica] = []
        self.target = 0
        self.route = predict_route(plan)
        self.faults: tuple[Fault, ...] = ()
        self.faults_version = -1
        self._machinery = machinery
        self._serial = itertools.count()
        self._probes = probe_set(plan.container, health_route=health_route(plan))
        if plan.container.invoke_route_prefix:
            raise ApiError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "containerSpec.invokeRoutePrefix is not served locally: give the model a predictRoute",
            )
        try:
            self._image = machinery.images.resolve(plan.container.image_uri)
            self._command_line(port=0)
        except LocalError as error:
            raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    @property
    def id(self) -> str:
        """The deployed model's id."""
        return self.plan.deployed_model_id

    @property
    def timeout(self) -> float:
        """Seconds that all replicas together may take to become healthy."""
        asked = self.plan.container.deployment_timeout
        seconds = asked.total_seconds() if asked else 0.0
        return seconds or self._machinery.timing.deployment_timeout

    def pick(self, random: Random, *, max_outstanding: int, exclude: Replica | None = None) -> Replica:
        """The replica for the next request.

        Args:
            random: breaks ties.
            max_outstanding: requests that a replica may have been given and not answered.
            exclude: not this one.

        Raises:
            ApiError: UNAVAILABLE: none is healthy; RESOURCE_EXHAUSTED: all have as much as they may.
        """
        replica = least_outstanding(self.replicas, random, exclude=exclude)
        if replica is None:
            raise ApiError(
                grpc.StatusCode.UNAVAILABLE, f"Deployed model {self.id} of {self.plan.endpoint} has no healthy replica."
            )
        if replica.outstanding >= max_outstanding:
            raise ApiError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Deployed model {self.id} of {self.plan.endpoint}: every replica has {max_outstanding} requests.",
            )
        return replica

    async def scale(self, replicas: int) -> None:
        """Run this many replicas; new ones are healthy on return, surplus ones have drained and stopped.

        Raises:
            ApiError: FAILED_PRECONDITION: a new replica did not get healthy. The new ones are stopped again, those
                that ran before go on.
        """
        before, self.target = self.target, replicas
        # The newest go first: the oldest are warm.
        surplus = self.replicas[replicas:]
        del self.replicas[replicas:]
        new = [self.add() for _ in range(replicas - len(self.replicas))]
        if surplus:
            await self._retire(surplus)
        try:
            await self._healthy(new)
        except BaseException:
            self.target = before
            for replica in new:
                if replica in self.replicas:
                    self.replicas.remove(replica)
            await asyncio.gather(*(replica.stop(wait_for_requests=False) for replica in new))
            raise

    async def stop(self, *, wait_for_requests: bool = True) -> None:
        """Drain and stop all replicas."""
        self.target = 0
        surplus, self.replicas = self.replicas, []
        if wait_for_requests:
            await self._retire(surplus)
        else:
            await asyncio.gather(*(replica.stop(wait_for_requests=False) for replica in surplus))

    def add(self) -> Replica:
        """Start one more replica, without waiting for it."""
        machinery = self._machinery
        name = f"{self.id}-{next(self._serial)}"
        replica = Replica(
            name=name,
            spec_for_port=self._spec,
            probes=self._probes,
            log=machinery.log_dir / resource_id(self.plan.endpoint) / f"{name}.log",
            launcher=machinery.launcher,
            prober=machinery.prober,
            timer=machinery.timer,
            timing=machinery.timing,
        )
        self.replicas.append(replica)
        replica.start()
        return replica

    async def _retire(self, replicas: list[Replica]) -> None:
        for replica in replicas:
            replica.drain()
        self.draining.extend(replicas)
        try:
            await asyncio.gather(*(replica.stop() for replica in replicas))
        finally:
            for replica in replicas:
                self.draining.remove(replica)

    async def _healthy(self, replicas: list[Replica]) -> None:
        if not replicas:
            return
        limit = asyncio.ensure_future(self._machinery.timer.sleep(self.timeout))
        try:
            waiting = {replica.settled for replica in replicas}
            while waiting:
                either: set[asyncio.Future[Any]] = {*waiting, limit}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                for future in [future for future in waiting if future.done()]:
                    waiting.remove(future)
                    if not future.result():
                        raise self._exited(next(replica for replica in replicas if replica.settled is future))
                if waiting and limit.done():
                    raise self._never_ready(next(replica for replica in replicas if replica.settled in waiting))
        finally:
            limit.cancel()

    def _exited(self, replica: Replica) -> ApiError:
        if replica.state in (State.DRAINING, State.STOPPED):
            return ApiError(
                grpc.StatusCode.ABORTED, f"Replica {replica.name} was stopped before it had become healthy."
            )
        if not replica.launched:
            return ApiError(grpc.StatusCode.FAILED_PRECONDITION, f"Model server cannot be started: {replica.detail}")
        starts = replica.restarts + 1
        return ApiError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"Model server exited unexpectedly. Replica {replica.name} {replica.detail} ({starts} starts). "
            f"{replica.failure()}",
        )

    def _never_ready(self, replica: Replica) -> ApiError:
        return ApiError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "Model server never became ready. Please validate that your model file or container configuration are "
            f"valid. Replica {replica.name} was not healthy within {self.timeout:g} s ({replica.detail}). "
            f"{replica.failure()}",
        )

    def _environment(self, port: int) -> dict[str, str]:
        machinery = self._machinery
        return container_environment(
            self.plan,
            port=port,
            # A container has a PATH and a HOME of its own.
            inherited={} if self._image.container else machinery.inherited,
            storage_emulator_host=machinery.storage_emulator_host,
            extra=machinery.extra_env,
        )

    def _command_line(self, port: int) -> tuple[str, ...]:
        container = self.plan.container
        environment = self._environment(port)
        return command_line(
            self._image,
            command=container.command,
            args=expand_all(container.args, environment),
            reference=container.image_uri,
        )

    def _spec(self, port: int, log: Path) -> LaunchSpec:
        environment = self._environment(port)
        return LaunchSpec(
            argv=self._command_line(port),
            cwd=self._image.cwd,
            environment=environment,
            log=log,
            port=port,
            image=self._image.container,
            entrypoint=expand_all(self.plan.container.command, environment) if self._image.container else (),
        )


@dataclass(slots=True)
class EndpointState:
    """An endpoint as the data plane knows it.

    Args:
        name: full resource name.
        split: who gets the traffic; replaced whole.
        models: deployed model id -> what runs.
    """

    name: str
    split: Split = field(default_factory=lambda: Split({}))
    models: dict[str, DeployedModel] = field(default_factory=dict)

    @property
    def max_bytes(self) -> int:
        """Largest body that the endpoint takes, bytes: that of its deployed models, or a shared endpoint's."""
        return max((model.plan.max_bytes for model in self.models.values()), default=DEFAULT_MAX_BYTES)
