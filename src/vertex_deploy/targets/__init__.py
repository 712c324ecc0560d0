"""Where traffic is split: one small Protocol, one file a backend."""

from vertex_deploy.targets.types import Deployed, Observation, Progress, Target

__all__ = ["Deployed", "Observation", "Progress", "Target"]
