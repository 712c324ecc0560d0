"""``python -m bench.serving [--artifact DIR] [--engine aoti|eager] [--seconds S] [--json FILE]``.

Starts our server with EfficientNet-Lite0 (built here unless an artifact is named) and one of scikit-image's photographs
as the request's body. The load generator runs on the same cores: read the figures as ratios. Left out: other servers.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

import psutil
import skimage.data
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.serving.load import run

_READY_S = 300.0


def request() -> bytes:
    """A JPEG of Chelsea the cat, as a rawPredict body."""
    out = io.BytesIO()
    photo = skimage.data.chelsea()  # type: ignore[no-untyped-call]
    Image.fromarray(photo).save(out, "JPEG", quality=90)
    body = out.getvalue()
    head = f"POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def start(artifact: Path, log: Path) -> tuple[subprocess.Popen[bytes], int, float]:
    """A server, its port, and the seconds until it was healthy."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("AIP_", "SERVING_"))}
    environ = {**keep, "AIP_STORAGE_URI": str(artifact), "AIP_HTTP_PORT": "0"}
    began = time.perf_counter()
    with log.open("wb") as out:
        server = subprocess.Popen([sys.executable, "-m", "serving"], stdout=out, env=environ)
    while time.perf_counter() - began < _READY_S and server.poll() is None:
        found = re.search(r"listening on [^:]+:(\d+)", log.read_text())
        if found:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health"):
                    return server, int(found[1]), time.perf_counter() - began
            except urllib.error.HTTPError:
                pass  # 503: loading
        time.sleep(0.02)
    server.kill()
    server.wait()
    sys.exit("the server did not get healthy")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving")
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--engine", default="aoti", choices=["aoti", "eager"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--json", type=Path, help="write the result here too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = args.artifact
        if artifact is None:
            artifact = Path(folder) / "artifact"
            build = [
                "-m",
                "serving.build",
                "--arch",
                "efficientnet-lite0",
                "--engine",
                args.engine,
                "--out",
                str(artifact),
            ]
            subprocess.run([sys.executable, *build], check=True)  # noqa: S603 - our own module
        server, port, ready = start(artifact, Path(folder) / "log")
        try:
            results = [asyncio.run(run(port, request(), connections=n, seconds=args.seconds)) for n in args.connections]
            processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
            memory = sum(p.memory_info().rss for p in processes)
        finally:
            server.terminate()
            server.wait()
    report = {
        "benchmark": "serving",
        "engine": json.loads((artifact / "manifest.json").read_text())["engine"] if args.artifact else args.engine,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.machine(),
        "load_average_before": os.getloadavg()[1],
        "ready_seconds": round(ready, 2),
        "memory_mb": round(memory / 1e6),
        "results": [asdict(r) for r in results],
    }
    table = Table("connections", "req/s", "p50 ms", "p99 ms", "max ms", "errors", title=f"serving, {report['engine']}")
    for r in results:
        table.add_row(
            str(r.connections),
            f"{r.per_second:.1f}",
            f"{r.p50_ms:.1f}",
            f"{r.p99_ms:.1f}",
            f"{r.max_ms:.1f}",
            str(r.errors),
        )
    Console(stderr=True).print(table)
    text = json.dumps(report, indent=2)
    print(text)  # noqa: T201 - a command
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
