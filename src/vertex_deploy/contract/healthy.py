"""Wait for a container to become healthy, as Vertex AI's startup probe does. Left out: starting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.contract.client import Server
    from vertex_deploy.contract.sample import Routes

PERIOD = 2.0
"""Seconds between two probes."""
OK = 200


def wait_healthy(server: Server, routes: Routes, *, seconds: float, sleep: Callable[[float], None]) -> float:
    """Probe the health route until it answers 200.

    Args:
        server: the container.
        routes: its paths.
        seconds: how long it may take.
        sleep: waits some seconds.

    Returns:
        Seconds that were waited.

    Raises:
        ContractError: it was not healthy in time.
    """
    waited = 0.0
    while (reply := server.ask("GET", routes.health)).status != OK:
        if waited >= seconds:
            last = f"answered {reply.status}" if reply.status else "did not answer"
            raise ContractError(f"GET {routes.health} {last} after {waited:g}s; look at the container's log")
        sleep(PERIOD)
        waited += PERIOD
    return waited
