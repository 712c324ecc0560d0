from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth

from vertex_deploy import gcp
from vertex_deploy.errors import CloudError, UsageError


@pytest.mark.parametrize(
    "value", ["http://127.0.0.1:80", "http://localhost:80", "http://[::1]:80", "http://127.9.9.9:1"]
)
def test_plaintext_is_for_loopback(value: str) -> None:
    assert gcp.parse_address(value, "V").plaintext


@pytest.mark.parametrize(
    "value",
    [
        "http://10.0.0.1:80",
        "http://example.com",
        "http://127.0.0.1.evil.com:80",
        "http://",
        "http://127.0.0.1:80@evil.com",
        "http://127.0.0.1:80/p",
    ],
)
def test_plaintext_to_anywhere_else_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="plaintext is allowed to this machine only"):
        gcp.parse_address(value, "V")


@pytest.mark.parametrize("value", ["host:443", "https://host:443", " host:443/ "])
def test_everything_else_is_tls(value: str) -> None:
    assert gcp.parse_address(value, "V") == gcp.Address("host:443", plaintext=False)


def test_google_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gcp.AIPLATFORM_VARIABLE, raising=False)
    assert gcp.aiplatform_address("europe-west4").target == "europe-west4-aiplatform.googleapis.com"


def caller(waits: list[float]) -> gcp.Caller:
    return gcp.Caller(sleep=waits.append, draw=lambda: 1.0)


def test_transient_errors_are_retried_with_growing_delays() -> None:
    waits: list[float] = []
    answers: list[Any] = [exceptions.ServiceUnavailable("a"), exceptions.TooManyRequests("b"), "done"]

    def method(**_: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    # TooManyRequests carries HTTP 429 and the gRPC code RESOURCE_EXHAUSTED only over gRPC.
    answers[1] = exceptions.ResourceExhausted("b")
    assert caller(waits)(method, {}, what="Get x") == "done"
    assert waits == [0.5, 1.0]


def test_a_call_that_must_not_be_repeated_is_tried_once() -> None:
    calls = []

    def method(**_: Any) -> Any:
        calls.append(1)
        raise exceptions.ServiceUnavailable("a")

    with pytest.raises(CloudError) as caught:
        caller([])(method, {}, what="UploadModel m", repeatable=False)
    assert (len(calls), caught.value.transient, caught.value.code) == (1, True, "UNAVAILABLE")


def test_other_errors_are_not_retried_and_name_the_fix() -> None:
    waits: list[float] = []

    def method(**_: Any) -> Any:
        raise exceptions.PermissionDenied("no\nreally")

    with pytest.raises(CloudError, match=r"^Get x: PERMISSION_DENIED: no really; grant") as caught:
        caller(waits)(method, {}, what="Get x")
    assert not caught.value.transient
    assert waits == []


def test_the_policy_gives_up_after_its_attempts() -> None:
    policy = gcp.RetryPolicy(attempts=3)
    assert [policy.delay(n, "UNAVAILABLE", 1.0) for n in (1, 2, 3)] == [0.5, 1.0, None]
    assert policy.delay(1, "NOT_FOUND", 1.0) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (auth.RefreshError("invalid_grant: Token has been expired or revoked."), "UNAUTHENTICATED"),
        (auth.RefreshError("internal_failure", retryable=True), "UNAVAILABLE"),
        (auth.TransportError("Max retries exceeded"), "UNAVAILABLE"),
        (auth.DefaultCredentialsError("none"), "UNAUTHENTICATED"),
        (
            exceptions.ServiceUnavailable("Getting metadata from plugin failed with error: ('invalid_grant: Token has"),
            "UNAUTHENTICATED",
        ),
        (
            exceptions.ServiceUnavailable("Getting metadata from plugin failed with error: Max retries exceeded"),
            "UNAVAILABLE",
        ),
        (exceptions.ServiceUnavailable("invalid_grant is said of something else"), "UNAVAILABLE"),
    ],
)
def test_credentials_that_are_over_are_told_from_a_token_server_that_is_down(error: Exception, code: str) -> None:
    if isinstance(error, exceptions.ServiceUnavailable):
        # Over gRPC the exception carries its code.
        error.grpc_status_code = grpc.StatusCode.UNAVAILABLE
    assert gcp.code_of(error) == code


def test_credentials_that_are_over_are_not_asked_for_again() -> None:
    waits: list[float] = []

    def method(**_: Any) -> Any:
        raise auth.RefreshError("invalid_grant")

    with pytest.raises(CloudError, match="application-default login") as found:
        caller(waits)(method, {}, what="Get x")
    assert (found.value.code, found.value.transient, waits) == ("UNAUTHENTICATED", False, [])
