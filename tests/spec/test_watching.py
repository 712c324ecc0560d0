from __future__ import annotations

import pytest
from pydantic import ValidationError

from vertex_deploy.spec.watching import Notify


@pytest.mark.parametrize("secret", ["env:HOOK", "projects/p/secrets/hook/versions/latest"])
def test_a_secret_is_a_reference(secret):
    assert Notify(slack=secret).slack == secret


def test_a_secret_written_out_is_refused_and_not_repeated():
    with pytest.raises(ValidationError, match="never the secret itself") as caught:
        Notify(webhook="https://h.example/x", secret="hunter2")
    assert "hunter2" not in str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://hooks.example/x", "in clear"),
        ("https://user:word@hooks.example/x", "no credentials"),
        ("hooks.example", "not an address"),
        ("ftp://hooks.example/", "not an address"),
    ],
)
def test_an_address_is_https_or_this_machine(address, why):
    with pytest.raises(ValidationError, match=why):
        Notify(webhook=address)
    assert Notify(webhook="http://127.0.0.1:9090").webhook == "http://127.0.0.1:9090"


@pytest.mark.parametrize("fields", [{}, {"slack": "env:A", "pubsub": "projects/p/topics/rollouts"}])
def test_an_entry_tells_exactly_one(fields):
    with pytest.raises(ValidationError, match="write webhook, slack or pubsub"):
        Notify.model_validate(fields)


def test_only_webhooks_are_signed():
    with pytest.raises(ValidationError, match="signs the requests of a webhook"):
        Notify(slack="env:A", secret="env:B")
