"""Local Vertex's data plane: deployed models as real processes, and the requests that they answer.

``plane.LocalDataPlane`` is the whole of it; ``images.ImageMap`` says which command stands for which image. Modules that
decide (``probes``, ``router``, ``environment``, ``envelope``, ``faults``) do no I/O; ``replica``, ``deployed`` and
``forward`` drive them. ``memory`` has the stand-ins for tests.
"""

from vertex_deploy.local.data.images import ImageMap
from vertex_deploy.local.data.plane import LocalDataPlane
from vertex_deploy.local.data.timing import Timing

__all__ = ["ImageMap", "LocalDataPlane", "Timing"]
