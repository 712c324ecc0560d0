"""Drives one controller, or several in turn: what is due at once, then sleep until the next of them is due.

Failures: an error that may pass (``faults``) is waited out, with growing pauses, up to ``PATIENCE`` times in a row; any
other error ends that controller, not the rollout. A controller that ended does not keep the others from being driven:
its error is raised once they have come to a stop, too.

Left out: what is due (``controller``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.errors import CloudError, RolloutError, VertexDeployError
from vertex_deploy.rollout.decide import describe
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.rollout.lease import LEASE_SECONDS
from vertex_deploy.rollout.machine import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record

PATIENCE = 10
"""Transient failures in a row before a controller gives up (the rollout can be started again)."""

_NAP = 1.0


@dataclass(slots=True)
class _Seat:
    """A controller and how it stands.

    Args:
        controller: what is driven.
        failures: transient ones in a row.
        due: when to look again, seconds since the epoch; None: not before somebody asks for something, or never.
        error: what ended it.
    """

    controller: Controller
    failures: int = 0
    due: float | None = 0.0
    error: VertexDeployError | None = None

    @property
    def going(self) -> bool:
        return self.error is None and self.due is not None

    @property
    def standing(self) -> tuple[object, ...]:
        """What the other members of a lockstep group go by."""
        record = self.controller.record
        return record.phase, record.step, record.ready, record.ending, record.model

    @property
    def held_up(self) -> bool:
        """It waits for another member of its group."""
        return self.controller.record.phase is Phase.AWAITING_GROUP

    def pausing(self, clock: Clock) -> bool:
        """A failure is being waited out."""
        return self.failures > 0 and self.due is not None and self.due > clock.now()

    def turn(self, clock: Clock) -> None:
        """Do what is due, and learn when to look again."""
        try:
            wait = self.controller.tick()
            self.failures, self.due = 0, None if wait is None else wait.until
        except (CloudError, RolloutError) as error:
            self._failed(error, clock)

    def idle(self, clock: Clock) -> bool:
        """Keep the lease; whether a request waits, which ends a pause after a failure, too."""
        try:
            asked = self.controller.idle()
        except (CloudError, RolloutError) as error:
            self._failed(error, clock)
            return False
        self.due = 0.0 if asked else self.due
        return asked

    def _failed(self, error: CloudError | RolloutError, clock: Clock) -> None:
        journal = self.controller.journal
        self.failures += 1
        try:
            if isinstance(error, RolloutError):
                self.error = error
            elif not may_pass(error) or self.failures > PATIENCE:
                self.error = error
                left = f"the split is {describe(journal.record.actual)}; go on with `rollout start`"
                journal.note_if_possible(f"the controller stops: {error}; {left}")
            else:
                self.due = clock.now() + min(LEASE_SECONDS / 2, 2.0**self.failures)
                journal.note_if_possible(f"will try again: {error}")
        except RolloutError as overtaken:
            # The note found another controller at work: this one ends, the others of its group do not.
            self.error = overtaken


def run(
    controllers: Sequence[Controller], *, clock: Clock, stop: Callable[[Record], bool] = lambda _record: False
) -> None:
    """Drive until each rollout is over or paused, or ``stop`` says so while nothing is due.

    Args:
        controllers: each of a rollout of its own, whose lease is held.
        clock: time.
        stop: whether a rollout need not be driven any further.

    Raises:
        CloudError: an API kept failing; the rollout stands where it was and can be started again.
        RolloutError: the store's: another controller took over, or the record cannot be read.
    """
    seats = [_Seat(controller) for controller in controllers]
    while True:
        _rounds(seats, clock)
        going = [seat for seat in seats if seat.going and not stop(seat.controller.record)]
        stuck = any(not seat.going and not seat.controller.record.over for seat in seats)
        if all(seat.held_up and stuck for seat in going):
            # Whoever is left waits for one that is paused or gave up.
            break
        _nap(seats, min(seat.due for seat in going if seat.due is not None), clock)
    for seat in seats:
        if seat.error is not None:
            raise seat.error


def tick(controllers: Sequence[Controller]) -> None:
    """Do what is due in each, and in the others for what that changed.

    Args:
        controllers: each of a rollout of its own, whose lease is held.

    Raises:
        CloudError: an API failed, the first one's; all others were driven.
        RolloutError: the store's.
    """
    failed: dict[int, VertexDeployError] = {}
    seats = [_Seat(controller) for controller in controllers]
    changed = True
    while changed:
        before = [seat.standing for seat in seats]
        for number, seat in enumerate(seats):
            try:
                if number not in failed:
                    seat.controller.tick()
            except (CloudError, RolloutError) as error:
                failed[number] = error
        changed = before != [seat.standing for seat in seats] and len(seats) > 1
    for number in sorted(failed):
        raise failed[number]


def _rounds(seats: Sequence[_Seat], clock: Clock) -> None:
    """A turn for each, until none changes anything that another may wait for."""
    changed = True
    while changed:
        before = [seat.standing for seat in seats]
        for seat in seats:
            if seat.error is None and not seat.pausing(clock):
                seat.turn(clock)
        changed = before != [seat.standing for seat in seats] and len(seats) > 1


def _nap(seats: Sequence[_Seat], until: float, clock: Clock) -> None:
    """Sleep, so that every lease stays ours and a request is answered within about a second."""
    while (left := until - clock.now()) > 0:
        clock.sleep(min(left, _NAP))
        # A list: every lease is renewed, whoever has a request.
        if any([seat.idle(clock) for seat in seats if seat.error is None]):  # noqa: C419 - see above
            return


def nap(controller: Controller, until: float, clock: Clock) -> None:
    """Sleep as ``run`` does, for one controller: until ``until``, or until it has a request."""
    _nap([_Seat(controller)], until, clock)
