"""Run a container to its end, and end as its program did. Left out: the command line (``image.Job``)."""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from containers.tools.image import Job
    from containers.tools.store import Store


def run_to_end(wanted: Job, store: Store, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a job and remove its container.

    Not with ``podman run --rm``: where the machine is busy, podman 4.3 removes the container before ``podman run`` has
    read the exit code, which is 127 then ("container has already been removed").

    Args:
        wanted: what runs.
        store: that has its image.
        options: of ``subprocess.run``: what becomes of its output, a time limit.

    Returns:
        With the exit code of the container's program; 125 to 127 are also podman's own errors.

    Raises:
        FileNotFoundError: podman is not installed.
    """
    environment, name = store.environment(), f"vertex-deploy-job-{secrets.token_hex(6)}"
    try:
        return subprocess.run(wanted.argv(name), env=environment, check=False, **options)  # noqa: S603 - no shell
    finally:
        removal = ["podman", "rm", "--force", "--ignore", "--time", "0", name]
        subprocess.run(removal, env=environment, capture_output=True, check=False)  # noqa: S603 - no shell
