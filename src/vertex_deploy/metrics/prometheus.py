"""Custom metrics from Prometheus, or whatever speaks its HTTP API (Thanos, Mimir, Managed Service for Prometheus).

The gate's expression is evaluated with query_range at the very ends of the intervals that are judged, once a version.
It must give one series: its value at an interval's end counts as that interval's mean. What an expression averages over
is its own business, but a window longer than the interval would weigh the same minutes again and again, and is refused:
the judge's bets are fair only if each observation is new.

What comes back is one number or it is no measurement. No series, NaN and infinities are "not measured"; several series,
histograms, warnings (partial data), HTTP errors, time-outs and oversized bodies are errors that name the fix. Nothing
is tried again here: the next poll does, and ``gauges`` holds intervals back meanwhile.

Sources: https://prometheus.io/docs/prometheus/latest/querying/api/ (form, errors, warnings, at most 11,000 points a
series) and https://cloud.google.com/stackdriver/docs/managed-prometheus/query-api-ui (address, credentials).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vertex_deploy import gcp, rest
from vertex_deploy.errors import CloudError, RolloutError, one_line
from vertex_deploy.metrics.gauges import GaugePoint
from vertex_deploy.secrets import resolve
from vertex_deploy.spec import promql
from vertex_deploy.spec.watching import MANAGED_PROMETHEUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.metrics.types import Interval

LAG = 60.0
"""Seconds after which a scraped value is not expected any more: a scrape that failed is never made up for, but a remote
store (Managed Service for Prometheus) takes some seconds to show what it was sent."""
TIMEOUT = 10.0
"""Seconds for one answer as a whole."""
LARGEST = 4 * 1024 * 1024
"""Bytes of an answer; 10,000 points of one series are about 300 kB."""
MOST_POINTS = 10_000
_JITTER = 0.05
"""Share of an interval by which its end may lie off the grid of a query; as in ``rollout.judge.intake``."""
_STRANGE = "the answer is not that of Prometheus' HTTP API; check monitoring.prometheus.url"
_OK = 200
_CHUNK = 65536
# What Prometheus itself answers beside: no such API, and a query that cannot be executed.
_CODES = {**rest.CODES, 405: "NOT_FOUND", 422: "INVALID_ARGUMENT"}
_LOGIN = "check monitoring.prometheus.token; Managed Service for Prometheus needs roles/monitoring.viewer and no token"
_FIXES = {
    "INVALID_ARGUMENT": "correct the gate's query",
    "UNAUTHENTICATED": _LOGIN,
    "PERMISSION_DENIED": _LOGIN,
    "NOT_FOUND": "check monitoring.prometheus.url: no Prometheus API is there",
    "RESOURCE_EXHAUSTED": "the next poll asks again",
    "INTERNAL": "the next poll asks again",
    "UNAVAILABLE": "check that it runs and can be reached; the next poll asks again",
    "DEADLINE_EXCEEDED": "make the query cheaper, with a recording rule; the next poll asks again",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Consecutive intervals whose ends a single range query hits.

    Args:
        start: end of the first, seconds since the epoch.
        step: seconds between two ends, which is also how long each interval is.
        intervals: position on the grid (0 is ``start``) -> the interval; positions may be missing.
    """

    start: float
    step: float
    intervals: Mapping[int, Interval]


def grids(intervals: Sequence[Interval]) -> list[Grid]:
    """Group intervals so that as few queries as possible evaluate at their ends. Pure.

    An interval whose end drifts off the grid by more than a twentieth of its length begins a new one.
    """
    found: list[tuple[float, float, dict[int, Interval]]] = []
    for interval in intervals:
        end = interval.end.timestamp()
        if found:
            start, step, held = found[-1]
            index = round((end - start) / step)
            near = abs(start + index * step - end) <= _JITTER * step
            if interval.seconds == step and near and index not in held and index < MOST_POINTS:
                held[index] = interval
                continue
        found.append((end, interval.seconds, {0: interval}))
    return [Grid(start, step, held) for start, step, held in found]


