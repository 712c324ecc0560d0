"""How slow this machine is at the moment, for tests of figures in seconds: their limits are of an idle one's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORK_SECONDS = 0.12
"""What the work below takes on a machine of the kind that such limits were set on."""


def slower(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as long as there work takes here now; at least 1.

    Args:
        clock: ``time.process_time`` leaves out what other processes take.
    """
    begun = clock()
    sum(number for number in range(5_000_000))
    return max(1.0, (clock() - begun) / WORK_SECONDS)
