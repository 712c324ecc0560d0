"""A bucket of Local Vertex's Cloud Storage for the tests of stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import storage

from tests.local.storage.conftest import url as storage_url  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of Google's whose bucket ``rollouts`` exists."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("storage_url"))
    client = storage.Client()
    client.create_bucket("rollouts")
    yield client
    client.close()
