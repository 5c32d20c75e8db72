from __future__ import annotations

import numpy as np

from tfcompress.random_inputs import random_values


def test_floats_are_numbers_from_0_to_1():
    for dtype in (np.float32, np.float16):
        values = random_values(np.dtype(dtype), (1, 100))
        assert (values.dtype, values.shape) == (dtype, (1, 100))
        assert 0 <= values.min() < 0.2 < 0.8 < values.max() <= 1


def test_small_integers_take_their_whole_range():
    values = random_values(np.dtype(np.int8), (100, 100))
    assert (values.min(), values.max(), values.dtype) == (-128, 127, np.int8)
    assert random_values(np.dtype(np.uint8), (10, 1000)).max() == 255


def test_wide_integers_are_valid_indices_of_any_table():
    assert not random_values(np.dtype(np.int32), (5,)).any()
    assert not random_values(np.dtype(np.int64), (5,)).any()


def test_truth_values_are_both():
    values = random_values(np.dtype(np.bool_), (100,))
    assert values.dtype == np.bool_
    assert 0 < values.sum() < 100


def test_every_process_gets_the_same():
    first, second = (random_values(np.dtype(np.float32), (3,)) for _ in range(2))
    assert first.tolist() == second.tolist()
