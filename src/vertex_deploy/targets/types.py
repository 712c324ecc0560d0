"""The seam between a rollout and the place where traffic is split. Values are plain; nothing here calls anything.

Every method of ``Target`` is one external effect or one reading, so that a controller may be killed between any two.
Left out: waiting. Long-running operations are started, named, and polled by the driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One deployed model, as the endpoint reports it.

    Args:
        id: deployed model id within the endpoint, digits.
        model: projects/P/locations/L/models/M, without version.
        version: version id of the model.
        created: seconds since the epoch; 0.0 where not reported.
        available: replicas that answer, or None where the API does not say.
    """

    id: str
    model: str
    version: str
    created: float = 0.0
    available: int | None = None

    @property
    def reference(self) -> str:
        """``projects/.../models/M@V``."""
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """An endpoint as read back from the API.

    Args:
        endpoint: full resource name.
        etag: for a write that must not overwrite somebody else's.
        deployed: every deployed model, ours or not.
        split: deployed model id -> percent; ids without traffic are absent. Empty, or sums to 100.
    """

    endpoint: str
    etag: str
    deployed: tuple[Deployed, ...] = ()
    split: Mapping[str, int] = field(default_factory=dict)

    @property
    def replicas(self) -> dict[str, int]:
        """Deployed model id -> replicas that answer; without those that the API says nothing of."""
        return {d.id: d.available for d in self.deployed if d.available is not None}

    def find(self, deployed_id: str) -> Deployed | None:
        """The deployed model with this id."""
        return next((d for d in self.deployed if d.id == deployed_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A long-running operation, as read back.

    Args:
        done: it has ended, well or not.
        error: what it ended with, or None. Done is not success.
        stage: where it is (DeployModelOperationMetadata.deploymentStage), or "".
        lost: the API knows no such operation (any more): only the resources can tell what became of it.
        result: for an upload that ended well, projects/.../models/M@V; else "".
    """

    done: bool
    error: str | None = None
    stage: str = ""
    lost: bool = False
    result: str = ""


class Target(Protocol):
    """Where a model is served and traffic is split. Implementations: ``vertex``, and ``memory`` for tests.

    All methods raise ``CloudError`` where the API refuses or does not answer.
    """

    def find_endpoint(self) -> str | None:
        """The endpoint's resource name, or None if there is none yet.

        Raises:
            RolloutError: several match, or one with this name is not marked as ours.
        """
        ...

    def check(self) -> None:
        """Whether what a rollout needs and does not make itself is there; reads only.

        Raises:
            RolloutError: it is not, or it does not take this release.
        """
        ...

    def check_artifact(self) -> None:
        """Whether the files that an upload would take are there; reads only.

        Raises:
            RolloutError: they are known not to be.
            CloudError: it cannot be told: the caller may not look, or storage does not answer.
        """
        ...

    def create_endpoint(self) -> str:
        """Start creating the endpoint; the operation's name, or "" if it exists already."""
        ...

    def observe(self, endpoint: str) -> Observation | None:
        """Read the endpoint; None if it is gone."""
        ...

    def find_model(self) -> str | None:
        """The uploaded model version of this release, projects/.../models/M@V, or None."""
        ...

    def start_upload(self) -> str:
        """Start uploading the release as a model version; the operation's name, or "" if it exists already."""
        ...

    def start_deploy(self, endpoint: str, *, model: str, deployed_id: str, first: bool) -> str:
        """Start deploying a model version under an id of our choice, without traffic.

        Args:
            endpoint: full resource name.
            model: projects/.../models/M@V.
            deployed_id: 1 to 10 digits.
            first: the endpoint has no deployed model; the API then demands that this one gets all traffic.

        Returns:
            The operation's name, or "" if that id is deployed or being deployed already.
        """
        ...

    def start_undeploy(self, endpoint: str, deployed_id: str) -> str:
        """Start undeploying a model that has no traffic; the operation's name, or "" if it is not there."""
        ...

    def set_split(self, endpoint: str, split: Mapping[str, int], *, etag: str) -> None:
        """Replace the traffic split in one update.

        Raises:
            SplitConflict: the endpoint changed since ``etag`` was read; nothing was written.
        """
        ...

    def poll(self, operation: str) -> Progress:
        """Read a long-running operation."""
        ...
