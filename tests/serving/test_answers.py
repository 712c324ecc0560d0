from __future__ import annotations

import json

import numpy as np
import pytest

from serving.answers import render
from serving.errors import BadRequest

LABELS = ["a", "b", "c"]


def test_best_first_with_softmax_scores():
    logits = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, -3.0]], np.float32)
    got = json.loads(render(logits, LABELS, ["x", "y"], top_k=2))["predictions"]
    assert [p["classes"] for p in got] == [["b", "c"], ["a", "b"]]
    assert got[0]["scores"] == pytest.approx([0.66524, 0.24473], abs=1e-4)


def test_large_logits_do_not_overflow():
    got = json.loads(render(np.array([[3e38, 0, 0]], np.float32), LABELS, ["x"], top_k=3))
    assert got["predictions"][0]["scores"] == [1.0, 0.0, 0.0]


def test_an_instance_that_overflows_the_model_is_the_clients_fault_and_named():
    logits = np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32)
    with pytest.raises(BadRequest, match=r"^instances\[1\]: numbers so large"):
        render(logits, LABELS, ["instances[0]", "instances[1]"], top_k=1)
