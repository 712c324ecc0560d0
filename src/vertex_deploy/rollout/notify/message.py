"""What is told of a rollout, and in which form. Pure.

The body of a webhook and of a Pub/Sub message is one JSON object::

    {"version": 1, "id": "ROLLOUT/SEQ", "event": "gate_failed", "kind": "transition", "failure": true,
     "at": RFC 3339, "rollout": ..., "name": ..., "phase": ..., "ending": ..., "endpoint": ..., "model": ...,
     "split": {DEPLOYED_MODEL_ID: PERCENT}, "text": ...}

``id`` is the same when a message comes twice. Left out: measurements, which are read from the report, and secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vertex_deploy.rollout.machine import Event

if TYPE_CHECKING:
    from vertex_deploy.rollout.record import LogEntry, Record

FORMAT = 1
_SECONDS = re.compile(r"[0-9]{1,12}")
SIGNATURE = "X-Vertex-Deploy-Signature"
TIMESTAMP = "X-Vertex-Deploy-Timestamp"
FAILURES = frozenset(
    {
        Event.REFUSED,
        Event.ENDPOINT_FAILED,
        Event.UPLOAD_FAILED,
        Event.DEPLOY_FAILED,
        Event.GATE_FAILED,
        Event.ALERT_FIRED,
        Event.INCONCLUSIVE,
        Event.PAUSE,
        Event.ABORT,
        Event.ROLL_BACK,
        Event.CANARY_GONE,
        Event.GROUP_FELL,
        Event.STABLE_GONE,
        Event.ENDPOINT_GONE,
    }
)
"""Events that went wrong, or that somebody stopped."""


def message_of(entry: LogEntry, record: Record) -> dict[str, Any] | None:
    """What is told of a history entry, or None: measurements and progress of operations are not news."""
    event = str(entry.data.get("event", entry.kind))
    operation_failed = entry.kind == "operation" and bool(entry.data.get("error"))
    if entry.kind not in {"transition", "warning"} and not operation_failed:
        return None
    return {
        "version": FORMAT,
        "id": f"{record.id}/{entry.seq}",
        "event": event,
        "kind": entry.kind,
        "failure": operation_failed or entry.kind == "warning" or event in FAILURES,
        "at": datetime.fromtimestamp(entry.at, UTC).isoformat(),
        "rollout": record.id,
        "name": record.name,
        "phase": str(record.phase),
        "ending": str(record.ending) if record.over and record.ending else None,
        "endpoint": record.endpoint,
        "model": record.model,
        "split": dict(record.split),
        "text": entry.text,
    }


def body_of(message: dict[str, Any]) -> bytes:
    """The bytes that are sent, and signed."""
    return json.dumps(message, sort_keys=True, separators=(",", ":")).encode()


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=HEX`` of HMAC-SHA256 over ``TIMESTAMP.BODY``: the time is signed, so an old request cannot be replayed.

    Args:
        key: shared with the receiver.
        timestamp: seconds since the epoch, as in the header.
        body: as sent.
    """
    return f"sha256={hmac.new(key, timestamp.encode(errors='replace') + b'.' + body, hashlib.sha256).hexdigest()}"


def verified(key: bytes, timestamp: str, body: bytes, given: str, *, now: float, tolerance: float = 300.0) -> bool:
    """What a receiver checks: the signature, in constant time, and that the request is of the last minutes.

    Args:
        key: shared with the sender.
        timestamp: header ``X-Vertex-Deploy-Timestamp``.
        body: as received.
        given: header ``X-Vertex-Deploy-Signature``.
        now: seconds since the epoch.
        tolerance: seconds that a request may be old, or ahead.
    """
    # Both headers are anybody's: neither letters beyond ASCII nor a number of a thousand digits may raise.
    fresh = _SECONDS.fullmatch(timestamp) is not None and abs(now - int(timestamp)) <= tolerance
    wanted = signature(key, timestamp, body)
    return hmac.compare_digest(wanted.encode(), given.encode(errors="replace")) and fresh


def slack_of(message: dict[str, Any]) -> dict[str, str]:
    """The payload of Slack's incoming webhooks (also Mattermost's and others'): one line of text."""
    icon = ":rotating_light:" if message["failure"] else ":white_check_mark:" if message["ending"] else ":ship:"
    split = ", ".join(f"{key}: {value}%" for key, value in message["split"].items())
    where = message["ending"] or message["phase"]
    line = f"{icon} *{message['name']}* {where}: {message['text']}" + (f" ({split})" if split else "")
    # Slack reads these three as markup: https://api.slack.com/reference/surfaces/formatting#escaping
    return {"text": line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
