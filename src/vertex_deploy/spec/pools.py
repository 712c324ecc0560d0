"""What a DeploymentResourcePool takes, for the checks of a spec, for preflight and for Local Vertex. No I/O.

Facts, from "Share resources across deployments" in Google's documentation, read in November 2026: models of Google's
prebuilt containers for TensorFlow and PyTorch (PyTorch in preview) can share a pool, those of other prebuilt and of
custom containers cannot; all models of a pool have the same container image. An id is that of
CreateDeploymentResourcePoolRequest in aiplatform v1.

Left out: the limit of 20 concurrent deployments, and what fits into a machine's memory.
"""

from __future__ import annotations

import re

POOL_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""An id of a pool."""
DEFAULT_MACHINE = "n1-standard-2"
"""The machine type of a pool that is made without one."""
EXAMPLE_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest"
"""An image that can share a pool."""

_PREBUILT = re.compile(r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai/prediction/(?:tf2?|pytorch)-(?:cpu|gpu)\.\S+")


def can_share(image: str) -> bool:
    """Whether models of this serving image can be deployed onto a pool.

    Args:
        image: a full reference.
    """
    return _PREBUILT.fullmatch(image) is not None
