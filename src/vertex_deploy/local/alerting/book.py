"""What alerting keeps: policies, channels, snoozes and incidents, on disk before a change is answered.

How far each series has come in its duration is not kept: after a restart durations begin anew and open incidents stay
open.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting.incidents import Incident
from vertex_deploy.local.monitoring import errors
from vertex_deploy.local.state import Collection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.local.seams import ApiError, Clock
    from vertex_deploy.local.state import Store

MAX_CLOSED = 1000
"""Closed incidents that are kept of a project."""
_INCIDENTS = "incidents"
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MAX_LABELS = 64
_PROJECT_PARTS, _RESOURCE_PARTS = 2, 4


def new_id() -> str:
    """An id as Cloud Monitoring generates for policies and channels: 19 digits."""
    return str(secrets.randbelow(8 * 10**18) + 10**18)


def incident_id() -> str:
    """An id as incidents have: ``0.`` and twelve letters and digits."""
    return "0." + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12))


class Book:
    """The resources of alerting.

    Args:
        store: keeps them.
        clock: their times.
        project_id: gives the project id for what a request names, which may be a number.
        project_number: gives the number of a project.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        project_id: Callable[[str], str] = str,
        project_number: Callable[[str], str] = str,
    ) -> None:
        self.store = store
        self.clock = clock
        self.project_id = project_id
        self.project_number = project_number
        self.policies: Collection[m.AlertPolicy] = Collection(store, "alertPolicies", m.AlertPolicy)
        self.channels: Collection[m.NotificationChannel] = Collection(
            store, "notificationChannels", m.NotificationChannel
        )
        self.snoozes: Collection[m.Snooze] = Collection(store, "snoozes", m.Snooze)
        self._incidents = {name: Incident.load(data) for name, data, _ in store.scan(_INCIDENTS)}

    def now(self) -> datetime:
        """The time, as messages take it."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def parent(self, name: str, path: str = "name") -> str:
        """``projects/ID`` for ``projects/ID`` or ``projects/NUMBER``.

        Raises:
            ApiError: INVALID_ARGUMENT, it is not a project's name.
        """
        parts = name.split("/")
        if len(parts) != _PROJECT_PARTS or parts[0] != "projects" or not parts[1]:
            raise errors.field(path, name, "The name must be of the form projects/[PROJECT_ID_OR_NUMBER].")
        return f"projects/{self.project_id(parts[1])}"

    def resource(self, name: str, collection: str, path: str = "name") -> str:
        """The name of a resource as it is kept, with the project's id.

        Raises:
            ApiError: INVALID_ARGUMENT, it is not such a name.
        """
        parts = name.split("/")
        if len(parts) != _RESOURCE_PARTS or parts[0] != "projects" or parts[2] != collection or not all(parts):
            wanted = f"projects/[PROJECT_ID_OR_NUMBER]/{collection}/[ID]"
            raise errors.field(path, name, f"The name must be of the form {wanted}.")
        return f"projects/{self.project_id(parts[1])}/{collection}/{parts[3]}"

    def sibling(self, name: str, collection: str, path: str, of: str) -> str:
        """The name of a resource of the same project, as it is kept.

        Args:
            name: as it was sent.
            collection: such as ``alertPolicies``.
            path: where it was sent, for messages.
            of: full name of what refers to it, or ``projects/ID``.

        Raises:
            ApiError: INVALID_ARGUMENT, it is not such a name, or of another project.
        """
        full = self.resource(name, collection, path)
        project = of.split("/")[1]
        if full.split("/")[1] != project:
            raise errors.field(path, name, f"The resource must be of the project {project}.")
        return full

    # --- incidents ------------------------------------------------------------------------------------------------

    def incident(self, name: str) -> Incident | None:
        """One incident by its full name."""
        return self._incidents.get(name)

    def incidents(self, project: str) -> list[Incident]:
        """All incidents of a project, the newest first."""
        found = [incident for incident in self._incidents.values() if incident.project == project]
        return sorted(found, key=lambda incident: incident.opened, reverse=True)

    def open_incidents(self, policy: str) -> list[Incident]:
        """The open incidents of a policy."""
        return [i for i in self._incidents.values() if i.policy == policy and i.open]

    def save(self, *incidents: Incident) -> None:
        """Write incidents, all or none; the oldest closed ones of their projects go.

        Raises:
            sqlite3.Error: nothing was written, and nothing is remembered.
        """
        after = {**self._incidents, **{incident.name: incident for incident in incidents}}
        gone: list[str] = []
        for project in {incident.project for incident in incidents}:
            closed = [i for i in after.values() if i.project == project and not i.open]
            closed.sort(key=lambda incident: incident.closed, reverse=True)
            gone += [incident.name for incident in closed[MAX_CLOSED:]]
        with self.store.begin():
            for incident in incidents:
                self.store.put(_INCIDENTS, incident.name, incident.dump())
            for name in gone:
                self.store.delete(_INCIDENTS, name)
        for name in gone:
            del after[name]
        self._incidents = after


def check_labels(labels: Mapping[str, str], path: str) -> None:
    """User labels: at most 64, keys and values of lower-case letters, digits, underscores and dashes.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if len(labels) > _MAX_LABELS:
        raise errors.field(path, len(labels), f"At most {_MAX_LABELS} labels are allowed.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            why = (
                "Labels and values can contain only lowercase letters, numerals, underscores, and dashes, at most 63; "
                "keys must begin with a letter."
            )
            raise errors.field(path, f"{key}={value}"[:200], why)


def check_text(text: str, most: int, path: str) -> None:
    """A text of limited length.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if len(text) > most:
        raise errors.field(path, text[:50], f"The text must not be longer than {most} characters.")


def missing(kind: str, name: str) -> ApiError:
    """NOT_FOUND."""
    return errors.not_found(f"The {kind} {name} could not be found.")
