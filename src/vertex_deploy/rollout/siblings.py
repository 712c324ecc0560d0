"""Reads the records of the other members of a lockstep group: the only thing that members know of each other.

A record that cannot be read is "not ready", never "ready" and never "fallen". Left out: what the records mean
(``group``); writing, which only each member's own controller does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.rollout.group import Others, others

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore


class Siblings:
    """The other members of one rollout's group.

    Args:
        stores: environment -> store, of every other member, in the group's order.
    """

    def __init__(self, stores: Mapping[str, RolloutStore]) -> None:
        self._stores = stores

    def look(self, record: Record) -> Others:
        """What the others' records say now.

        Args:
            record: of this member; the others have the same rollout id.
        """
        return others(record, {member: _read(store, record.id) for member, store in self._stores.items()})


def siblings_of(record: Record, store: RolloutStore) -> Siblings | None:
    """The other members of a rollout's group, beside its own store; None for a rollout without a group.

    Raises:
        UsageError: see ``engine.open_store``.
    """
    if record.group is None:
        return None
    mine = record.group.member
    return Siblings({member: store.beside(key) for member, key in record.group.stores.items() if member != mine})


def _read(store: RolloutStore, rollout_id: str) -> Record | str | None:
    try:
        return store.load(rollout_id) if store.has(rollout_id) else None
    except (CloudError, RolloutError) as error:
        return str(error)
