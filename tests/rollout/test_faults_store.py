"""Faults of the store, at every kind of operation in every phase of whole rollouts: a folder's and a bucket's.

A folder fails as a disk does (no space, no permission, an I/O error before or after the bytes are there); a bucket as
Cloud Storage does (429, 503, no answer, 401, 403; refused, or done with the answer lost), below the code that retries.
The bucket is a stand-in for Google's client with generations and preconditions, for speed; ``test_gcs`` has the real
client and a bucket of Local Vertex over sockets.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from tests.rollout.faultable import PATHS, Fault, Faultable, Path, Site, ended_well, short_spec, sound
from vertex_deploy.gcp import RetryPolicy
from vertex_deploy.rollout import blobs as blobs_module
from vertex_deploy.rollout.blobs import DirectoryBlobs
from vertex_deploy.rollout.gcs import GcsBlobs
from vertex_deploy.rollout.machine import Ending
from vertex_deploy.rollout.store import RolloutStore

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from vertex_deploy.rollout.blobs import Blobs
    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.requests import Verb
    from vertex_deploy.spec.models import Spec

WAYS = tuple(path for path in PATHS if path.name in {"promoted", "rolled back"})


def kind_of(name: str) -> str:
    """What a blob holds: lease, current, record, log, requests."""
    parts = name.rpartition("team/")[2].split("/")
    return "log" if "log" in parts else "requests" if parts[0] == "requests" else parts[-1].removesuffix(".json")


# --- a bucket ---------------------------------------------------------------------------------------------------------


@dataclass
class Objects:
    """The content of a bucket: name -> data, generation, metadata."""

    kept: dict[str, tuple[bytes, int, dict[str, str]]] = field(default_factory=dict)
    last: int = 0


class Client:
    """What ``GcsBlobs`` uses of ``google.cloud.storage``: generations and preconditions, told to a hook.

    Args:
        objects: of the one bucket.
        point: told of every call, before and after.
    """

    def __init__(self, objects: Objects, point: Callable[[str, str], None]) -> None:
        self.objects, self.point = objects, point

    def bucket(self, _name: str) -> Client:
        return self

    def blob(self, name: str) -> Blob:
        return Blob(self, name)

    def get_blob(self, name: str, **_: Any) -> Blob | None:
        self.point(f"get {kind_of(name)}", "before")
        found = Blob(self, name)
        self.point(f"get {kind_of(name)}", "after")
        return found if found.generation else None

    def list_blobs(self, *, prefix: str, **_: Any) -> list[Blob]:
        self.point("list", "before")
        found = [Blob(self, name) for name in sorted(self.objects.kept) if name.startswith(prefix)]
        self.point("list", "after")
        return found


class Blob:
    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name = client, name
        _, self.generation, self.metadata = client.objects.kept.get(name, (b"", 0, {}))

    def _demand(self, match: int | None) -> None:
        there = self.client.objects.kept.get(self.name, (b"", 0, {}))[1]
        if match is not None and match != there:
            raise api.PreconditionFailed("conditionNotMet")

    def upload_from_string(self, data: bytes, *, if_generation_match: int | None, **_: Any) -> None:
        self.client.point(f"upload {kind_of(self.name)}", "before")
        self._demand(if_generation_match)
        objects = self.client.objects
        objects.last += 1
        objects.kept[self.name] = (data, objects.last, dict(self.metadata))
        self.generation = objects.last
        self.client.point(f"upload {kind_of(self.name)}", "after")

    def download_as_bytes(self, *, if_generation_match: int | None = None, **_: Any) -> bytes:
        self.client.point(f"download {kind_of(self.name)}", "before")
        self._demand(if_generation_match)
        return self.client.objects.kept[self.name][0]

    def delete(self, *, if_generation_match: int | None, **_: Any) -> None:
        self.client.point(f"delete {kind_of(self.name)}", "before")
        if self.name not in self.client.objects.kept:
            raise api.NotFound("no such object")
        self._demand(if_generation_match)
        del self.client.objects.kept[self.name]
        self.client.point(f"delete {kind_of(self.name)}", "after")


# --- a folder ---------------------------------------------------------------------------------------------------------


class Folder(DirectoryBlobs):
    """A folder whose reads, writes and deletions tell a hook; what it raises is the disk's."""

    def __init__(self, root: pathlib.Path, point: Callable[[str, str], None], patch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        self.point = point
        real = blobs_module._replace

        def replace(path: pathlib.Path, data: bytes) -> None:
            call = f"write {kind_of(path.relative_to(root).as_posix())}"
            point(call, "before")
            real(path, data)
            point(call, "after")

        patch.setattr(blobs_module, "_replace", replace)


# --- worlds -----------------------------------------------------------------------------------------------------------


@dataclass
class Stored(Faultable):
    """A world whose store is what is tested: only a controller meets its faults, not whoever looks at the result."""

    faulty: Callable[[Callable[[str, str], None]], Blobs] = None  # type: ignore[assignment] # always given
    whole: Blobs = None  # type: ignore[assignment] # always given

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blobs = self.whole  # type: ignore[assignment] # any Blobs

    def start(self, spec: Spec | None = None) -> Controller:
        self.blobs = self.faulty(self.point)  # type: ignore[assignment] # a new process, which remembers no write
        try:
            return super().start(spec)
        finally:
            self.blobs = self.whole  # type: ignore[assignment] # see above

    def ask(self, verb: Verb, approver: str = "") -> None:
        RolloutStore(self.whole, "whole").ask(verb, who="you@there", now=self.clock.now(), approver=approver)
        self.clock.time += 0.01

    def current(self) -> Record | None:
        return self.store().current()


@pytest.fixture(params=["bucket", "folder"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def hooked() -> Iterator[pytest.MonkeyPatch]:
    """What is patched for one process of a world, undone for the next."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def worlds(
    kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, hooked: pytest.MonkeyPatch
) -> Callable[[Path], Stored]:
    numbers = iter(range(10**6))
    policy = RetryPolicy(attempts=2, first=0.0)

    def bucket(path: Path) -> Stored:
        objects = Objects()

        def of(point: Callable[[str, str], None]) -> Blobs:
            return GcsBlobs("gs://b/team", client=Client(objects, point), sleep=lambda _: None, policy=policy)

        return Stored(spec=short_spec(), errors=path.errors, faulty=of, whole=of(lambda *_: None))

    def folder(path: Path) -> Stored:
        root = tmp_path / str(next(numbers))

        def of(point: Callable[[str, str], None]) -> Blobs:
            hooked.undo()  # of the process before
            return Folder(root, point, hooked)

        monkeypatch.setattr(blobs_module.os, "fsync", lambda _: None)  # a crash of the machine is not what is tried
        return Stored(spec=short_spec(), errors=path.errors, faulty=of, whole=DirectoryBlobs(root))

    return bucket if kind == "bucket" else folder


ERRORS: dict[str, Callable[[str], Exception]] = {
    "429": lambda _: api.TooManyRequests("slow down"),
    "503": lambda _: api.ServiceUnavailable("busy"),
    "no answer": lambda _: requests.ConnectionError("reset"),
    "401": lambda _: auth.RefreshError("expired"),
    "403": lambda _: api.Forbidden("no"),
    "no space": lambda _: OSError(errno.ENOSPC, "No space left on device"),
    "I/O error": lambda _: OSError(errno.EIO, "Input/output error"),
    "read-only": lambda _: OSError(errno.EROFS, "Read-only file system"),
}
PASSING = {
    "bucket": (
        ("429", "before", 1),
        ("429", "before", 2),
        ("503", "after", 1),
        ("503", "after", 2),
        ("no answer", "before", 2),
        ("no answer", "after", 1),
        ("no answer", "after", 2),
    ),
    "folder": (("no space", "before", 1), ("I/O error", "after", 1)),
}
"""What passes: error, moment, how often. A bucket's client tries twice, so that once is not noticed and twice is."""
LASTING = {"bucket": ("401", "403", "503"), "folder": ("read-only",)}


def sites(worlds: Callable[[Path], Stored], path: Path) -> list[Site]:
    """Where a controller reads or writes, in order."""
    world = worlds(path)
    assert not world.attempt()
    ended_well(world, path)
    words = ("get", "download", "upload", "write", "delete", "list")
    return [s for s in world.sites if s.call.split(" ")[0] in words and "alert" not in s.call]


def faults(kind: str, site: Site) -> Iterator[tuple[str, Fault, bool]]:
    """Name, fault, and whether the store itself gets over it without the controller's noticing."""
    for code, moment, times in PASSING[kind]:
        fault = Fault(site, ERRORS[code], moment=moment, times=times)
        yield f"{code}, {times} times {moment} {site}", fault, kind == "bucket" and times == 1
    for code in LASTING[kind]:
        yield f"{code} from {site} on", Fault(site, ERRORS[code], times=None), False


@pytest.mark.slow
@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.name)
def test_a_store_that_fails_anywhere_loses_nothing(
    kind: str, worlds: Callable[[Path], Stored], path: Path, tell: Callable[[str], None]
) -> None:
    tried = stopped = 0
    for site in sites(worlds, path):
        for name, fault, absorbed in faults(kind, site):
            world = worlds(path)
            world.fault = fault
            said = world.attempt()
            if not world.hits:
                continue  # this call has nothing to lose after it took effect: reads
            try:
                assert not (absorbed and said)
                stopped += bool(said)
                whole(world, path)
                world.over = True
                for _ in range(3):  # a lost answer to the very first writes may leave nothing to go on with
                    if (record := world.current()) is not None and record.over:
                        break
                    world.clock.sleep(1)  # a rollout is called after the second in which it starts
                    assert not world.attempt()
                whole(world, path)
                ended_well(world, path)
            except AssertionError as error:
                raise AssertionError(f"{kind}, {path.name}: {name}: {said}") from error
            tried += 1
    tell(f"{kind}, {path.name}: {tried} faults of the store tried, {stopped} stopped a controller")


def whole(world: Stored, path: Path) -> None:
    """Whatever the store did, the endpoint and the history are sound, and nothing is a success that is not."""
    record = world.current()
    if record is None:
        assert world.target.deploys == 0
        return
    sound(world)
    if record.over:
        assert record.ending is path.ending
    elif path.ending is not Ending.PROMOTED:
        assert world.canary_share() <= 10
