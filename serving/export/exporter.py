"""The background exporter: ``record`` adds to counters in memory, a thread writes them out every period.

A write that failed and may have happened is tried again at the next period with the same timestamp: Cloud Monitoring
refuses a second point at one time, so nothing is counted twice. Meanwhile requests are counted into the next point.
Memory is bounded: one distribution a metric that fills, and one point a metric that waits.

Left out: writing to disk. What an outage longer than the process keeps from being written is lost, and said so.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, get_args

from serving.engines.base import Stage
from serving.errors import ServingError
from serving.export.distribution import Distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serving.export.distribution import Snapshot

log = logging.getLogger(__name__)

TOTAL = "total_inference_ms"
METRICS = (*(f"{stage}_ms" for stage in get_args(Stage)), TOTAL)
"""Names of all that is written: one for each stage, and the whole request."""

MIN_SPACING_S = 5.0
"""Cloud Monitoring takes one point of a series every 5 s ("Quotas and limits", user-defined metrics)."""
WRITE_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 3.0
_LOG_EVERY_S = 60.0
_LOST = "points of one period are lost"


class ExportFailed(ServingError):  # noqa: N818 - named for what happened
    """A write failed; the message is one line.

    Args:
        message: what failed and the fix.
        again: whether the same write may succeed later, or may even have happened.
    """

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of one metric.

    Args:
        metric: one of ``METRICS``.
        end: seconds since the epoch, whole milliseconds.
        values: what was recorded since the point before.
    """

    metric: str
    end: float
    values: Snapshot


class Sink(Protocol):
    """Where points go; used from one thread."""

    def connect(self) -> None:
        """Get ready to write; may take seconds, and may be called again.

        Raises:
            ExportFailed: it cannot.
        """
        ...

    def write(self, samples: Sequence[Sample], *, timeout: float) -> None:
        """Write points, each of another metric, all at once.

        Args:
            samples: at least one.
            timeout: seconds.

        Raises:
            ExportFailed: not all of them were written, as far as is known.
        """
        ...


class Exporter:
    """Records durations and writes them out from a thread.

    Args:
        sink: where they go.
        period: seconds between writes, at least ``MIN_SPACING_S``.
        clock: seconds since the epoch.
        monotonic: seconds, for how often errors are logged.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        period: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink, self._period, self._clock, self._monotonic = sink, period, clock, monotonic
        self._lock = threading.Lock()  # held for microseconds, never during a write
        self._filling = _empty()
        self._waiting: list[Sample] = []
        self._last_end = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-export", daemon=True)
        self._logged = float("-inf")
        self._silent = 0

    def start(self) -> None:
        """Connect and begin to write, in the thread."""
        self._thread.start()

    def request(self, seconds: float) -> None:
        """A request was answered with predictions, so long after its head arrived. No I/O."""
        with self._lock:
            self._filling[TOTAL].add(1000 * seconds)

    def stages(self, seconds: Mapping[Stage, float]) -> None:
        """A request's time in each stage that its engine measured. No I/O."""
        with self._lock:
            for stage, value in seconds.items():
                self._filling[f"{stage}_ms"].add(1000 * value)

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> None:
        """Write what is left and end the thread; blocks for ``timeout`` seconds at most."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning("the last metrics were not written within %g s", timeout)

    def flush(self, timeout: float = WRITE_TIMEOUT_S) -> None:
        """Write what an earlier failure left, then what was recorded since. Called by one thread.

        Args:
            timeout: seconds for each call.
        """
        if self._waiting and not self._send(timeout, resent=True):
            return
        self._waiting = self._take()
        if self._waiting:
            self._send(timeout, resent=False)

    def _send(self, timeout: float, *, resent: bool) -> bool:
        """Write the points that wait; whether none wait any more, be they written or given up."""
        try:
            self._sink.connect()
            self._sink.write(self._waiting, timeout=timeout)
        except ExportFailed as error:
            if error.again:
                self._complain(str(error), "will be tried again")
                return False
            # Refused at the second try: the first may have taken effect, as a point is taken once.
            self._complain(str(error), "points are lost unless the first try had written them" if resent else _LOST)
        except Exception as error:  # noqa: BLE001 - whatever a client library raises, the thread must go on
            self._complain(f"{type(error).__name__}: {error}", _LOST)
        self._waiting = []
        return True

    def _take(self) -> list[Sample]:
        """What was recorded since the last call, as points of one time."""
        fresh = _empty()
        with self._lock:
            filled, self._filling = self._filling, fresh
        found = [(metric, values) for metric in METRICS if (values := filled[metric].snapshot()) is not None]
        if found:
            # The last point of a server that drains may come too early; the API allows times of the near future.
            self._last_end = max(round(self._clock(), 3), self._last_end + MIN_SPACING_S)
        return [Sample(metric, self._last_end, values) for metric, values in found]

    def _run(self) -> None:
        try:
            self._sink.connect()  # while the model loads: importing the client holds the interpreter for a second
        except ExportFailed as error:
            self._complain(str(error), "will be tried again")
        except Exception as error:  # noqa: BLE001 - tried again with the first points
            self._complain(f"{type(error).__name__}: {error}", "will be tried again")
        while not self._stop.wait(self._period):
            self.flush()
        self.flush(CLOSE_TIMEOUT_S)

    def _complain(self, reason: str, outcome: str) -> None:
        """Log a failure, at most once a minute."""
        now = self._monotonic()
        if now - self._logged < _LOG_EVERY_S:
            self._silent += 1
            return
        more = f" ({self._silent} more failures since the last line)" if self._silent else ""
        self._logged, self._silent = now, 0
        log.error("metrics were not written: %s; %s%s", " ".join(reason.split()), outcome, more)


def _empty() -> dict[str, Distribution]:
    return {metric: Distribution() for metric in METRICS}
