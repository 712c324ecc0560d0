"""deploy.yaml: models, loader and checks. ``load`` is what everything else calls.

Left out on purpose: anything that talks to the cloud or to another program. The command line, the infrastructure, the
pipelines and the tests all read the same file through here, so that nothing is said twice.
"""

from vertex_deploy.spec.gates import Gate
from vertex_deploy.spec.loader import Examined, examine, from_storage, group_of, load, to_storage
from vertex_deploy.spec.machines import AcceleratorSpec
from vertex_deploy.spec.models import Spec
from vertex_deploy.spec.problems import Problem

__all__ = [
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
