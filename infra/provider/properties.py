"""A resource's properties as a table, and the two questions that the engine asks of any table: check and diff. Pure.

One table gives the check of inputs, the diff, the schema that ``GetSchema`` answers, and the test that the Python SDK
says the same. What several properties must agree on is in each resource's own module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from infra.provider.values import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Kind = Literal["string", "integer", "number", "boolean", "array", "map", "object"]

_PYTHON: dict[Kind, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "map": (dict,),
    "object": (dict,),
}
_UNSET: dict[Kind, tuple[Any, ...]] = {
    "string": ("",),
    "integer": (0,),
    "number": (0,),
    "boolean": (False,),
    "array": ([],),
    "map": ({},),
    "object": ({},),
}
_LARGEST = 2**31 - 1
"""Of a whole number where nothing smaller is said: the API's counts and seconds have 32 bits."""
_ARTICLE = {"integer": "a whole number", "array": "a list", "object": "an object", "map": "a map"}
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prop:
    """One property.

    Args:
        type: of its value.
        doc: what it is, for the schema.
        required: it must be given.
        default: value where it is absent; None: it stays absent.
        replace: a change needs a new resource.
        choices: values allowed.
        pattern: that a string must match in full.
        says: the pattern in words, for the message.
        minimum: of a number.
        maximum: of a number.
        items: what an array or map holds.
        keys: what each key of a map must be, as a string's property.
        most: items at most of an array or map.
        fields: of an object.
        ref: name of the object's type in the schema.
        same: whether two values, each perhaps None, mean the same, where that is not equality.
        local: the provider keeps it; the API does not know it and never tells it.
    """

    type: Kind
    doc: str
    required: bool = False
    default: Any = None
    replace: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    says: str = ""
    minimum: float | None = None
    maximum: float | None = None
    items: Prop | None = None
    keys: Prop | None = None
    most: int | None = None
    fields: Mapping[str, Prop] | None = None
    ref: str = ""
    same: Callable[[Any, Any], bool] | None = None
    local: bool = False


Table = dict[str, Prop]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an input is refused.

    Args:
        property: path of it, such as ``container.ports[0]``.
        reason: what is wrong and what is allowed.
    """

    property: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """How one property differs.

    Args:
        kind: of the change.
        replace: it needs a new resource.
    """

    kind: Literal["add", "delete", "update"]
    replace: bool


@dataclass(frozen=True, slots=True)
class Diff:
    """How old and new inputs differ.

    Args:
        changes: property path -> how it differs; empty: nothing to do.
        delete_first: the old resource must go before the new one can be made.
    """

    changes: Mapping[str, Change]
    delete_first: bool = False

    @property
    def properties(self) -> list[str]:
        """Top-level names of all that differs, once each, in the order found."""
        return list(dict.fromkeys(top(path) for path in self.changes))

    @property
    def replaces(self) -> list[str]:
        """Top-level names of what needs a new resource."""
        return list(dict.fromkeys(top(path) for path, change in self.changes.items() if change.replace))


def top(path: str) -> str:
    """The property that a path starts with."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def child(path: str, key: str | int) -> str:
    """The path of a key or an item below ``path``, as Pulumi writes property paths."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _NAME.fullmatch(key):
        quoted = key.replace('"', '\\"')
        return f'{path}["{quoted}"]'
    return f"{path}.{key}" if path else key


# --- check -----------------------------------------------------------------------------------------------------------


def with_defaults(table: Table, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs without nulls, and with defaults where there is nothing. Nested objects keep what was written."""
    found = {key: value for key, value in given.items() if value is not None}
    defaults = {key: prop.default for key, prop in table.items() if prop.default is not None and key not in found}
    return found | defaults


def check(table: Table, given: Mapping[str, Any], path: str = "", *, absent: bool = True) -> list[Failure]:
    """What is wrong with inputs, each property on its own; unknown values pass, they are checked once known.

    Args:
        table: the properties.
        given: inputs; null is absent.
        path: where they are.
        absent: whether a required property that is not there counts.
    """
    failures = []
    for key in given.keys() - table.keys():
        near = get_close_matches(key, table, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(table)}"
        failures.append(Failure(child(path, key), f"there is no such property; {hint}"))
    for key, prop in table.items():
        value = given.get(key)
        if value is None:
            if prop.required and absent:
                failures.append(Failure(child(path, key), f"is required: {prop.doc}"))
        else:
            failures += _check(prop, value, child(path, key))
    return sorted(failures, key=lambda failure: failure.property)


def _check(prop: Prop, value: Any, path: str) -> list[Failure]:
    if value is UNKNOWN:
        return []
    fits = isinstance(value, _PYTHON[prop.type]) and isinstance(value, bool) == (prop.type == "boolean")
    if not fits:
        words = _ARTICLE.get(prop.type, f"a {prop.type}")
        return [Failure(path, f"must be {words}, not {_describe(value)}")]
    if prop.type == "object":
        return check(dict(prop.fields or {}), value, path)
    if prop.items is not None:
        return _many(prop, prop.items, value, path)
    return _leaf(prop, value, path)


