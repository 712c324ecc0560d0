from __future__ import annotations

import google.auth
import pytest
import requests
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials

from vertex_deploy.errors import CloudError, UsageError
from vertex_deploy.storage import EMULATOR, StorageCaller, storage_client


def test_credentials_need_no_project_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EMULATOR, raising=False)
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (AnonymousCredentials(), None))  # type: ignore[no-untyped-call, unused-ignore]
    assert storage_client().project is None


class Answer:
    """What an API answers, as the transport has it."""

    def __init__(self, body: object) -> None:
        self.body = body

    def json(self) -> object:
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"code": 404, "message": "The specified bucket does not exist."}}, "The specified bucket does not"),
        ({"error": "oops"}, "POST http"),
        ([], "POST http"),
        (requests.ConnectionError("broken off"), "POST http"),
        (requests.exceptions.StreamConsumedError(), "POST http"),
        (RuntimeError("already consumed"), "POST http"),
    ],
)
def test_of_a_refused_call_the_apis_words_are_told_and_not_the_exchange(body: object, said: str) -> None:
    def refused() -> None:
        raise api.NotFound('POST http://h/upload: {"error": {"code": 404}}: (1, 2)', response=Answer(body))

    with pytest.raises(CloudError) as failed:
        StorageCaller({"NOT_FOUND": "make it"})(refused, where="gs://b", what="writing x")
    assert str(failed.value).startswith(f"gs://b: writing x: NOT_FOUND: {said}")
    assert str(failed.value).endswith("; make it")


def test_an_emulator_on_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR, "http://example.com:80")
    with pytest.raises(UsageError, match=r"STORAGE_EMULATOR_HOST=http://example.com:80: plaintext is allowed to this"):
        storage_client()
