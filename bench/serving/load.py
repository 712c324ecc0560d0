"""A closed-loop HTTP load generator on asyncio streams: as little of its own as possible, since it shares the cores."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True, slots=True)
class Result:
    """What one run gave.

    Args:
        connections: at once, each with one request in flight.
        requests: answered with 200 in the measured time.
        errors: answered with anything else.
        seconds: measured.
        p50_ms: median latency.
        p99_ms: 99th percentile.
        max_ms: the slowest.
    """

    connections: int
    requests: int
    errors: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def run(port: int, request: bytes, *, connections: int, seconds: float, warmup: float = 1.0) -> Result:
    """Load a server on loopback.

    Args:
        port: of the server.
        request: a whole HTTP/1.1 request.
        connections: at once.
        seconds: to measure.
        warmup: seconds before that.
    """
    begin = time.perf_counter() + warmup
    end = begin + seconds
    latencies: list[float] = []
    errors = 0

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (started := time.perf_counter()) < end:
            status = await _ask(reader, writer, request)
            done = time.perf_counter()
            if begin <= done <= end:
                if status == 200:  # noqa: PLR2004 - OK
                    latencies.append(1000 * (done - started))
                else:
                    errors += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [0.0] * 99
    return Result(
        connections=connections,
        requests=len(latencies),
        errors=errors,
        seconds=seconds,
        per_second=len(latencies) / seconds,
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        max_ms=max(latencies, default=0.0),
    )
