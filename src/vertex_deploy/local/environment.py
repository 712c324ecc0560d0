"""The variables that point Google's clients at a running Local Vertex. No I/O.

gcloud: ``CLOUDSDK_API_ENDPOINT_OVERRIDES_*`` (property ``api_endpoint_overrides/*``). google-cloud-storage:
``STORAGE_EMULATOR_HOST``. gRPC: ``GRPC_DEFAULT_SSL_ROOTS_FILE_PATH``. requests: ``REQUESTS_CA_BUNDLE`` (dedicated
endpoints are called over https). The Vertex AI SDK has no variable: ``sdk_lines`` says what to call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertex_deploy.local.daemon import Running


def variables(running: Running) -> dict[str, str]:
    """Name -> value."""
    return {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{running.rest}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": f"{running.rest}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{running.rest}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": running.project,
        "CLOUDSDK_AI_REGION": running.region,
        "GOOGLE_CLOUD_PROJECT": running.project,
        "STORAGE_EMULATOR_HOST": running.rest,
        "VERTEX_DEPLOY_AIPLATFORM_ENDPOINT": running.grpc,
        "VERTEX_DEPLOY_MONITORING_ENDPOINT": running.grpc,
        "VERTEX_DEPLOY_MONITORING_REST_ENDPOINT": running.rest,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": running.roots,
        "REQUESTS_CA_BUNDLE": running.roots,
    }


def sdk_lines(running: Running) -> list[str]:
    """How to point the Vertex AI SDK at it, as shell comments."""
    start = f"aiplatform.init(project={running.project!r}, location={running.region!r}"
    anonymous = "credentials=google.auth.credentials.AnonymousCredentials())"
    return [
        "# Vertex AI SDK over REST:",
        f"#   {start}, api_endpoint={running.rest!r}, api_transport='rest', {anonymous}",
        "# Vertex AI SDK over gRPC (TLS; needs GRPC_DEFAULT_SSL_ROOTS_FILE_PATH from above):",
        f"#   {start}, api_endpoint='localhost:{running.ports.grpc_tls}', {anonymous}",
    ]
