"""Names of Vertex AI's resources: read, built and compared. Pure.

The API writes a project's number where a person writes its id, so a number and an id are taken for one project when
names are compared; two ids are two projects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from vertex_deploy.errors import UsageError

_ID = r"[a-zA-Z0-9_-]+"
PROJECT = r"[a-z0-9.:-]+"
REGION = r"[a-z0-9-]+"
_PARENT = rf"projects/{PROJECT}/locations/{REGION}"
ENDPOINT = rf"{_PARENT}/endpoints/{_ID}"
MODEL = rf"{_PARENT}/models/{_ID}"
MODEL_VERSION = rf"{MODEL}@[0-9]+"
POOL = rf"{_PARENT}/deploymentResourcePools/{_ID}"
KEY = r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+"
DEPLOYED = rf"({ENDPOINT})/deployedModels/([0-9]+)"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployed model.

    Args:
        endpoint: projects/P/locations/L/endpoints/E.
        id: its id on the endpoint.
    """

    endpoint: str
    id: str

    @classmethod
    def parse(cls, name: str) -> Deployed:
        """Read projects/P/locations/L/endpoints/E/deployedModels/D, which is the resource's id for Pulumi.

        Raises:
            UsageError: it is something else.
        """
        found = re.fullmatch(DEPLOYED, name)
        if found is None:
            raise UsageError(f"{name!r} is not projects/P/locations/L/endpoints/E/deployedModels/D")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{self.endpoint}/deployedModels/{self.id}"


def split_model(name: str) -> tuple[str, str]:
    """Model and version of projects/P/locations/L/models/M@V, which may lack the version.

    Raises:
        UsageError: it is something else.
    """
    found = re.fullmatch(rf"({MODEL})(?:@([A-Za-z0-9-]+))?", name)
    if found is None:
        raise UsageError(f"{name!r} is not projects/P/locations/L/models/M or .../models/M@V")
    return found[1], found[2] or ""


def check_endpoint(name: str) -> str:
    """The name of an endpoint, as it was given.

    Raises:
        UsageError: it is not projects/P/locations/L/endpoints/E.
    """
    if not re.fullmatch(ENDPOINT, name):
        raise UsageError(f"{name!r} is not projects/P/locations/L/endpoints/E")
    return name


def region(name: str) -> str:
    """The location in a resource's full name."""
    return name.split("/")[3]


def same_name(old: Any, new: Any) -> bool:
    """Whether two full names are one resource; one project may be written as its number and as its id."""
    if not isinstance(old, str) or not isinstance(new, str) or old == new:
        return bool(old == new)
    before, after = old.split("/"), new.split("/")
    by_number = [parts[0] == "projects" and parts[1:2] != [] and parts[1].isdigit() for parts in (before, after)]
    return before[2:] == after[2:] and len(before) > len(("projects", "p")) and sum(by_number) == 1
