"""A lockstep group as the commands show it: its members, one tree of all, their views, where they came to.

Left out: the commands (``lockstep``, ``steer``), and what a member alone shows (``shown``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from vertex_deploy.cli import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vertex_deploy.cli.output import OutputFormat
    from vertex_deploy.cli.screen import Screen
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore


@dataclass(frozen=True, slots=True)
class Members:
    """A group, and where its members' rollouts are.

    Args:
        name: of the group.
        specs: environment -> spec; empty if one of them has problems.
        keys: environment -> what its rollouts are stored under.
        stores: environment -> store.
    """

    name: str
    specs: Mapping[str, Any]
    keys: Mapping[str, str]
    stores: Mapping[str, RolloutStore]


def group_named(spec_file: Path, env: str | None, root: str, *, sound: bool = False) -> Members | None:
    """The group that ``--env`` names, or None.

    Args:
        spec_file: the file.
        env: as given.
        root: of the store.
        sound: its specs are needed; else problems of the file are warnings, see ``shown.store_of``.

    Raises:
        SpecError: the specs have problems, and are needed or there is no rollout.
        UsageError: the file cannot be read, or the store's place is none.
    """
    from vertex_deploy.errors import SpecError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.engine import key_named, open_store  # noqa: PLC0415 - see above
    from vertex_deploy.spec import examine  # noqa: PLC0415 - see above

    if env is None:
        return None
    whole = examine(spec_file, env) if sound else shown.examined_in(spec_file, env, root)
    if not (names := whole.groups.get(env, ())):
        return None
    found = {name: examine(spec_file, name) for name in names}
    problems = list(dict.fromkeys(str(problem) for each in found.values() for problem in each.problems))
    if problems and (sound or not all(each.name for each in found.values())):
        raise SpecError(problems)
    keys = {name: key_named(each.name, name) for name, each in found.items()}
    stores = {name: open_store(key, root) for name, key in keys.items()}
    shown.excuse(problems, stores.values())
    specs = {name: each.spec for name, each in found.items() if each.spec is not None}
    return Members(env, {} if problems else specs, keys, stores)


class Tree:
    """The trees of all members, each as it was last seen."""

    def __init__(self, group: Members, records: Mapping[str, Record]) -> None:
        self._group = group
        self._records = dict(records)
        self._drawn: list[str] = []

    def lines(self, record: Record) -> list[str]:
        """With a newer record of one member; as they were, while who drives them cannot be read."""
        from vertex_deploy.errors import VertexDeployError  # noqa: PLC0415 - --help must not wait for it

        if record.group is not None:
            self._records[record.group.member] = record
        with suppress(VertexDeployError):
            self._drawn = lines_of(self._group, views_of(self._group, self._records))
        return self._drawn


def views_of(group: Members, records: Mapping[str, Record]) -> dict[str, Any]:
    """The views of the members that have begun.

    Raises:
        CloudError, StateError: one cannot be read.
    """
    return {member: shown.view(group.stores[member], record) for member, record in records.items()}


def lines_of(group: Members, views: Mapping[str, Any]) -> list[str]:
    """One tree with a branch a member; one that has not begun says so."""
    from vertex_deploy.rollout.view import lines  # noqa: PLC0415 - --help must not wait for it

    found = [group.name]
    for number, member in enumerate(group.stores, 1):
        last = number == len(group.stores)
        below = lines(views[member]) if member in views else ["not begun"]
        found.append(f"{'└' if last else '├'}─ {member}: {below[0]}")
        found += [f"{' ' if last else '│'}  {line}" for line in below[1:]]
    return found


def as_json(group: Members, of: Mapping[str, Any]) -> dict[str, Any]:
    """What a command prints as JSON of all members."""
    return {"group": group.name, "members": dict(of)}


def finish(group: Members, records: Mapping[str, Record], output: OutputFormat, events: str | None) -> NoReturn:
    """Print where a group came to, and exit with its own code."""
    from vertex_deploy.rollout.lockstep import exit_code_of  # noqa: PLC0415 - --help must not wait for it

    views = {member: shown.final_view(group.stores[member], record) for member, record in records.items()}
    reports = {member: f"{group.stores[member].where}/{record.id}/report.html" for member, record in records.items()}
    data = {member: view.to_json() | {"report": reports[member]} for member, view in views.items()}
    text = [*lines_of(group, views), *(f"report: {where}" for where in reports.values())]
    shown.leave(as_json(group, data), text, output, events, code=exit_code_of(records))


def teller(
    group: Members, screen: Screen, after: Mapping[str, int] | None = None
) -> Callable[[Mapping[str, Record]], None]:
    """As ``shown.teller``, of every member; ``after`` has the last entry of each that need not be told."""
    told = after or {}
    tellers = {member: shown.teller(store, screen, told.get(member, 0)) for member, store in group.stores.items()}

    def seen(records: Mapping[str, Record]) -> None:
        for member, record in records.items():
            tellers[member](record)

    return seen
