"""What policies depend on, read from the pack's configuration. Left out: the spec, which the program reads."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the pack.

    Args:
        production: the stack answers real traffic.
        cmek: everything at rest has a customer-managed key.
        required_labels: keys of labels that every resource with labels has.
        gpus_by_region: region -> GPUs of a spec (L4, H100) that may be used there. A region named here is decided by it
            alone, to allow what is newer than the table in ``regions.json`` or to forbid what is in it; the table
            decides every other one.
    """

    production: bool = False
    cmek: bool = False
    required_labels: tuple[str, ...] = ("vertex-deploy",)
    gpus_by_region: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """From JSON.

        Raises:
            ValueError: an unknown key: a misspelt setting must not switch a policy off.
        """
        names = {item.name for item in fields(cls)}
        known = {key: value for key, value in config.items() if key != "enforcementLevel"}
        if unknown := sorted(set(known) - names):
            raise ValueError(f"settings of the policies have no {unknown[0]!r}; write {', '.join(sorted(names))}")
        return cls(
            production=bool(known.get("production", False)),
            cmek=bool(known.get("cmek", False)),
            required_labels=tuple(known.get("required_labels", ("vertex-deploy",))),
            gpus_by_region={region: tuple(gpus) for region, gpus in known.get("gpus_by_region", {}).items()},
        )
