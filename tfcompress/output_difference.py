"""How far two sets of outputs of one model lie apart, whoever computed them.

Knows arrays and what quantized ones stand for. Does not know how much apart is too much, which
depends on the arithmetic. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfcompress.litert import TensorDetails

# Below this, outputs are taken for zero. What half precision loses above it (from 6e-5 down) is
# lost in truth.
_FLOOR = 1e-9
# The offset that all outputs share says little of the network; with fewer outputs it is all there
# is.
_FEW = 4


def greatest(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], details: Sequence[TensorDetails]
) -> tuple[float, float | None]:
    """The greatest absolute difference, in real units and in quantization steps.

    Args:
      outputs: as one engine gave them.
      expected: as the other gave them, of the same shapes.
      details: scale and zero point of each.

    Returns:
      infinity where one has a value that is not finite and the other has not the same one; the
      steps are None where an output is not quantized.
    """
    real, steps = [0.0], [0.0]
    for ours, theirs, one in zip(outputs, expected, details, strict=True):
        apart = _greatest(one.dequantize(ours), one.dequantize(theirs))
        real.append(apart)
        steps.append(apart / one.scale if one.scale else float("nan"))
    whole = any(one.scale is None for one in details)
    return max(real), None if whole else max(steps)


def _greatest(ours: np.ndarray, theirs: np.ndarray) -> float:
    both = _finite(ours, theirs)
    if both is None:
        return float("inf")
    return float(np.abs(both[0] - both[1]).max(initial=0.0))


def _finite(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The finite values of both; None where the others are not the same: NaN, or infinite so."""
    finite = np.isfinite(theirs)
    if not np.array_equal(finite, np.isfinite(ours)):
        return None
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return None
    return ours[finite].astype(np.float64), theirs[finite].astype(np.float64)


def fraction(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], details: Sequence[TensorDetails]
) -> float:
    """How far outputs are from the expected ones: the worst of all outputs, as a fraction.

    For each, the root of the mean squared difference over the standard deviation of the expected
    values (over their root mean square where there are fewer than four, and at least over a tenth
    of it). Quantized outputs are compared as the real values that they stand for.

    Args:
      outputs: as one engine gave them.
      expected: as the other gave them, of the same shapes.
      details: scale and zero point of each.

    Returns:
      0.0 where they are equal; infinity where one has a value that is not finite and the other
      has not the same one, or where no value of an output is finite, which shows nothing.
    """
    pairs = zip(outputs, expected, details, strict=True)
    return max(
        (_difference(one.dequantize(ours), one.dequantize(theirs)) for ours, theirs, one in pairs),
        default=0.0,
    )


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    both = _finite(ours, theirs)
    if both is None or (theirs.size and both[1].size == 0):
        return float("inf")
    ours, theirs = both
    if theirs.size == 0:
        return 0.0
    size = float(np.sqrt(np.mean(theirs**2)))
    spread = size if theirs.size < _FEW else max(float(np.std(theirs)), size / 10)
    return float(np.sqrt(np.mean((ours - theirs) ** 2))) / max(spread, _FLOOR)
