from __future__ import annotations

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials

from vertex_deploy.errors import UsageError
from vertex_deploy.storage import EMULATOR, storage_client


def test_credentials_need_no_project_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EMULATOR, raising=False)
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (AnonymousCredentials(), None))  # type: ignore[no-untyped-call, unused-ignore]
    assert storage_client().project is None


def test_an_emulator_on_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR, "http://example.com:80")
    with pytest.raises(UsageError, match=r"STORAGE_EMULATOR_HOST=http://example.com:80: plaintext is allowed to this"):
        storage_client()
