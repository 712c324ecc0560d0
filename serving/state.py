"""Where a server is in its life, as data: which states there are, and what each answers.

::

    loading -> ready -> grace -> draining -> stopped
       |         |
       +-> failed <+

In ``grace`` health is already 503 but requests are still taken: the balancer needs a moment to notice. In ``draining``
what was accepted is finished and new requests are refused.
"""

from __future__ import annotations

from enum import Enum

from serving.errors import Unavailable


class State(Enum):
    """A state; its value is what the health check says."""

    LOADING = "loading"
    READY = "ready"
    GRACE = "shutting down"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


_NEXT = {
    State.LOADING: {State.READY, State.FAILED, State.DRAINING, State.STOPPED},
    State.READY: {State.GRACE, State.DRAINING, State.FAILED, State.STOPPED},
    State.GRACE: {State.DRAINING, State.FAILED, State.STOPPED},
    State.DRAINING: {State.FAILED, State.STOPPED},
    State.FAILED: {State.STOPPED},
    State.STOPPED: set[State](),
}
_REFUSAL = {
    State.LOADING: "the model is loading",
    State.DRAINING: "the server is draining",
    State.FAILED: "the model server failed",
    State.STOPPED: "the server has stopped",
}


class Life:
    """The current state."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.reason = ""

    def to(self, state: State, reason: str = "") -> bool:
        """Go to a state; False (and no change) if the table has no such step."""
        if state not in _NEXT[self.state]:
            return False
        self.state, self.reason = state, reason or self.reason
        return True

    @property
    def healthy(self) -> bool:
        """Whether the health check answers 200."""
        return self.state is State.READY

    def admit(self) -> None:
        """Nothing while requests are taken.

        Raises:
            Unavailable: not now; the message says why.
        """
        refusal = _REFUSAL.get(self.state)
        if refusal:
            raise Unavailable(refusal + (f": {self.reason}" if self.reason else ""))
