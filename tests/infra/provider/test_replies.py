"""Failed calls as statuses: the code says to the engine whether something may have been made."""

from __future__ import annotations

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

from google.rpc import code_pb2

from infra.provider import replies
from vertex_deploy.errors import CloudError, UsageError, VertexDeployError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such resource"), "INVALID_ARGUMENT"),
        (CloudError("refused", code="PERMISSION_DENIED"), "PERMISSION_DENIED"),
        (CloudError("no answer"), "UNKNOWN"),
        (CloudError("no such code", code="TEAPOT"), "UNKNOWN"),
        (CloudError("no error", code="OK"), "UNKNOWN"),
        (VertexDeployError("a bug"), "UNKNOWN"),
    ],
)
def test_only_what_may_have_made_something_is_unknown(error, code):
    status = replies.error_status(error, "why")
    assert (code_pb2.Code.Name(status.code), status.message) == (code, "why")
