"""Where Cloud Monitoring is: Google's own address, another one over TLS, or plaintext to this machine. Pure."""

from __future__ import annotations

import ipaddress

from serving.errors import ConfigError

VARIABLE = "SERVING_MONITORING_ENDPOINT"
DEFAULT = "monitoring.googleapis.com"


def parse_address(value: str) -> tuple[str, bool]:
    """``host[:port]`` as gRPC takes it, and whether it is plaintext.

    Args:
        value: what ``SERVING_MONITORING_ENDPOINT`` holds; "" is Google's own address.

    Raises:
        ConfigError: plaintext to another machine, or no address.
    """
    text = value.strip() or DEFAULT
    plaintext = text.startswith("http://")
    target = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    # A user before the host (127.0.0.1:1@elsewhere) would make another host look like this machine.
    if not target or set(target) & set("/@") or any(c.isspace() for c in target):
        raise ConfigError(f"{VARIABLE}={value!r} is not an address; write host:port, or http://127.0.0.1:PORT")
    if plaintext and not _is_loopback(target):
        raise ConfigError(
            f"{VARIABLE}={value}: plaintext is allowed to this machine only (127.0.0.1, ::1, localhost); "
            f"for TLS write {target}"
        )
    return target, plaintext


def _is_loopback(target: str) -> bool:
    host = target[1:].partition("]")[0] if target.startswith("[") else target.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
