from __future__ import annotations

import pytest

from vertex_deploy.errors import OperationFailed, OperationTimeout
from vertex_deploy.targets.memory import MemoryTarget
from vertex_deploy.targets.upload import POLL, ensure_uploaded


def run(target: MemoryTarget, timeout: float = 60.0):
    slept: list[float] = []
    return ensure_uploaded(target, sleep=slept.append, timeout=timeout), slept


def test_a_release_is_uploaded_once():
    target = MemoryTarget(polls=3)
    (model, new), slept = run(target)
    assert new
    assert slept
    assert run(target) == ((model, False), [])


def test_an_operations_error_is_the_builds():
    with pytest.raises(OperationFailed, match="no such image"):
        run(MemoryTarget(errors={"upload": "no such image"}))


def test_an_upload_that_takes_too_long_ends_the_wait():
    with pytest.raises(OperationTimeout, match="run the build again"):
        run(MemoryTarget(polls=100), timeout=2 * POLL)
