from __future__ import annotations

import pytest

from tests.rollout.world import World
from vertex_deploy.errors import RolloutError
from vertex_deploy.rollout.blobs import MemoryBlobs
from vertex_deploy.rollout.engine import begin
from vertex_deploy.rollout.store import RolloutStore


def test_no_rollout_starts_where_pulumi_owns_the_traffic() -> None:
    world, store = World(), RolloutStore(MemoryBlobs(), "s")
    target = world.spec.target.model_copy(update={"traffic": "pulumi"})
    static = world.spec.model_copy(update={"target": target})
    with pytest.raises(RolloutError, match="write traffic: rollout"):
        begin(store, static, world.release, now=0.0, who="me@here")
    assert store.current() is None
