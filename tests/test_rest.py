"""Google's REST APIs: what is tried again, what an answer that is none becomes, and where nothing is sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.auth import exceptions as auth

from vertex_deploy import rest
from vertex_deploy.errors import CloudError
from vertex_deploy.gcp import Address

HERE = Address("127.0.0.1:1", plaintext=True)


class Session:
    """Answers in turn: an exception is raised, a number is a status, anything else the JSON of a 200."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []

    def request(self, method: str, url: str, **options: Any) -> Any:
        self.asked.append((method, url, options))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, int):
            return SimpleNamespace(status_code=200, json=lambda: answer)

        def no_json() -> Any:
            raise ValueError("no JSON")

        return SimpleNamespace(status_code=answer, json=no_json, text="<html>\x1b[31m\nsorry")


def get(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> tuple[Any, Session, list[float]]:
    """GETs below a root that answers so, the session, and what was slept."""
    session, slept = Session(*answers), list[float]()
    monkeypatch.setattr(rest, "session", lambda _address: session)
    return rest.getter(HERE, sleep=slept.append), session, slept


@pytest.mark.parametrize("passing", [502, 503, 504, 429, requests.ConnectionError("reset"), requests.Timeout("late")])
def test_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch, passing: Any) -> None:
    ask, session, slept = get(monkeypatch, passing, passing, {"a": 1})
    assert ask("v3/x", {"b": "c"}) == {"a": 1}
    assert len(slept) == 2
    for method, url, options in session.asked:
        assert (method, url, options["params"]) == ("GET", "http://127.0.0.1:1/v3/x", {"b": "c"})
        assert options["allow_redirects"] is False
        assert options["timeout"] > 0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (302, "UNKNOWN"),
        (500, "INTERNAL"),
        (auth.RefreshError("expired"), "UNAUTHENTICATED"),
    ],
)
def test_what_does_not_pass_is_told_at_once_in_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: Any, code: str
) -> None:
    ask, session, slept = get(monkeypatch, answer, {"never": "asked"})
    with pytest.raises(CloudError, match=r"^GET http://127\.0\.0\.1:1/v3/x: ") as raised:
        ask("v3/x", {})
    assert (raised.value.code, len(session.asked), slept) == (code, 1, [])
    assert str(raised.value).isprintable()


def test_an_answer_that_is_no_json_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ask, *_ = get(monkeypatch, 200)
    with pytest.raises(CloudError, match="the answer is not JSON"):
        ask("v3/x", {})
