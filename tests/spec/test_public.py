from __future__ import annotations

from vertex_deploy import spec


def test_the_public_names_are_these():
    assert sorted(spec.__all__) == [
        "AcceleratorSpec",
        "Examined",
        "Gate",
        "Problem",
        "Spec",
        "examine",
        "from_storage",
        "group_of",
        "load",
        "to_storage",
    ]
    assert all(hasattr(spec, name) for name in spec.__all__)
