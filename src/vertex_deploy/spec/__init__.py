"""deploy.yaml: models, loader and checks. ``load`` is what everything else calls."""

from vertex_deploy.spec.gates import Gate
from vertex_deploy.spec.models import Spec

__all__ = ["Gate", "Spec"]
