"""The policy pack: each rule of ``rules`` as a mandatory stack policy.

    pulumi preview --policy-pack infra/policies --policy-pack-config infra/policies/prod.json

Left out: remediation; what is wrong is fixed in the spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

# Pulumi runs this folder as a program, in an environment that has neither the project nor its packages.
from pulumi_policy import EnforcementLevel, PolicyConfigSchema, PolicyPack, StackValidationPolicy
from pulumi_policy.proxy import UnknownValueError
from rules import RULES, UNKNOWN, Resource
from settings import Settings

if TYPE_CHECKING:
    from pulumi_policy import ReportViolation, StackValidationArgs
    from rules import Rule

SCHEMA = {
    "production": {"type": "boolean"},
    "cmek": {"type": "boolean"},
    "required_labels": {"type": "array", "items": {"type": "string"}},
    "gpus_by_region": {"type": "object"},
}


def policy(rule: Rule) -> StackValidationPolicy:
    """One rule in Pulumi's types; it is given the settings under its own name."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        resources = [
            Resource(type=item.resource_type, name=item.name, props=plain(item.props), protect=bool(item.opts.protect))
            for item in args.resources
        ]
        for found, message in rule.check(resources, Settings.read(args.get_config())):
            report(f"{found.name}: {message}", next(r.urn for r in args.resources if _same(r, found)))

    return StackValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=PolicyConfigSchema(properties=SCHEMA),
    )


def plain(value: Any) -> Any:
    """Lists and maps of pulumi-policy as Python's own; reading a value that a preview does not know raises there."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(holder: Any, key: str | int) -> Any:
    try:
        return plain(holder[key])
    except UnknownValueError:
        return UNKNOWN


def _same(item: object, found: Resource) -> bool:
    return (getattr(item, "resource_type", None), getattr(item, "name", None)) == (found.type, found.name)


if __name__ == "__main__":
    PolicyPack(name="vertex-deploy", policies=[policy(rule) for rule in RULES])
