"""Which instances run next: a bounded first-in-first-out queue that counts instances, not requests.

Pure: time is passed in. The batch is work-conserving: with a delay of 0 a free engine takes what is there; batches
fill up by themselves while it is busy. A request larger than a batch is run in several.

Left out: priorities, ragged batches, and batching by key. One model with one input shape needs none of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Ticket(Generic[T]):
    """One request's place in the queue.

    Args:
        instances: what to run.
        arrived: when it was offered, seconds.
        deadline: when it is too late to run it, seconds.
        waiting: instances not taken yet.
    """

    instances: list[T]
    arrived: float
    deadline: float
    waiting: int = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = len(self.instances)


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One instance of a request: ``ticket.instances[index]``."""

    ticket: Ticket[T]
    index: int


class BatchQueue(Generic[T]):
    """The queue and its rules.

    Args:
        max_batch: instances in a batch.
        max_delay: seconds that the oldest instance may wait for a fuller batch.
        bound: instances that may wait.
    """

    def __init__(self, *, max_batch: int, max_delay: float, bound: int) -> None:
        self.max_batch, self.max_delay, self.bound = max_batch, max_delay, bound
        self._tickets: deque[Ticket[T]] = deque()
        self._depth = 0

    @property
    def depth(self) -> int:
        """Instances that wait."""
        return self._depth

    def offer(self, ticket: Ticket[T]) -> bool:
        """Take a request in, whole; False if it does not fit."""
        if self._depth + len(ticket.instances) > self.bound:
            return False
        self._tickets.append(ticket)
        self._depth += ticket.waiting
        return True

    def cancel(self, ticket: Ticket[T]) -> bool:
        """Forget what of a request still waits; False if nothing did."""
        if not ticket.waiting or ticket not in self._tickets:
            return False
        self._tickets.remove(ticket)
        self._depth -= ticket.waiting
        ticket.waiting = 0
        return True

    def expire(self, now: float) -> list[Ticket[T]]:
        """Forget the requests whose deadline has passed, and name them."""
        late = [ticket for ticket in self._tickets if ticket.deadline <= now]
        for ticket in late:
            self.cancel(ticket)
        return late

    def due(self, now: float) -> float | None:
        """Seconds until a batch should be taken: 0 now, None while nothing waits."""
        if not self._tickets:
            return None
        if self._depth >= self.max_batch:
            return 0.0
        return max(0.0, self._tickets[0].arrived + self.max_delay - now)

    def take(self) -> list[Item[T]]:
        """The next batch: the oldest instances, at most ``max_batch`` of them."""
        batch: list[Item[T]] = []
        while self._tickets and len(batch) < self.max_batch:
            ticket = self._tickets[0]
            first = len(ticket.instances) - ticket.waiting
            count = min(ticket.waiting, self.max_batch - len(batch))
            batch.extend(Item(ticket, first + i) for i in range(count))
            ticket.waiting -= count
            self._depth -= count
            if not ticket.waiting:
                self._tickets.popleft()
        return batch
