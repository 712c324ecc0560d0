"""A port for a server that a test starts in another process, and that cannot be asked to take any free one."""

from __future__ import annotations

import random
import socket
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""What the kernel gives to whoever asks for any port, and to each connection that is made."""


def free_port() -> int:
    """A loopback port that nobody has, below those that the kernel gives out: nobody gets it meanwhile by chance."""
    lowest = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32768
    below = range(max(1024, lowest - 12_000), lowest)
    for port in [*random.sample(below, k=min(100, len(below))), 0]:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(found.getsockname()[1])
    raise AssertionError("no port is free")
