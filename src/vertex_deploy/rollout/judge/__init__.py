"""Decides from measurements whether a canary passes: ``Judge(gates).update(interval) -> Verdict``.

Pure: no clock, no I/O. ``judge`` combines, ``tails`` and ``means`` check, ``process`` and ``likelihood`` weigh,
``intake`` says which measurements count, ``history`` reads recorded ones.
"""

from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
from vertex_deploy.rollout.judge.history import run_history
from vertex_deploy.rollout.judge.judge import Judge, replay
from vertex_deploy.rollout.judge.verdict import Outcome, Reading, Verdict, Window

__all__ = [
    "Histogram",
    "Interval",
    "Judge",
    "Outcome",
    "Reading",
    "Verdict",
    "VersionSample",
    "Window",
    "replay",
    "run_history",
]
