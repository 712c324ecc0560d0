"""Who may write: one controller at a time, by a lease that expires, or ends with its process.

A process is told by machine, pid and start time, so that what was killed keeps nobody waiting. Left out: where the
lease is kept, and taking it over (``store``).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

LEASE_SECONDS = 60.0
"""How long a lease lasts without being renewed. Clocks of machines that share a store should agree within a third of
it; if they do not, a lease is taken over early, and the record's generation still lets only one controller commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may write.

    Args:
        host: the machine's name and a digest of where the pid counts; see ``_here``.
        pid: process id.
        born: start time of that process in clock ticks since boot, so that a reused pid is told apart; 0 if unknown.
        token: differs for every acquisition.
        expires: seconds since the epoch.
    """

    host: str
    pid: int
    born: int
    token: str
    expires: float


def this_process(now: float) -> Lease:
    """A new lease for this process."""
    pid = os.getpid()
    return Lease(host=_here(), pid=pid, born=_born(pid), token=secrets.token_hex(8), expires=now + LEASE_SECONDS)


def is_dead(lease: Lease) -> bool:
    """Whether its process certainly is no more: only a process of this machine can be known to be dead."""
    if lease.host != _here():
        return False
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return lease.born != 0 and _born(lease.pid) != lease.born


def _here() -> str:
    """Where a pid of ours means something: the machine's name, its boot and the pid namespace.

    The name alone is not enough: every execution of a Cloud Run job is pid 1 of a machine called localhost, and a
    container on the host's network has the host's name and other pids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
        space = f"{boot}{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        space = secrets.token_hex(8) if Path("/proc").exists() else ""  # sandboxed: nobody's death can be told
    return f"{socket.gethostname()}/{hashlib.sha256(space.encode()).hexdigest()[:8]}"


def _born(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); 0 where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
