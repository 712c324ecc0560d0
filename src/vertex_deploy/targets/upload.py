"""Upload a release and wait for it: what a build does, before anybody rolls it out.

A rollout finds the version by its release's hash and does not upload it again. Left out: deploying, and deleting what a
failed upload left (Vertex AI leaves nothing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.errors import OperationFailed, OperationTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.targets.types import Target

POLL = 5.0
"""Seconds between two looks at the operation."""


def ensure_uploaded(target: Target, *, sleep: Callable[[float], None], timeout: float) -> tuple[str, bool]:
    """The model version of the target's release, uploaded if it is not there.

    Args:
        target: what knows the release.
        sleep: waits some seconds.
        timeout: seconds that the operation may take.

    Returns:
        projects/.../models/M@V, and whether it was uploaded now.

    Raises:
        CloudError: the API refuses or does not answer.
        OperationFailed: the operation ended with an error, or without a model version.
        OperationTimeout: it was not done in time; called again, this goes on with what it uploaded.
    """
    found = target.find_model()
    if found is not None:
        return found, False
    operation = target.start_upload()
    waited = 0.0
    while operation:
        progress = target.poll(operation)
        if progress.error:
            raise OperationFailed(f"{operation}: the upload failed: {progress.error}")
        if progress.done or progress.lost:
            break
        if waited >= timeout:
            raise OperationTimeout(f"{operation}: not done in {timeout:g}s; run the build again to go on with it")
        sleep(POLL)
        waited += POLL
    found = target.find_model()
    if found is None:
        raise OperationFailed(f"{operation or 'the upload'}: done, but the model has no version of this release")
    return found, True
