"""A target in memory, with Vertex AI's rules about splits, ids and operations, and hooks that make calls fail.

A seam for tests: it calls nothing. What it refuses, it refuses as the API does (etag, taken ids, a model with traffic).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from vertex_deploy.errors import CloudError, RolloutError, SplitConflict
from vertex_deploy.targets.types import Deployed, Observation, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


def _free(_call: str, _moment: str) -> None:
    """The hook that does nothing."""


@dataclass(slots=True)
class MemoryTarget:
    """One endpoint and one model.

    Args:
        endpoint: resource name, or None for no endpoint yet.
        deployed: what is deployed.
        split: id -> percent.
        polls: how many calls an operation outlasts before it is done.
        errors: kind of operation -> the error it ends with.
        stuck: kinds of operation that never end.
        hook: called with (method, "before" or "after") around every call; raises to stand for a fault or a crash.
        versions: release -> version of the model.
        release: the release that this target uploads.
        lacks: what ``check`` finds missing, or "".
        lacks_files: likewise ``check_artifact``.
    """

    endpoint: str | None = "projects/p/locations/l/endpoints/1"
    deployed: tuple[Deployed, ...] = ()
    split: dict[str, int] = field(default_factory=dict)
    polls: int = 1
    errors: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    hook: Callable[[str, str], None] = _free
    versions: list[str] = field(default_factory=list)
    release: str = "r1"
    lacks: str = ""
    lacks_files: str = ""
    calls: list[str] = field(default_factory=list)
    deploys: int = 0
    splits: list[dict[str, int]] = field(default_factory=list)
    _etag: int = 1
    _operations: dict[str, tuple[str, int, str]] = field(default_factory=dict)

    MODEL = "projects/p/locations/l/models/m"
    ENDPOINT = "projects/p/locations/l/endpoints/1"

    def find_endpoint(self) -> str | None:
        """See ``Target``."""
        return self._call("find_endpoint", lambda: self.endpoint)

    def check(self) -> None:
        """See ``Target``."""
        self._call("check", lambda: self._miss(self.lacks))

    def check_artifact(self) -> None:
        """See ``Target``."""
        self._call("check_artifact", lambda: self._miss(self.lacks_files))

    def _miss(self, what: str) -> None:
        if what:
            raise RolloutError(what)

    def create_endpoint(self) -> str:
        """See ``Target``."""
        return self._call("create_endpoint", lambda: self._begin("endpoint", "", taken=self.endpoint is not None))

    def observe(self, endpoint: str) -> Observation | None:
        """See ``Target``."""

        def look() -> Observation | None:
            if self.endpoint != endpoint:
                return None
            return Observation(endpoint=endpoint, etag=str(self._etag), deployed=self.deployed, split=dict(self.split))

        return self._call("observe", look)

    def find_model(self) -> str | None:
        """See ``Target``."""

        def look() -> str | None:
            found = self.release in self.versions
            return f"{self.MODEL}@{self.versions.index(self.release) + 1}" if found else None

        return self._call("find_model", look)

    def start_upload(self) -> str:
        """See ``Target``."""
        return self._call("start_upload", lambda: self._begin("upload", self.release, taken=False))

    def start_deploy(self, endpoint: str, *, model: str, deployed_id: str, first: bool) -> str:
        """See ``Target``."""

        def begin() -> str:
            flying = any(kind == "deploy" and deployed_id in data for kind, _, data in self._operations.values())
            taken = flying or any(d.id == deployed_id for d in self.deployed)
            if not taken:
                self.deploys += 1
            return self._begin("deploy", f"{deployed_id} {model} {'first' if first else ''}", taken=taken)

        self._demand(endpoint)
        return self._call("start_deploy", begin)

    def start_undeploy(self, endpoint: str, deployed_id: str) -> str:
        """See ``Target``."""

        def begin() -> str:
            if self.split.get(deployed_id):
                raise CloudError(f"UndeployModel {deployed_id}: it has traffic", code="FAILED_PRECONDITION")
            return self._begin("undeploy", deployed_id, taken=all(d.id != deployed_id for d in self.deployed))

        self._demand(endpoint)
        return self._call("start_undeploy", begin)

    def set_split(self, endpoint: str, split: Mapping[str, int], *, etag: str) -> None:
        """See ``Target``."""

        def write() -> None:
            if etag != str(self._etag):
                raise SplitConflict(f"etag {etag} is not {self._etag}", code="ABORTED")
            unknown = set(split) - {d.id for d in self.deployed}
            if unknown or sum(split.values()) != 100:  # noqa: PLR2004 - percent
                raise CloudError(f"UpdateEndpoint: bad split {dict(split)}", code="INVALID_ARGUMENT")
            self.change_split(split)

        self._demand(endpoint)
        self._call("set_split", write)

    def change_split(self, split: Mapping[str, int]) -> None:
        """Change the split as anybody may."""
        self.split = {key: value for key, value in split.items() if value}
        self.splits.append(dict(self.split))
        self._etag += 1

    def poll(self, operation: str) -> Progress:
        """See ``Target``."""
        return self._call("poll", lambda: self._progress(operation))

    def forget_operations(self) -> None:
        """Lose every operation's name, as an API does after some days; those in flight end first."""
        for _ in range(self.polls + 1):
            self._pass_time()
        self._operations.clear()

    def _pass_time(self) -> None:
        """Operations go on whether or not anybody looks; every call is a moment."""
        for name, (kind, left, data) in list(self._operations.items()):
            if kind in self.stuck:
                continue
            if left > 0:
                self._operations[name] = (kind, left - 1, data)
            elif not kind.startswith("done ") and kind not in self.errors:
                self._operations[name] = (f"done {kind}", 0, self._finish(kind, data))

    def _progress(self, operation: str) -> Progress:
        if operation not in self._operations:
            return Progress(done=True, lost=True)
        kind, left, data = self._operations[operation]
        if kind.startswith("done "):
            return Progress(done=True, result=data if kind == "done upload" else "")
        if left == 0 and kind in self.errors:
            return Progress(done=True, error=self.errors[kind])
        return Progress(done=False, stage="STARTING_MODEL_SERVER" if kind == "deploy" else "")

    def _finish(self, kind: str, data: str) -> str:
        self._etag += 1
        if kind == "endpoint":
            self.endpoint = self.ENDPOINT
        elif kind == "upload":
            self.versions.append(data)
            return f"{self.MODEL}@{len(self.versions)}"
        elif kind == "deploy":
            deployed_id, model, *first = data.split()
            name, _, version = model.partition("@")
            self.deployed = (*self.deployed, Deployed(id=deployed_id, model=name, version=version))
            if first:
                self.change_split({deployed_id: 100})
        else:
            self.deployed = tuple(d for d in self.deployed if d.id != data)
        return ""

    def _begin(self, kind: str, data: str, *, taken: bool) -> str:
        if taken:
            return ""
        name = f"operations/{len(self._operations) + 1}"
        self._operations[name] = (kind, self.polls, data)
        return name

    def _demand(self, endpoint: str) -> None:
        if endpoint != self.endpoint:
            raise CloudError(f"{endpoint}: NOT_FOUND", code="NOT_FOUND")

    def _call(self, call: str, work: Callable[[], T]) -> T:
        self.hook(call, "before")
        self.calls.append(call)
        self._pass_time()
        result = work()
        self.hook(call, "after")
        return result


def with_version(target: MemoryTarget, deployed_id: str, version: str, *, weight: int) -> MemoryTarget:
    """The target with one more version deployed and the given share of the traffic."""
    target.deployed = (*target.deployed, Deployed(id=deployed_id, model=target.MODEL, version=version))
    if weight:
        target.split = {**target.split, deployed_id: weight}
    target.versions.append(f"old-{version}")
    return target