class PrometheusGauge:
    """A ``Gauge`` over ``query_range``.

    Args:
        name: the gate's metric.
        query: expression of the spec, with its placeholders.
        server: who is asked.
    """

    lag = LAG

    def __init__(self, *, name: str, query: str, server: PrometheusServer) -> None:
        self.name = name
        self._query = query
        self._server = server

    def points(self, ids: Sequence[str], intervals: Sequence[Interval]) -> list[GaugePoint]:
        """See ``Gauge``; the value at an interval's end is the interval's."""
        window, found = promql.longest_window(self._query), []
        for grid in grids(intervals):
            if window > grid.step * (1 + _JITTER):
                raise CloudError(
                    f"the query looks back {window:g} s and an interval is {grid.step:g} s, so the same time would be "
                    f"weighed more than once; write [{promql.INTERVAL}]",
                    code="INVALID_ARGUMENT",
                )
            for deployed_id in ids:
                text = promql.fill(self._query, deployed_model_id=deployed_id, seconds=grid.step)
                for at, value in self._server.query_range(
                    text, start=grid.start, step=grid.step, count=max(grid.intervals) + 1
                ):
                    interval = grid.intervals.get(round((at - grid.start) / grid.step))
                    if interval is not None and isfinite(value):
                        end = interval.end.timestamp()
                        found.append(GaugePoint(deployed_id=deployed_id, name=self.name, end=end, value=value))
        return found


