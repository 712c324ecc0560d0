"""Which failures of an API may pass, and which are an answer. Pure; the table in the rollout guide says what follows.

A call whose outcome is not known (no answer, INTERNAL, ABORTED) is made again: every effect of a rollout is harmless to
repeat. A refusal is believed. Credentials that expired are not waited for: only a person can renew them.
"""

from __future__ import annotations

from vertex_deploy.errors import CloudError, SplitConflict

UNCERTAIN = frozenset({"ABORTED", "CANCELLED", "INTERNAL", "UNKNOWN", "DATA_LOSS"})
"""Codes (google.rpc.Code) that do not say whether the call took effect; ``CloudError.transient`` has those that do not,
but ask to come again."""


def may_pass(error: CloudError) -> bool:
    """Whether the same call may succeed later.

    Args:
        error: what a target, a metric source or a store raised.
    """
    # A conflict has its own loop: the endpoint is read again before it is written again.
    return not isinstance(error, SplitConflict) and (error.transient or error.code in UNCERTAIN)