def _many(prop: Prop, items: Prop, value: Any, path: str) -> list[Failure]:
    if prop.most is not None and len(value) > prop.most:
        return [Failure(path, f"must be at most {prop.most}, not {len(value)}")]
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in pairs:
        named = _leaf(prop.keys, key, child(path, key)) if prop.keys is not None else []
        found += named or _item(items, item, child(path, key))
    return found


def _item(prop: Prop, item: Any, path: str) -> list[Failure]:
    return [Failure(path, "must not be null")] if item is None else _check(prop, item, path)


def _leaf(prop: Prop, value: Any, path: str) -> list[Failure]:
    if prop.choices and value not in prop.choices:
        near = get_close_matches(str(value), prop.choices, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return [Failure(path, f"{_describe(value)} is not allowed; {hint}(allowed: {', '.join(prop.choices)})")]
    if prop.pattern and not re.fullmatch(prop.pattern, value):
        return [Failure(path, f"{_describe(value)} must be {prop.says}")]
    low = prop.minimum
    high = _LARGEST if prop.maximum is None and prop.type == "integer" else prop.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        limits = " and ".join(
            words for words, limit in ((f"at least {low}", low), (f"at most {high}", high)) if limit is not None
        )
        return [Failure(path, f"must be {limits}, not {value}")]
    return []


def _describe(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    limit = 80
    return text if len(text) <= limit else text[:limit] + "..."


# --- diff ------------------------------------------------------------------------------------------------------------


def diff(
    table: Table, olds: Mapping[str, Any], news: Mapping[str, Any], *, ignore: Iterable[str] = ()
) -> dict[str, Change]:
    """How inputs differ, by property path; an unknown value differs from everything.

    Args:
        table: the properties; others are not compared.
        olds: inputs as they were.
        news: inputs as they are wanted.
        ignore: property paths that count as unchanged, and all below them.
    """
    skipped = tuple(ignore)
    found: dict[str, Change] = {}
    for key, prop in table.items():
        _diff(prop, olds.get(key), news.get(key), key, replace=prop.replace, found=found)
    return {
        path: change
        for path, change in found.items()
        if not any(path == skip or path.startswith((f"{skip}.", f"{skip}[")) for skip in skipped)
    }


def _diff(prop: Prop, old: Any, new: Any, path: str, *, replace: bool, found: dict[str, Change]) -> None:
    replace = replace or prop.replace
    if same(prop, old, new):
        return
    if old is None or new is None:
        found[path] = Change("add" if old is None else "delete", replace)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = (prop.fields or {}).get(key) if prop.type == "object" else prop.items
            if below is not None:
                _diff(below, old.get(key), new.get(key), child(path, key), replace=replace, found=found)
    elif isinstance(old, list) and isinstance(new, list) and prop.items is not None and prop.same is None:
        for index in range(max(len(old), len(new))):
            before, after = (items[index] if index < len(items) else None for items in (old, new))
            _diff(prop.items, before, after, child(path, index), replace=replace, found=found)
    else:
        found[path] = Change("update", replace)


def same(prop: Prop, old: Any, new: Any) -> bool:
    """Whether two values of a property mean the same; unknown is never the same."""
    if old is UNKNOWN or new is UNKNOWN:
        return False
    if prop.same is not None:
        return prop.same(old, new)
    return bool(old == new) or (_unset(prop, old) and _unset(prop, new))


def _unset(prop: Prop, value: Any) -> bool:
    """Whether a value says no more than its absence: the API's messages have no other way to leave a field out."""
    return value is None or (prop.default is None and value in _UNSET[prop.type])


def keep_written(
    table: Table, written: Mapping[str, Any], live: Mapping[str, Any], *, fixed: Iterable[str] = ()
) -> dict[str, Any]:
    """Inputs as read back from the API, in the words that a person wrote where these mean the same.

    Args:
        table: the properties.
        written: inputs as they were written; empty at an import.
        live: inputs that describe what is there; a property that the API does not tell is absent.
        fixed: properties that nobody can have changed: what was written is kept, though the API may tell it otherwise.
    """
    # The API fills in what was not written; what cannot have changed is then not worth a difference.
    kept = {key: value for key, value in live.items() if key in written or not written or key not in fixed}
    for key, prop in table.items():
        old, new = written.get(key), live.get(key)
        if old is None:
            continue
        # Unset and the default mean the same, and the API tells neither of them.
        unset = new is None and old in ([], {}, "", prop.default)
        if prop.local or unset or key in fixed or (new is not None and not diff({key: prop}, {key: old}, {key: new})):
            kept[key] = old
    return kept
