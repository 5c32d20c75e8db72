"""What raw outputs say: probabilities, and which examples are right.

Knows logits and probabilities. Does not know where the outputs came from.
"""

from __future__ import annotations

import numpy as np

from tfcompress.predictions import OUTPUT_KINDS
from tfcompress.registry import require


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Probabilities from logits: `exp(x_i) / sum_j exp(x_j)` along the last axis.

    The greatest logit is subtracted first, so that no exponential overflows.

    Args:
      outputs: [..., classes], any range.

    Returns:
      float64 of the same shape; each row sums to 1.

    Example:
      >>> softmax(np.array([0.0, np.log(3.0)])).round(2).tolist()
      [0.25, 0.75]
    """
    values = np.asarray(outputs, np.float64)
    exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def probabilities(outputs: np.ndarray, kind: str) -> np.ndarray:
    """Probabilities from raw outputs.

    Args:
      outputs: float [examples, classes].
      kind: `"logits"` (softmax is applied) or `"probabilities"` (returned as float64, unchanged).

    Raises:
      ValueError: another kind.
    """
    require(kind, OUTPUT_KINDS, what="kind of outputs")
    return softmax(outputs) if kind == "logits" else np.asarray(outputs, np.float64)


def correct(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which examples are right: the greatest output stands at the label.

    Of equal greatest outputs (frequent where an int8 file saturates) the first counts, as in
    `np.argmax`, so a tie is never counted in the model's favour on purpose.

    Args:
      outputs: [examples, classes], logits or probabilities.
      labels: integer [examples] in [0, classes).

    Returns:
      bool [examples].

    Raises:
      ValueError: no examples, shapes that do not fit, a label outside the classes, a NaN output.
    """
    outputs, labels = np.asarray(outputs), np.asarray(labels)
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or 0 in outputs.shape:
        raise ValueError(
            "Expected outputs [examples, classes] and labels [examples], at least one of each. "
            f"Received: outputs {list(outputs.shape)}, labels {list(labels.shape)}."
        )
    if labels.min() < 0 or labels.max() >= outputs.shape[1]:
        raise ValueError(
            f"Labels must be in [0, {outputs.shape[1]}). "
            f"Received: {labels.min()} to {labels.max()}."
        )
    if np.isnan(outputs).any():
        rows = int(np.isnan(outputs).any(axis=1).sum())
        raise ValueError(f"Outputs hold NaN in {rows} of {len(outputs)} examples.")
    right: np.ndarray = outputs.argmax(axis=1) == labels
    return right
