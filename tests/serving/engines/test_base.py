from __future__ import annotations

import numpy as np
import pytest

from serving.engines.base import Shape
from serving.engines.verify import reference_input, verify
from serving.errors import EngineError
from tests.serving.fakes import SIZE, FakeEngine

SHAPE = Shape((3, SIZE, SIZE), 3, 4)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (np.zeros((0, 3, SIZE, SIZE), np.float32), "a batch of 0"),
        (np.zeros((5, 3, SIZE, SIZE), np.float32), "a batch of 5"),
        (np.zeros((1, 3, SIZE, SIZE + 1), np.float32), r"\[3, 8, 9\]"),
        (np.zeros((1, SIZE, SIZE, 3), np.float32), r"\[8, 8, 3\]"),
        (np.zeros((1, 3, SIZE, SIZE)), "float64"),
    ],
)
def test_a_batch_that_a_compiled_package_would_answer_with_garbage_is_refused(batch, says):
    with pytest.raises(EngineError, match=says):
        SHAPE.guard(batch)


def test_strides_are_made_contiguous():
    channels_last = np.ascontiguousarray(reference_input(2, SHAPE.instance).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not channels_last.flags.c_contiguous
    got = SHAPE.guard(channels_last)
    assert got.flags.c_contiguous
    assert (got == channels_last).all()
    assert SHAPE.guard(list(channels_last)).flags.c_contiguous


def test_an_answer_of_another_shape_is_refused():
    with pytest.raises(EngineError, match="was promised"):
        SHAPE.guard_answer(np.zeros((1, 4), np.float32), 1)


def test_the_reference_input_is_the_same_for_ever():
    got = reference_input(4, (3, 8, 8))
    assert got[0, 0, 0, :3] == pytest.approx([-1.0, 0.2360679, -0.5278639], abs=1e-5)
    assert got.min() >= -1
    assert got.max() < 1
    assert abs(got.mean()) < 0.05
    assert (got[0] != got[1]).mean() > 0.99


class Garbage(FakeEngine):
    """Right up to a batch of two, then the rows of a smaller batch over again."""

    def run(self, batch):
        rows = super().run(batch)
        if len(batch) > 2:
            rows[2:] = rows[0]
        return rows


def test_an_engine_that_is_wrong_at_one_batch_size_is_found():
    inputs = reference_input(4, SHAPE.instance)
    expected = inputs.mean(axis=(2, 3))
    verify(FakeEngine(), expected, SHAPE.instance, max_batch=4)
    verify(Garbage(), expected, SHAPE.instance, max_batch=2)
    with pytest.raises(EngineError, match="wrong answers at batch size 3"):
        verify(Garbage(), expected, SHAPE.instance, max_batch=4)


def test_nan_is_a_wrong_answer():
    expected = reference_input(1, SHAPE.instance).mean(axis=(2, 3))
    nan = FakeEngine()
    nan.run = lambda batch: np.full((1, 3), np.nan, np.float32)
    with pytest.raises(EngineError, match="wrong answers"):
        verify(nan, expected, SHAPE.instance, max_batch=1)


def test_batches_beyond_what_was_checked_are_refused():
    with pytest.raises(EngineError, match="checked up to batches of 1, not 2"):
        verify(FakeEngine(), np.zeros((1, 3), np.float32), SHAPE.instance, max_batch=2)
