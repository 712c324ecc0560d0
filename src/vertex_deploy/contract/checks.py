"""The rules, as a table: each entry says what to send and judges what came back. The judges do no I/O.

Facts and limits: "Custom container requirements for inference" (health: a GET must give exactly 200 within 10 s;
predict: POST `{"instances": [...], "parameters": ...}`, answered by `{"predictions": [...]}`; at most 1.5 MB each way
on a shared endpoint, 10 MB on dedicated, PSC and PSA ones). Left out: liveness (TCP: every check connects) and gRPC.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertex_deploy.contract.report import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.contract.client import Reply
    from vertex_deploy.contract.sample import Routes, Sample

HEALTH_LIMIT_S = 10.0
SHARED_LIMIT_BYTES = 1_500_000
LARGEST_LIMIT_BYTES = 10_000_000  # no endpoint type lets a larger body through
OK = 200
JSON = "application/json"


@dataclass(frozen=True)
class Ask:
    """One request; `content_type` empty sends none."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""


@dataclass(frozen=True)
class Check:
    """One rule.

    Args:
        name: short, stable: scripts may name it.
        level: must or should.
        rule: the sentence.
        ask: builds the request; returns instead, as a string, why the check cannot be made with this sample.
        judge: says what is wrong with the answer; None if nothing.
    """

    name: str
    level: Level
    rule: str
    ask: Callable[[Routes, Sample], Ask | str]
    judge: Callable[[Reply, Sample], str | None]


# --- what to send


def _health(routes: Routes, _: Sample) -> Ask:
    return Ask("GET", routes.health)


def _predict(copies: int) -> Callable[[Routes, Sample], Ask | str]:
    def ask(routes: Routes, sample: Sample) -> Ask | str:
        if not sample.instances:
            return "no sample request was given"
        return Ask("POST", routes.predict, sample.body(copies), JSON)

    return ask


def _empty_parameters(routes: Routes, sample: Sample) -> Ask | str:
    if not sample.instances:
        return "no sample request was given"
    return Ask("POST", routes.predict, json.dumps({"instances": sample.instances, "parameters": {}}).encode(), JSON)


def _raw(routes: Routes, sample: Sample) -> Ask | str:
    if not sample.raw:
        return "no sample body for rawPredict was given"
    return Ask("POST", routes.predict, sample.raw, sample.raw_content_type)


def _post(body: bytes) -> Callable[[Routes, Sample], Ask]:
    return lambda routes, _: Ask("POST", routes.predict, body, JSON)


def _too_large(routes: Routes, _: Sample) -> Ask:
    return Ask("POST", routes.predict, b'{"instances": ["' + b"x" * LARGEST_LIMIT_BYTES + b'"]}', JSON)


def _unknown_path(_: Routes, __: Sample) -> Ask:
    return Ask("GET", "/vertex-deploy-contract/no-such-path")


def _get_predict(routes: Routes, _: Sample) -> Ask:
    return Ask("GET", routes.predict)


# --- what came back


def judge_health(reply: Reply, _: Sample) -> str | None:
    """Exactly 200: Vertex AI takes neither 204 nor a redirect for healthy."""
    if reply.status != OK:
        return str(reply)
    return None if reply.seconds <= HEALTH_LIMIT_S else f"200 after {reply.seconds:.1f} s"


def _predictions(reply: Reply) -> list[Any] | str:
    """Return the predictions, or what is wrong with the answer."""
    if reply.status != OK:
        return str(reply)
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return f"a body that is not JSON: {reply}"
    found = answer.get("predictions") if isinstance(answer, dict) else None
    return found if isinstance(found, list) else f"no list `predictions`: {reply}"


