from __future__ import annotations

import pytest

from vertex_deploy.contract import Reply, Routes
from vertex_deploy.contract.healthy import PERIOD, wait_healthy
from vertex_deploy.errors import ContractError


class Starting:
    """Answers what it is told, then 200."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Reply:
        assert (method, path) == ("GET", "/health")
        return self.replies.pop(0) if self.replies else Reply(200)


ROUTES = Routes("/health", "/predict")


def test_a_container_that_starts_is_waited_for():
    slept: list[float] = []
    server = Starting(Reply(None, problem="refused"), Reply(503))
    assert wait_healthy(server, ROUTES, seconds=60, sleep=slept.append) == 2 * PERIOD
    assert slept == [PERIOD, PERIOD]


@pytest.mark.parametrize(("reply", "word"), [(Reply(None), "did not answer"), (Reply(204), "answered 204")])
def test_one_that_never_is_healthy_is_an_error(reply, word):
    with pytest.raises(ContractError, match=word):
        wait_healthy(Starting(*[reply] * 9), ROUTES, seconds=2 * PERIOD, sleep=lambda _: None)
