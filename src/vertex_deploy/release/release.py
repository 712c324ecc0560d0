"""A release: what exactly is uploaded as a model version, and the hash that finds it again.

Two starts of the same spec are the same release: the hash covers everything that decides how the model version behaves
(image, artifact, command, arguments, environment, port, routes, start-up time) and nothing that only decides how it is
deployed (machine, replicas, rollout). The hash travels as a label of the model version, so that an upload whose
controller was killed is found instead of repeated.

Left out: building and pushing images. A pipeline that does so hands over the digest in a small file (``read_pins``).
The hash covers an artifact's address, not its content: write each build to a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import UsageError
from vertex_deploy.spec import names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vertex_deploy.spec.models import Spec

NOT_OF_A_ROLLOUT = ("infra",)
"""Sections that are Pulumi's alone: editing one while a rollout is under way does not make it another rollout."""

_PINS = ("image", "artifact", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release, as it is recorded with a rollout.

    Args:
        image: full reference of the serving image, with ``@sha256:`` where a digest is pinned.
        artifact: gs:// folder of the model's files, or "".
        commit: git commit it was built from, or "".
        hash: 12 hex digits over everything that decides the model version's behaviour.
    """

    image: str
    artifact: str
    commit: str
    hash: str

    @property
    def digest(self) -> str:
        """``sha256:...`` where the image is pinned by digest, else ""."""
        return self.image.partition("@")[2]


def read_pins(path: Path) -> dict[str, str]:
    """Read the file in which a build hands over what it built: ``{"image": ..., "artifact": ..., "commit": ...}``.

    Raises:
        UsageError: not there, not JSON, or with other keys than these three.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the release file ({error.strerror}); check the path") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); write an object with {', '.join(_PINS)}") from error
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise UsageError(f"{path}: not an object of strings; write one with {', '.join(_PINS)}")
    if unknown := sorted(set(data) - set(_PINS)):
        raise UsageError(f"{path}: unknown key {unknown[0]!r}; a release file has {', '.join(_PINS)}")
    return data


def image_reference(spec: Spec) -> str:
    """The full reference of ``container.image``: see ``names.image_reference``."""
    return names.image_reference(spec, spec.container.image)


def build_release(spec: Spec, *, pins: Mapping[str, str] | None = None, commit: str = "") -> Release:
    """The release of a spec. Pure: the same arguments give the same hash.

    Args:
        spec: one deploy.yaml, with its environment applied.
        pins: what a build handed over; its values win over the spec's.
        commit: git commit of the working tree, recorded but not hashed.
    """
    pins = pins or {}
    image = pins.get("image") or image_reference(spec)
    artifact = (pins.get("artifact") or spec.model.artifact or "").rstrip("/")
    container = spec.container.model_dump(mode="json", exclude={"image"})
    return Release(
        image=image, artifact=artifact, commit=pins.get("commit") or commit, hash=_hash([image, artifact, container])
    )


def spec_hash(spec: Spec) -> str:
    """12 hex digits over all of a spec but ``infra``: tells whether deploy.yaml changed since a rollout started."""
    return _hash(spec.model_dump(mode="json", exclude=set(NOT_OF_A_ROLLOUT)))


def changed_fields(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of the leaves that differ between two dumped specs, such as ``rollout.steps``; lists are leaves.

    Args:
        old: one dumped spec, or a part of it.
        new: the other.
        prefix: dotted name of the part; "" for whole specs, of which what ``spec_hash`` leaves out is left out.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            path
            for key in keys
            if prefix or key not in NOT_OF_A_ROLLOUT
            for path in changed_fields(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    return [] if old == new else [prefix]


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
