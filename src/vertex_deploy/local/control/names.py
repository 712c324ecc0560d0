"""Resource names, ids and project numbers. No I/O besides the store that keeps which number is whose.

Answers carry the project's number, as Vertex AI's do; requests may carry id or number.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from vertex_deploy.local.control.refusals import invalid

if TYPE_CHECKING:
    from vertex_deploy.local.state import Store

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]|[a-z0-9.-]+\.[a-z]+:[a-z][a-z0-9-]+|[1-9][0-9]{3,18}")
_LOCATION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)(?:/(?P<rest>.+))?")
MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}|[0-9]{1,19}")
# CreateEndpointRequest.endpoint_id: 1-10 digits, or a letter first and then up to 63 characters.
ENDPOINT_ID = re.compile(r"[0-9]{1,10}|[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
DEPLOYED_ID = re.compile(r"[0-9]{1,10}")


def new_id() -> str:
    """An id like those that Vertex AI generates: 19 digits."""
    return str(secrets.randbelow(8 * 10**18) + 10**18)


class Name(NamedTuple):
    """A resource's name, in parts; ``version`` is what follows a model's @."""

    project: str
    location: str
    collection: str = ""
    id: str = ""
    version: str = ""

    @property
    def parent(self) -> str:
        """projects/P/locations/L."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def full(self) -> str:
        """The name without version."""
        return f"{self.parent}/{self.collection}/{self.id}" if self.collection else self.parent


class Projects:
    """Which number belongs to which project id; numbers are derived from ids and so the same on every machine.

    Args:
        store: remembers ids, so that a number leads back to its id after a restart.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[str, str] = {name: data.decode() for name, data, _ in store.scan("projects")}
        self._numbers: dict[str, str] = {ident: number for number, ident in self._ids.items()}

    def number(self, project: str) -> str:
        """The number of a project given by id or number."""
        if project.isdigit():
            return project
        known = self._numbers.get(project)
        if known is not None:
            return known
        number = str(10**11 + int.from_bytes(hashlib.sha256(project.encode()).digest()[:8]) % (9 * 10**11))
        if _PROJECT.fullmatch(project):
            self._numbers[project] = number
            self._ids[number] = project
            self._store.put("projects", number, project.encode())
        return number

    def id_of(self, project: str) -> str:
        """The id of a project given by id or number; a number never seen as an id stands for itself."""
        return self._ids.get(project, project)

    def parse(self, name: str, collection: str) -> Name:
        """Take a name apart; the project becomes its number.

        Args:
            name: as a client wrote it.
            collection: what it must name (``models``, ``endpoints``), or "" for a location.

        Raises:
            ApiError: INVALID_ARGUMENT if it is not such a name.
        """
        found = _NAME.fullmatch(name)
        wanted = f"projects/*/locations/*{f'/{collection}/*' if collection else ''}"
        if found is None or bool(found["rest"]) != bool(collection):
            raise invalid(f"Invalid resource name '{name}'; it must look like {wanted}.")
        if not _PROJECT.fullmatch(found["project"]):
            what = "a project's id (6 to 30 lower case letters, digits and -) or its number"
            raise invalid(f"Invalid resource name '{name}': '{found['project']}' is not {what}.")
        if not _LOCATION.fullmatch(found["location"]):
            raise invalid(
                f"Invalid resource name '{name}': '{found['location']}' is not a region, such as us-central1."
            )
        number = self.number(found["project"])
        if not collection:
            return Name(number, found["location"])
        held, _, rest = found["rest"].partition("/")
        ident, _, version = rest.partition("@")
        if held != collection or not ident or "/" in rest:
            raise invalid(f"Invalid resource name '{name}'; it must look like {wanted}.")
        return Name(number, found["location"], collection, ident, version)
