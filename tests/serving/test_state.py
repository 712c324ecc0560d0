from __future__ import annotations

import pytest

from serving.errors import Unavailable
from serving.state import Life, State


def test_healthy_only_while_ready():
    life = Life()
    seen = {life.state: life.healthy}
    for state in (State.READY, State.GRACE, State.DRAINING, State.STOPPED):
        assert life.to(state)
        seen[state] = life.healthy
    assert [state for state, healthy in seen.items() if healthy] == [State.READY]


def test_requests_are_taken_while_ready_and_in_the_grace_only():
    for path, taken in (
        ([], False),
        ([State.READY], True),
        ([State.READY, State.GRACE], True),
        ([State.READY, State.DRAINING], False),
        ([State.FAILED], False),
    ):
        life = Life()
        for state in path:
            assert life.to(state)
        if taken:
            life.admit()
        else:
            with pytest.raises(Unavailable):
                life.admit()


def test_a_stopped_or_failed_server_never_gets_ready():
    for path in ([State.FAILED], [State.DRAINING], [State.STOPPED]):
        life = Life()
        for state in path:
            life.to(state)
        assert not life.to(State.READY)
        assert not life.healthy
