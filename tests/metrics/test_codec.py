from __future__ import annotations

import json
from datetime import UTC, datetime

from vertex_deploy.metrics import codec
from vertex_deploy.metrics.types import Histogram, Interval, VersionSample

END = datetime(2026, 11, 21, 10, 1, tzinfo=UTC)


def test_an_interval_is_read_back_as_it_was_written() -> None:
    full = VersionSample(9, 1, Histogram((10.0,), (5, 4)), {"rating": 4.5}, rejected=2)
    interval = Interval(end=END, seconds=60.0, stable=None, canary=full)
    assert codec.from_json(json.loads(json.dumps(codec.to_json(interval)))) == interval


def test_a_history_from_before_rejections_were_recorded_has_none() -> None:
    old = {"end": END.isoformat(), "seconds": 60, "stable": None, "canary": {"requests": 9, "errors": 1}}
    found = codec.from_json(old).canary
    assert found is not None
    assert found.rejected == 0