class PrometheusServer:
    """One Prometheus.

    Args:
        url: of the spec, below which ``/api/v1`` lies; https, or http to loopback.
        token: reference to a bearer token, or None: Google's credentials for Managed Service for Prometheus, none for
            any other host.
        session: a ``requests.Session``; made at the first query where absent.
        secret: resolves references.
        timeout: seconds for one answer as a whole.
        now: a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        session: Any = None,
        secret: Callable[..., str] = resolve,
        timeout: float = TIMEOUT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query_range"
        self._token = token
        self._session = session
        self._secret = secret
        self._timeout = timeout
        self._now = now

    def query_range(self, query: str, *, start: float, step: float, count: int) -> list[tuple[float, float]]:
        """The values of an expression that gives one series.

        Args:
            query: PromQL.
            start: of the first evaluation, seconds since the epoch.
            step: seconds between two.
            count: of evaluations.

        Returns:
            (seconds since the epoch, value) of those at which there is one, NaN and infinities included.

        Raises:
            CloudError: not answered, refused, partial, or not one series of numbers.
        """
        form = {
            "query": query,
            "start": f"{start:.3f}",
            "end": f"{start + step * (count - 1) + step / 10:.3f}",
            "step": f"{step:.3f}",
            "timeout": f"{self._timeout:g}s",
        }
        status, body = self._post(form)
        if status != _OK:
            raise self._error(_CODES.get(status, "UNKNOWN"), f"HTTP {status}: {_said(body)}")
        try:
            return values_of(body)
        except ValueError as error:
            raise self._error("INVALID_ARGUMENT", str(error), fix="") from error

    def _post(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            self._session = self._connected()
        end = self._now() + self._timeout
        try:
            answer = self._session.post(
                self._url,
                data=dict(form),
                headers={"Accept-Encoding": "identity"},
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            with answer:
                return answer.status_code, self._body(answer, end)
        except OSError as error:  # what requests raises is an OSError
            late = type(error).__name__ in {"Timeout", "ReadTimeout", "ConnectTimeout"}
            raise self._error("DEADLINE_EXCEEDED" if late else "UNAVAILABLE", one_line(error)) from error
        except Exception as error:
            from google.auth import exceptions  # noqa: PLC0415 - heavy: only when a call is made

            if not isinstance(error, exceptions.GoogleAuthError):
                raise
            raise self._error("UNAUTHENTICATED", one_line(error)) from error

    def _body(self, answer: Any, end: float) -> bytes:
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK):
            body += chunk
            if len(body) > LARGEST:
                raise self._error("INVALID_ARGUMENT", f"the answer is larger than {LARGEST} bytes")
            if self._now() > end:
                raise self._error("DEADLINE_EXCEEDED", f"no whole answer in {self._timeout:g} s")
        return bytes(body)

    def _connected(self) -> Any:
        """A session with the right credentials, and with no others: none of a .netrc, none for another host."""
        import requests  # noqa: PLC0415 - only when a call is made; comes with google-auth's transport

        parts = urlsplit(self._url)
        if parts.hostname == MANAGED_PROMETHEUS and gcp.monitoring_address().plaintext:
            raise self._error(
                "INVALID_ARGUMENT",
                f"{gcp.MONITORING_VARIABLE} points at this machine, which has no PromQL",
                fix="give this environment a monitoring.prometheus.url of its own",
            )
        if parts.hostname == MANAGED_PROMETHEUS and self._token is None:
            return rest.session(gcp.Address(MANAGED_PROMETHEUS, plaintext=False))
        session = requests.Session()
        # Loopback is never behind a proxy.
        session.trust_env = parts.scheme == "https"
        session.auth = _Bearer(self._read_token() if self._token else "")
        return session

    def _read_token(self) -> str:
        try:
            return self._secret(self._token, where="monitoring.prometheus.token")
        except RolloutError as error:
            raise CloudError(str(error), code="UNAUTHENTICATED") from error

    def _error(self, code: str, message: str, *, fix: str | None = None) -> CloudError:
        fix = _FIXES.get(code, "") if fix is None else fix
        text = f"POST {self._url}: {message}" + (f"; {fix}" if fix else "")
        return CloudError(text, code=code, transient=code in gcp.TRANSIENT)


@dataclass(frozen=True, slots=True)
class _Bearer:
    """What requests calls to authorize; keeps it from looking into a .netrc."""

    token: str

    def __call__(self, request: Any) -> Any:
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def values_of(body: bytes) -> list[tuple[float, float]]:
    """The values of a range query's answer. Pure.

    Raises:
        ValueError: not the API's JSON, not success, partial, or not one series of numbers; one line with the fix.
    """
    try:
        answer = json.loads(body)
        if answer["status"] != "success":
            raise ValueError(f"{answer.get('errorType', 'error')}: {one_line(answer.get('error', ''))[:200]}")
        if answer.get("warnings"):
            raise ValueError(
                f"the answer may be partial ({one_line(answer['warnings'][0])[:200]}), and a part is no evidence"
            )
        data = answer["data"]
        if data["resultType"] != "matrix":
            raise ValueError(f"the answer is a {data['resultType']}, not a matrix; this is no query_range")
        series = list(data["result"])
        if len(series) > 1:
            names = ", ".join(_labels(one["metric"]) for one in series[:2])
            raise ValueError(f"{len(series)} series where one is needed ({names}); put sum(...) or avg(...) around it")
        if series and series[0].get("histograms"):
            raise ValueError("native histograms, where numbers are needed; put histogram_avg(...) around it")
        return [_pair(sample) for one in series for sample in one["values"]]
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(_STRANGE) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError("the answer is not JSON; check monitoring.prometheus.url") from error


def _pair(sample: Any) -> tuple[float, float]:
    try:
        at, value = sample
        return float(at), float(value)
    except ValueError as error:
        raise ValueError(_STRANGE) from error


def _labels(metric: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{key}="{value}"' for key, value in metric.items()) + "}"


def _said(body: bytes) -> str:
    """An error's own words: of the API's JSON, or the beginning of what a proxy wrote."""
    try:
        return one_line(json.loads(body)["error"])[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return one_line(body[:200].decode(errors="replace")) or "no message"
