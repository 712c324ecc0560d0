"""From a reference to a secret: ``env:NAME``, or a version in Secret Manager. Left out: keeping or printing any.

Source: projects.secrets.versions.access in Secret Manager's REST reference (v1). Read when a rollout starts, so that a
rotated secret is taken by the next controller.
"""

from __future__ import annotations

import base64
import os
from typing import Any

from vertex_deploy import rest
from vertex_deploy.errors import RolloutError
from vertex_deploy.gcp import Address

HOST = Address("secretmanager.googleapis.com", plaintext=False)
_ENV = "env:"


def resolve(reference: str, *, where: str = "rollout.notify", session: Any = None) -> str:
    """The secret's text.

    Args:
        reference: of the spec.
        where: field of the spec that refers to it, for messages.
        session: authorized; made where absent.

    Raises:
        RolloutError: the variable is not set, or the secret is empty or no text.
        CloudError: Secret Manager refused.
    """
    if reference.startswith(_ENV):
        name = reference.removeprefix(_ENV)
        value = os.environ.get(name, "")
        if not value:
            raise RolloutError(f"{where}: the environment variable {name} is not set; set it, or remove the entry")
        return value
    found = rest.call(session or rest.session(HOST), "GET", f"https://{HOST.target}/v1/{reference}:access")
    try:
        text = base64.b64decode(found["payload"]["data"]).decode().strip()
    except (KeyError, TypeError, ValueError):
        text = ""
    if not text:
        # An empty key would sign, and an empty token ask, as anybody could.
        raise RolloutError(f"{where}: {reference} is empty or no text; add a version that holds the secret")
    return text
