"""The provider's own configuration: which project, which region, and where Vertex AI is. Pure, but for the environment.

A resource takes project and region when it is checked and keeps them among its inputs, so changing them here replaces
the resources that relied on them, one by one, and never the provider as such.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.properties import Failure, Prop, check
from vertex_deploy import gcp
from vertex_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG: dict[str, Prop] = {
    "project": Prop(
        type="string",
        pattern=names.PROJECT,
        says="a project's id",
        doc="Project of resources that name none; GOOGLE_CLOUD_PROJECT where absent.",
    ),
    "region": Prop(
        type="string",
        pattern=names.REGION,
        says="a region, such as us-central1",
        doc="Region of resources that name none; GOOGLE_CLOUD_REGION where absent.",
    ),
    "endpoint": Prop(
        type="string",
        doc="Where Vertex AI is: host[:port], or http://127.0.0.1:PORT of a Local Vertex; "
        f"{gcp.AIPLATFORM_VARIABLE} where absent, the region's own host without either.",
    ),
}
_VARIABLES = {
    "project": ("GOOGLE_CLOUD_PROJECT", "GOOGLE_PROJECT"),
    "region": ("GOOGLE_CLOUD_REGION", "GOOGLE_REGION"),
}
_ENGINES_OWN = frozenset({"version", "pluginDownloadURL", "pluginChecksums"})


def check_config(
    given: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> tuple[dict[str, Any], list[Failure]]:
    """The configuration with what the environment says, and what is wrong with it.

    Args:
        given: as the program or the stack's configuration wrote it; the engine's own keys pass.
        environment: variables.
    """
    inputs = {key: value for key, value in given.items() if value not in (None, "")}
    ours = {key: value for key, value in inputs.items() if key not in _ENGINES_OWN}
    failures = check(CONFIG, ours)
    for key, variables in _VARIABLES.items():
        value = next((environment[name] for name in variables if environment.get(name)), None)
        if key not in inputs and value:
            inputs[key] = value
    if isinstance(inputs.get("endpoint"), str):
        try:
            gcp.parse_address(inputs["endpoint"], "endpoint")
        except UsageError as error:
            failures.append(Failure("endpoint", str(error)))
    return inputs, failures


def address(config: Mapping[str, Any]) -> gcp.Address | None:
    """Where Vertex AI is, or None for the variable's or the region's own host.

    Raises:
        UsageError: it is no address.
    """
    value = config.get("endpoint")
    return gcp.parse_address(value, "endpoint") if isinstance(value, str) and value else None
