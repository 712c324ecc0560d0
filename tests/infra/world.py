"""A stand-in for Pulumi's engine under a whole program: up, preview, refresh and destroy, against a Local Vertex.

The program runs as it is. What it registers goes, in the order in which Pulumi's own runtime lets it go, to our plugin
over gRPC (``provider.engine``), to Google's APIs as pulumi-gcp would write to them (``google``), or, where Local
Vertex has no such API, nowhere: such a resource is what was asked for. What the real engine does beside that (parallel
steps, pending operations, protection, secrets in files) is its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime import mocks, settings

from infra.provider.values import decode, encode
from tests.infra.google import KINDS, differing
from tests.infra.recorder import SEEN_BY_PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.infra.google import Google
    from tests.infra.provider.engine import Engine

OURS = "vertexdeploy:index:"


@dataclass
class Kept:
    """A resource of Google's in the state.

    Args:
        path: of it in the API; empty where there is none.
        inputs: as the program wrote them.
        live: what the API had when it was last read.
        ignored: properties that the program ignores changes of.
    """

    path: str
    inputs: dict[str, Any]
    live: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


class World:
    """One stack.

    Args:
        engine: the stand-in of the engine with our plugin.
        google: the APIs.
    """

    def __init__(self, engine: Engine, google: Google) -> None:
        self.engine, self.google = engine, google
        self.kept: dict[tuple[str, str], Kept] = {}
        self.order: list[tuple[str, str]] = []
        """Every resource, in the order of creation."""

    def up(self, program: Callable[[], Any]) -> Counter[str]:
        """Run the program and do what it asks for; how often each step was taken."""
        steps = self._run(program, preview=False)
        return Counter(steps.values())

    def preview(self, program: Callable[[], Any]) -> dict[str, str]:
        """Run the program without changing anything; the step of every resource that is not as it should be."""
        steps = self._run(program, preview=True)
        gone = {f"{kind.rpartition(':')[2]} {name}": "delete" for kind, name in self.order if (kind, name) not in steps}
        changed = {f"{kind.rpartition(':')[2]} {name}": step for (kind, name), step in steps.items() if step != "same"}
        return changed | gone

    def refresh(self) -> None:
        """Read everything back; what is gone leaves the state."""
        for kind, name in list(self.order):
            if kind.startswith(OURS):
                there = self.engine.refresh(kind.removeprefix(OURS), self._key(kind, name))
            elif kept := self.kept[kind, name]:
                live = self.google.find(kept.path) if kept.path else kept.live
                there = live is not None
                kept.live = live or {}
            if not there:
                self.order.remove((kind, name))
                self.kept.pop((kind, name), None)

    def destroy(self) -> None:
        """Delete everything, the last first."""
        for kind, name in reversed(self.order):
            if kind.startswith(OURS):
                self.engine.delete(kind.removeprefix(OURS), self._key(kind, name))
            elif (path := self.kept[kind, name].path) and self.google.find(path) is not None:
                self.google.delete(path)
        self.order, self.kept = [], {}

    def real(self) -> Counter[str]:
        """How many resources of each kind something outside of this stand-in holds."""
        return Counter(
            kind.rpartition(":")[2] for kind, name in self.order if kind.startswith(OURS) or self.kept[kind, name].path
        )

    # --- steps ------------------------------------------------------------------------------------------------------

    def step(
        self, kind: str, name: str, inputs: dict[str, Any], ignored: list[str], *, preview: bool
    ) -> tuple[str, str, dict[str, Any]]:
        """What is done with one resource, its id, and its outputs."""
        if kind.startswith(OURS):
            return self._ours(kind, name, inputs, preview=preview)
        kept = self.kept.get((kind, name))
        computed = {"name": inputs.get("name") or name, **inputs, **SEEN_BY_PROVIDER.get(kind, lambda _: {})(inputs)}
        if kind not in KINDS:
            step = "create" if kept is None else "same" if kept.inputs == inputs else "update"
            if not preview:
                self._keep(kind, name, Kept("", inputs, {}, ignored))
            return step, f"{name}-id", computed
        if kept is None:
            if preview:
                return "create", "", {**inputs}
            path, live = self.google.create(KINDS[kind], inputs)
            self._keep(kind, name, Kept(path, inputs, live, ignored))
            return "create", path, {**computed, **({"name": live["name"]} if "name" not in inputs else {})}
        wrong = differing(KINDS[kind], inputs, kept.live, ignored)
        if wrong and not preview:
            kept.live = self.google.update(KINDS[kind], kept.path, inputs, wrong)
        kept.inputs = kept.inputs if preview else inputs
        name_ = {"name": kept.live["name"]} if "name" not in inputs else {}
        return ("update" if wrong else "same"), kept.path, {**computed, **name_}

    def _ours(self, kind: str, name: str, inputs: dict[str, Any], *, preview: bool) -> tuple[str, str, dict[str, Any]]:
        short, key = kind.removeprefix(OURS), self._key(kind, name)
        inputs = decode(encode(inputs))[0]  # as they travel: whole numbers are floats on the wire
        if preview:
            step, shown = self.engine.preview(short, key, inputs)
            state = self.engine.state.get(key)
            return step, state.ident if state else "", state.outputs if state and step == "same" else shown
        step = self.engine.up(short, key, inputs)
        if (kind, name) not in self.order:
            self.order.append((kind, name))
        state = self.engine.state[key]
        return step, state.ident, state.outputs

    def _keep(self, kind: str, name: str, kept: Kept) -> None:
        if (kind, name) not in self.order:
            self.order.append((kind, name))
        self.kept[kind, name] = kept

    @staticmethod
    def _key(kind: str, name: str) -> str:
        return f"{kind.removeprefix(OURS)}-{name}"

    def _run(self, program: Callable[[], Any], *, preview: bool) -> dict[tuple[str, str], str]:
        asyncio.set_event_loop(asyncio.new_event_loop())
        monitor = _Monitor(self, preview=preview)
        pulumi.runtime.set_mocks(monitor.mocks, project="shop", stack="dev", preview=preview, monitor=monitor)
        pulumi.runtime.test(program)()
        assert not settings.SETTINGS.rpc_manager.unhandled_exception
        return monitor.steps


class _Mocks(pulumi.runtime.Mocks):
    """Hands what the monitor was asked for over to the world."""

    def __init__(self) -> None:
        self.monitor: _Monitor | None = None

    def new_resource(self, args):
        return self.monitor.take(args)

    def call(self, args):
        raise AssertionError(f"a component must not look things up while it is made: {args.token}")


class _Monitor(mocks.MockMonitor):
    def __init__(self, world: World, *, preview: bool) -> None:
        handover = _Mocks()
        super().__init__(handover)
        handover.monitor = self
        self.world, self.preview = world, preview
        self.steps: dict[tuple[str, str], str] = {}
        self._ignored: dict[tuple[str, str], list[str]] = {}
        # Requests come from a pool of threads; steps are taken one at a time, in the order in which they come.
        self._lock = threading.Lock()

    def RegisterResource(self, request):  # noqa: N802 - gRPC's name
        self._ignored[request.type, request.name] = list(request.ignoreChanges)
        return super().RegisterResource(request)

    def take(self, args) -> tuple[str, dict[str, Any]]:
        if not args.custom or args.typ.startswith("pulumi:providers:"):
            return f"{args.name}-id", dict(args.inputs)
        with self._lock:
            key = (args.typ, args.name)
            step, ident, outputs = self.world.step(*key, args.inputs, self._ignored[key], preview=self.preview)
            self.steps[key] = step
        return ident, outputs
