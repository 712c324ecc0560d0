"""Whatever people write: a spec, or problems that each have a line. Never another exception."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.spec.examples import GOOD, examined
from vertex_deploy.spec.fields import Shape
from vertex_deploy.spec.loader import from_storage, to_storage
from vertex_deploy.spec.models import Spec

LINE = re.compile(r"deploy\.yaml:[1-9]\d*: \S.*")
ENVIRONMENTS = st.sampled_from([None, "local", "prod"])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["30m", "0.5%", "L4:1", "psc", "vertex", "100%", "1.1x", "NVIDIA_L4"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metric", "weight", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def settle(text: str, env: str | None) -> None:
    found = examined(text.encode("utf-8", "surrogatepass"), env)
    assert (found.spec is None) == bool(found.problems)
    assert all(LINE.fullmatch(str(problem)) for problem in found.problems), found.problems
    if found.spec is not None:
        assert from_storage(to_storage(found.spec)) == found.spec


def paths(shape: Shape, prefix: tuple[str | int, ...] = (), depth: int = 6) -> list[tuple[str | int, ...]]:
    found = [prefix] if prefix else []
    if depth:
        for key in (*shape.keys(), 0):
            below = shape.at((key,))
            found += paths(below, (*prefix, key), depth - 1) if below else []
    return found


PATHS = paths(Shape(Spec))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 20), st.text(max_size=8), ENVIRONMENTS)
def test_any_edit_of_the_text(start, length, insert, env):
    settle(GOOD[:start] + insert + GOOD[start + length :], env)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PATHS), values, st.booleans(), ENVIRONMENTS)
def test_any_value_at_any_field(path, value, in_environment, env):
    document = yaml.safe_load(GOOD)
    place = document["environments"].setdefault("prod", {}) if in_environment else document
    for part, following in itertools.pairwise(path):
        fresh: Any = [{}] if following == 0 else {}
        if isinstance(place, dict):
            place = place.setdefault(part, fresh)
        else:
            place[0] = place[0] if isinstance(place[0], type(fresh)) else fresh
            place = place[0]
    place[path[-1]] = value
    settle(json.dumps(document), env)  # JSON is YAML


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(data):
    found = examined(data)
    assert found.problems
    assert all(LINE.fullmatch(str(problem)) for problem in found.problems)
