"""What a Pulumi program imports to use the provider: typed resources and their arguments.

Written by hand, beside the tables that the provider checks against; a test holds both equal. Names are Python's here
and camelCase on the wire. Everything is keyword-only. Nested arguments are frozen dataclasses; each of their fields may
be an output of another resource.

Left out: defaults. The provider fills them in, so that programs in every language get the same ones.
"""

from infra.provider.sdk.args import Container, Machine, Probe, Replicas, Reservation, ScaleOn, Share
from infra.provider.sdk.resources import DeployedModel, Model, Provider, TrafficSplit

__all__ = [
    "Container",
    "DeployedModel",
    "Machine",
    "Model",
    "Probe",
    "Provider",
    "Replicas",
    "Reservation",
    "ScaleOn",
    "Share",
    "TrafficSplit",
]
