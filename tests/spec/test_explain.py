from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.spec.test_fields import Drawing
from vertex_deploy.spec.document import parse, plain
from vertex_deploy.spec.explain import Explainer
from vertex_deploy.spec.fields import Shape


def explained(text: str) -> list[str]:
    root, _ = parse(text.encode(), "f")
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(plain(root), strict=True)
    return [str(problem) for problem in Explainer(root, "f", Shape(Drawing)).validation(caught.value)]


def test_members_of_unions_are_explained_without_pydantics_tags():
    assert explained("shapes:\n- {type: circle, radus: 3}\n- {type: square, side: x}\n") == [
        "f:2: shapes[0].radus: unknown key; did you mean radius? (allowed: radius, side, type)",
        "f:3: shapes[1].side: must be a whole number, not 'x'",
    ]


def test_an_unknown_or_missing_tag_is_explained_with_the_allowed_ones():
    lines = explained("shapes:\n- {type: circel}\n- {radius: 1}\n- 3\n")
    assert lines[:2] == [
        "f:2: shapes[0].type: must be one of circle, square, not 'circel'",
        "f:3: shapes[1].type: missing key; add type (one of circle, square)",
    ]
    assert lines[2].startswith("f:4: shapes[2]: must be a mapping with the keys type, radius or a mapping")


def test_a_key_of_a_mapping_is_explained_as_an_unknown_key():
    line = "f:1: colours.fil: unknown key; did you mean fill? (allowed: fill, line)"
    assert explained("colours: {fil: red}\n") == [line]
