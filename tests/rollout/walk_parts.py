"""The seams of a random walk's world: a target, blobs and metrics whose every call can be met, and that remember."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.rollout.faultable import Source
from vertex_deploy.errors import SplitConflict
from vertex_deploy.rollout.blobs import MemoryBlobs
from vertex_deploy.targets.memory import MemoryTarget
from vertex_deploy.targets.types import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.metrics.types import Interval
    from vertex_deploy.rollout.record import Record


class Endpoint(MemoryTarget):
    """A target whose operations, once failed, stay failed, and that refuses traffic to a model on its way out."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.ended: Counter[tuple[str, str]] = Counter()
        self.ours: list[tuple[dict[str, int], dict[str, int], Record]] = []
        """Each split that a controller wrote: before, after, and its record at that moment."""
        self.writer: Callable[[], Record]
        self.writing: Record | None = None
        self.theirs = False
        """Somebody else writes at this moment."""

    def dying(self) -> set[str]:
        """Models whose undeployment is under way."""
        return {data for kind, _, data in self._operations.values() if kind == "undeploy"}

    def in_flight(self, kind: str, deployed_id: str) -> int:
        return sum(kind == found and data.startswith(deployed_id) for found, _, data in self._operations.values())

    def set_split(self, endpoint: str, split: Mapping[str, int], *, etag: str) -> None:
        before = dict(self.split)
        if self.dying() & {key for key, share in split.items() if share > before.get(key, 0)}:
            raise SplitConflict("UpdateEndpoint: a model that gets traffic is being undeployed", code="ABORTED")
        self.writing = self.writer()
        try:
            super().set_split(endpoint, split, etag=etag)
        finally:
            self.writing = None

    def change_split(self, split: Mapping[str, int]) -> None:
        before = dict(self.split)
        super().change_split(split)
        if self.writing is not None and not self.theirs:
            self.ours.append((before, dict(self.split), self.writing))

    def _pass_time(self) -> None:
        for name, (kind, left, data) in list(self._operations.items()):
            if kind in self.stuck or kind.startswith(("done ", "failed ")):
                continue
            if left > 0:
                self._operations[name] = (kind, left - 1, data)
            elif kind in self.errors:
                self._operations[name] = (f"failed {self.errors[kind]}", 0, data)
            else:
                self._operations[name] = (f"done {kind}", 0, self._finish(kind, data))

    def _progress(self, operation: str) -> Progress:
        kind = self._operations.get(operation, ("", 0, ""))[0]
        if kind.startswith("failed "):
            return Progress(done=True, error=kind.removeprefix("failed "))
        return super()._progress(operation)

    def _finish(self, kind: str, data: str) -> str:
        self.ended[kind, data.split(" ", maxsplit=1)[0]] += 1
        if kind == "undeploy":
            assert not self.split.get(data), f"{data} was undeployed with {self.split}"
        if self.endpoint is None and kind in {"deploy", "undeploy"}:
            return ""
        return super()._finish(kind, data)


@dataclass
class Trouble:
    """What strikes at a moment around a call.

    Args:
        after: moments until then.
        kind: kill, error, meddle (somebody writes a split at this very moment) or overtake (the controller sleeps, and
            another one works meanwhile).
        code: of the error.
        actions: of the other controller.
    """

    after: int
    kind: str
    code: str = "UNAVAILABLE"
    actions: int = 0


class Told(MemoryBlobs):
    """Blobs that tell of reads and writes."""

    point: Callable[[str, str], None] = staticmethod(lambda _call, _moment: None)  # type: ignore[assignment] # replaced

    def read(self, name: str) -> tuple[bytes, str]:
        self.point("read store", "before")
        return super().read(name)

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        self.point("write store", "before")
        written = super().write(name, data, generation=generation)
        self.point("write store", "after")
        return written

    def delete(self, name: str, *, generation: str | None = None) -> None:
        self.point("write store", "before")
        super().delete(name, generation=generation)


@dataclass
class Read(Source):
    """A metric source that remembers what it showed of a canary."""

    now: Callable[[], float] = lambda: 0.0
    shown: list[tuple[float, Interval]] = field(default_factory=list)

    def read(self, **asked: Any) -> Sequence[Interval]:
        found = super().read(**asked)
        if asked["canary"]:
            self.shown += [(self.now(), interval) for interval in found]
        return found
