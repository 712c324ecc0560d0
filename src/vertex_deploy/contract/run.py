"""Put the checks to a server, one after the other. Left out: deciding anything; `checks.py` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.contract.checks import CHECKS
from vertex_deploy.contract.report import Finding, Outcome, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.contract.checks import Check
    from vertex_deploy.contract.client import Server
    from vertex_deploy.contract.sample import Routes, Sample


def run(
    server: Server,
    routes: Routes,
    sample: Sample,
    *,
    checks: Sequence[Check] = CHECKS,
    progress: Callable[[Finding], None] | None = None,
) -> Report:
    """Ask and judge.

    Args:
        server: the container, running and past its start.
        routes: its two paths.
        sample: an input that it accepts; what is missing leaves checks skipped.
        checks: the rules, in order.
        progress: called with each finding as it is made.

    Returns:
        One finding a check. If the first check fails, the server is not serving: the rest is skipped.
    """
    findings: list[Finding] = []
    for check in checks:
        down = bool(findings) and findings[0].outcome is Outcome.FAILED
        finding = _skip(check, f"{findings[0].check} failed") if down else _one(server, routes, sample, check)
        findings.append(finding)
        if progress is not None:
            progress(finding)
    return Report(findings)


def _one(server: Server, routes: Routes, sample: Sample, check: Check) -> Finding:
    ask = check.ask(routes, sample)
    if isinstance(ask, str):
        return _skip(check, ask)
    reply = server.ask(ask.method, ask.path, ask.body, ask.content_type)
    wrong = check.judge(reply, sample)
    outcome = Outcome.PASSED if wrong is None else Outcome.FAILED
    return Finding(check.name, check.level, check.rule, outcome, wrong or "", reply.seconds)


def _skip(check: Check, why: str) -> Finding:
    return Finding(check.name, check.level, check.rule, Outcome.SKIPPED, why)
