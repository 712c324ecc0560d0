"""The durable state of one rollout, and how it is written: frozen values in, JSON out, and back.

A ``Record`` holds all that a controller needs to go on anywhere: the whole spec, the release, and the names of whatever
is in flight. Reading tolerates keys that a newer version added; a record that lacks something is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import StateError, one_line
from vertex_deploy.release import Release
from vertex_deploy.rollout.machine import Ending, Event, Phase, advance

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""Version of the stored form; a record of another one is refused."""


MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading a stored value raises that is not what was written."""

_NUMBER = (int, float)
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("id", "name", "spec_hash", "canary", "reason", "handled"), str),
    **dict.fromkeys(("started", "entered", "measured", "measured_until"), _NUMBER),
    **dict.fromkeys(("step", "seq"), int),
    **dict.fromkeys(("spec", "release", "split", "actual", "replicas"), dict),
    **dict.fromkeys(("endpoint", "stable", "stable_model", "model"), (str, NoneType)),
    "ended": (*_NUMBER, NoneType),
    "verdict": (dict, NoneType),
}
"""Of what every look at a record counts with or prints."""
_COUNTS = ("split", "actual", "replicas")
_PARTS = ("release", "pending", "group")
"""Fields that are dataclasses themselves."""
_encoded = json.JSONEncoder(default=str).encode
_ENTRY_TYPES: Mapping[str, Any] = {"seq": int, "at": _NUMBER, "kind": str, "text": str, "data": dict}


# Phases that start without a verdict: an older one was of another split.
_MEASURED_ANEW = frozenset({Phase.SHIFTING, Phase.HOLDING, Phase.KEEPING_STABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An external effect that was begun.

    Args:
        kind: endpoint, upload, deploy or undeploy.
        since: when it was intended, seconds since the epoch.
        name: the operation's name; None: the call was about to be made; "": the API had it already.
        polled: when it was last begun, read or looked for.
        looked: when what it should have made was first looked for, since it was begun; 0.0: not yet.
        done: it has ended.
        error: what it ended with, or None.
        stage: the API's own word for where it is.
    """

    kind: str
    since: float
    name: str | None = None
    polled: float = 0.0
    looked: float = 0.0
    done: bool = False
    error: str | None = None
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a rollout's history.

    Args:
        seq: its number within the rollout, from 1; an entry written again after a crash has the same number.
        at: seconds since the epoch.
        kind: started, transition, operation, measured, request or warning.
        text: for people, one line.
        data: for programs.
    """

    seq: int
    at: float
    kind: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        # Its data is JSON already, and hours of intervals in some: not copied, as asdict would.
        return _as_is(self, "seq", "at", "kind", "text", "data")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LogEntry:
        """What ``to_json`` wrote.

        Raises:
            one of MALFORMED: it did not.
        """
        return cls(**_typed(_known(cls, data), _ENTRY_TYPES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The lockstep group that a rollout is part of.

    Args:
        name: of the group.
        member: this rollout's environment.
        stores: environment -> what its rollouts are stored under, of every member; all have the same rollout id.
    """

    name: str
    member: str
    stores: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One rollout, as it is stored.

    Args:
        id: its own name: start time and release hash.
        name: the spec's name.
        started: seconds since the epoch.
        spec: the whole spec, environment applied, as ``model_dump(mode="json")``.
        spec_hash: of that spec.
        release: what is rolled out.
        canary: deployed model id of the new version, chosen before anything was called.
        phase: where it is.
        entered: when it got there.
        step: index of the current step; -1 before the first.
        endpoint: full resource name, once known.
        stable: deployed model id of the old version; None for the first version ever.
        stable_model: projects/.../models/M@V of it.
        model: projects/.../models/M@V of the new version, once uploaded.
        split: the split that we last set or accepted: id -> percent.
        actual: the split that was last read back.
        replicas: deployed model id -> replicas that answered at the last look; absent where the API does not say.
        pending: the external effect in flight.
        measured: when metrics were last read.
        measured_until: end of the newest interval that was recorded.
        verdict: the judge's last word on the current step, as JSON.
        handled: id of the last request that was acted on.
        ending: how it ends: set when that is certain, final once ``phase`` is done.
        reason: why it is where it is, one line.
        ended: when it was over.
        seq: number of the next history entry.
        tail: the history entry that this version of the record commits; written to the log after the record.
        held: a person paused it: neither gates nor alerts end it before a person asks for something.
        group: the lockstep group that it is part of, or None.
        ready: what it is ready for while it awaits its group; see ``group``.
        driver: token of the lease of the controller that drives it; differs for every one that took over.
    """

    id: str
    name: str
    started: float
    spec: Mapping[str, Any]
    spec_hash: str
    release: Release
    canary: str
    phase: Phase = Phase.PREFLIGHT
    entered: float = 0.0
    step: int = -1
    endpoint: str | None = None
    stable: str | None = None
    stable_model: str | None = None
    model: str | None = None
    split: Mapping[str, int] = field(default_factory=dict)
    actual: Mapping[str, int] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    pending: Pending | None = None
    measured: float = 0.0
    measured_until: float = 0.0
    verdict: Mapping[str, Any] | None = None
    handled: str = ""
    ending: Ending | None = None
    reason: str = ""
    ended: float | None = None
    seq: int = 1
    tail: LogEntry | None = None
    held: bool = False
    group: Group | None = None
    ready: int = 0
    driver: str = ""

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return self.phase is Phase.DONE

    @property
    def bare(self) -> bool:
        """The canary has all traffic, and stable is only kept warm: nothing is measured of it."""
        whole = self.phase is Phase.AWAITING_GROUP and set(self.split) == {self.canary}
        return self.phase is Phase.KEEPING_STABLE or whole

    @property
    def label(self) -> str:
        """What tells its alert policies from those of other rollouts: members of a group share the id."""
        return f"{self.id}-{self.canary}" if self.group else self.id

    def moved(
        self, event: Event, *, now: float, reason: str, ending: Ending | None = None, step: int | None = None
    ) -> Record:
        """The record after an event. What belonged to the phase that was left is dropped.

        Raises:
            LookupError: the event cannot happen in this phase.
        """
        following = advance(self.phase, event)
        # A deployment in flight must be waited for before its model can be undeployed: it outlives its phase.
        deploying = self.pending is not None and self.pending.kind == "deploy"
        keep = deploying and following in {Phase.ROLLING_BACK, Phase.REMOVING_CANARY}
        return replace(
            self,
            phase=following,
            entered=now,
            step=self.step if step is None else step,
            pending=self.pending if keep else None,
            verdict=None if following in _MEASURED_ANEW else self.verdict,
            ending=ending or self.ending,
            reason=one_line(reason),
            ended=now if following is Phase.DONE else None,
        )

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        # Most of a record is JSON already: not copied, as asdict would. What is none is small.
        held = {name: None if (value := getattr(self, name)) is None else asdict(value) for name in _PARTS}
        tail = None if self.tail is None else self.tail.to_json()
        return {"format": FORMAT, **_as_is(self, *_names(Record)), **held, "tail": tail}

    def dumps(self) -> bytes:
        """The stored form."""
        # A line a field: to be read by people, and by the encoder in C, which knows no indentation.
        lines = (f' "{name}": {_encoded(value)}' for name, value in self.to_json().items())
        return ("{\n" + ",\n".join(lines) + "\n}").encode()

    @classmethod
    def loads(cls, raw: bytes, where: str) -> Record:
        """Read the stored form.

        Raises:
            StateError: not JSON, another format, or something missing; ``where`` is named.
        """
        try:
            data = json.loads(raw)
            if data.get("format") != FORMAT:
                raise StateError(
                    f"{where}: format {data.get('format')!r}, not {FORMAT}; go on with the vertex-deploy that wrote it"
                )
            known = _typed(_known(cls, data), _TYPES)
            for name in _COUNTS:
                _typed(known.get(name, {}), dict.fromkeys(known.get(name, {}), int))
            if known.get("verdict") is not None:
                _typed(known["verdict"], {"outcome": str, "explanation": str, "readings": list}, needed=True)
            known["release"] = Release(**_known(Release, data["release"]))
            known["phase"] = Phase(data["phase"])
            known["ending"] = Ending(data["ending"]) if data.get("ending") else None
            known["pending"] = Pending(**_known(Pending, data["pending"])) if data.get("pending") else None
            known["group"] = Group(**_known(Group, data["group"])) if data.get("group") else None
            known["tail"] = LogEntry.from_json(data["tail"]) if data.get("tail") else None
            return cls(**known)
        except MALFORMED as error:
            raise StateError(
                f"{where}: not a rollout's record ({described(error)}); restore it from a backup, or move the folder "
                "away to forget the rollout"
            ) from error


def _as_is(value: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _typed(data: dict[str, Any], types: Mapping[str, Any], *, needed: bool = False) -> dict[str, Any]:
    for name, kind in types.items():
        if (needed or name in data) and not isinstance(data[name], kind):
            raise TypeError(f"{name} is {data[name]!r:.40}")
    return data


def described(error: Exception) -> str:
    """What reading a stored value raised, for people."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at line {error.lineno}: {error.msg.lower()}"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, AttributeError) or "()" in str(error):
        return "it is no object with the fields that belong there"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


@cache
def _names(kind: Any) -> Mapping[str, None]:
    """A dataclass's fields, in order and quick to look up."""
    return dict.fromkeys(item.name for item in fields(kind))


def _known(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    names = _names(kind)
    return {key: value for key, value in data.items() if key in names}
