"""Inputs for a call of which only the time or the memory counts. Knows shapes and types.

They are the same in every process. Numbers that are slow to compute with, or no numbers at all, do
not occur: float inputs lie in [0, 1), 8-bit ones take their whole range, truth values are both, and
wider integers, which may be indices into a table, are 0. Nothing but numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_values(dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
    """An array of a type and shape.

    Raises:
      ValueError: a type that holds no numbers.

    Example:
      >>> random_values(np.dtype(np.int64), [2]).tolist()
      [0, 0]
    """
    generator = np.random.default_rng(0)
    if dtype.kind == "f":
        return generator.random(tuple(shape), np.float32).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        values: np.ndarray = generator.integers(
            limits.min, limits.max, tuple(shape), dtype, endpoint=True
        )
        return values
    if dtype.kind == "b":
        return generator.random(tuple(shape)) < 0.5
    if dtype.kind not in "iu":
        raise ValueError(f"Of {dtype} no numbers can be drawn. Pass inputs of your own.")
    return np.zeros(tuple(shape), dtype)