def judge_predict(copies: int) -> Callable[[Reply, Sample], str | None]:
    """Return a judge of predict answers: one prediction an instance, within the smallest limit on size."""

    def judge(reply: Reply, sample: Sample) -> str | None:
        found = _predictions(reply)
        if isinstance(found, str):
            return found
        expected = len(sample.instances) * copies
        if len(found) != expected:
            return f"{len(found)} predictions for {expected} instances"
        size = len(reply.body)
        return (
            None
            if size <= SHARED_LIMIT_BYTES
            else f"an answer of {size} bytes; shared endpoints pass {SHARED_LIMIT_BYTES}"
        )

    return judge


def judge_ok(reply: Reply, _: Sample) -> str | None:
    """Any answer with 200."""
    return None if reply.status == OK else str(reply)


def judge_client_error(reply: Reply, _: Sample) -> str | None:
    """4xx."""
    if reply.status is None or not 400 <= reply.status < 500:  # noqa: PLR2004 - the class of client errors
        return str(reply)
    return None


def judge_refused(reply: Reply, sample: Sample) -> str | None:
    """4xx with a body that says why."""
    if (wrong := judge_client_error(reply, sample)) is not None:
        return wrong
    return None if reply.body.strip() else f"{reply.status} without a word on what is wrong"


def judge_turned_away(reply: Reply, sample: Sample) -> str | None:
    """4xx, or a connection closed before everything was sent (whether it still serves is the last check's business)."""
    return None if reply.status is None else judge_client_error(reply, sample)


CHECKS: tuple[Check, ...] = (
    Check("health", Level.MUST, "GET on the health route gives exactly 200 within 10 s", _health, judge_health),
    Check(
        "predict",
        Level.MUST,
        "a request with instances gives 200 and one prediction each",
        _predict(1),
        judge_predict(1),
    ),
    Check(
        "predict-batch",
        Level.MUST,
        "instances are answered in one list, whatever their number",
        _predict(3),
        judge_predict(3),
    ),
    Check("parameters", Level.SHOULD, "an empty `parameters` changes nothing", _empty_parameters, judge_predict(1)),
    Check("raw-predict", Level.SHOULD, "the predict route takes rawPredict bodies too", _raw, judge_ok),
    Check(
        "bad-json", Level.SHOULD, "malformed JSON is the client's error (4xx)", _post(b'{"instances": ['), judge_refused
    ),
    Check("empty-body", Level.SHOULD, "an empty body is the client's error (4xx)", _post(b""), judge_refused),
    Check(
        "not-an-object",
        Level.SHOULD,
        "JSON that is not an object is the client's error (4xx)",
        _post(b"[1]"),
        judge_refused,
    ),
    Check(
        "no-instances",
        Level.SHOULD,
        "a request without instances is the client's error (4xx)",
        _post(b"{}"),
        judge_refused,
    ),
    Check(
        "instances-not-a-list",
        Level.SHOULD,
        "instances that are no list are the client's error (4xx)",
        _post(b'{"instances": 1}'),
        judge_refused,
    ),
    Check(
        "wrong-encoding",
        Level.SHOULD,
        "a body that is not UTF-8 is the client's error (4xx)",
        _post(b'{"\xff'),
        judge_refused,
    ),
    Check(
        "nested-json",
        Level.SHOULD,
        "JSON nested a hundred thousand deep is the client's error (4xx)",
        _post(b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        judge_refused,
    ),
    Check(
        "too-large",
        Level.SHOULD,
        "a body larger than any endpoint passes on is turned away, not a 5xx",
        _too_large,
        judge_turned_away,
    ),
    Check(
        "unknown-path",
        Level.SHOULD,
        "a path that is neither route is not found (4xx)",
        _unknown_path,
        judge_client_error,
    ),
    Check(
        "wrong-method",
        Level.SHOULD,
        "GET on the predict route is the client's error (4xx)",
        _get_predict,
        judge_client_error,
    ),
    Check("healthy-after", Level.MUST, "none of the above made it unhealthy", _health, judge_health),
)
"""In this order: health first, since nothing else is meaningful without it, and health again at the end."""
