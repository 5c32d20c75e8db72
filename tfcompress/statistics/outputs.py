"""What raw outputs say: probabilities, the predicted class, and which examples are right.

Knows logits and probabilities, and what is wrong with outputs and labels. Does not know where the
outputs came from.
"""

from __future__ import annotations

import numpy as np

from tfcompress.predictions import CLASS_KINDS
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
    require(kind, CLASS_KINDS, what="kind of outputs")
    return softmax(outputs) if kind == "logits" else np.asarray(outputs, np.float64)


def normalized_probabilities(values: np.ndarray) -> np.ndarray:
    """Rows that sum to 1, from probabilities as a quantized file stores them.

    An int8 softmax has steps of 1/256: small probabilities are exactly 0, and a row sums to a
    little more or less than 1. Each row is divided by its sum. A row of zeros, which a file gives
    where each of several hundred classes lies below half a step, becomes equal shares.

    Args:
      values: float [examples, classes] in [0, 1], each row with a sum within
        `0.05 + classes / 256` of 1, a full step for each class.

    Returns:
      float64 of the same shape.

    Raises:
      ValueError: no matrix, NaN, values outside [0, 1], or rows whose sum is not about 1, such as
        logits or the outputs of sigmoids.

    Example:
      >>> normalized_probabilities(np.array([[0.75, 0.0, 0.25], [0.5, 0.25, 0.21875]])).tolist()[0]
      [0.75, 0.0, 0.25]
    """
    shares = np.asarray(values, np.float64)
    _check_matrix(shares)
    # Half-precision and float32 softmaxes exceed 1 by their rounding.
    if shares.min() < 0 or shares.max() > 1 + 1e-3:
        raise ValueError(
            f"Probabilities must be in [0, 1]. Received: {shares.min():.4g} to {shares.max():.4g}. "
            'For logits pass kind "logits", or softmax(outputs).'
        )
    sums = shares.sum(axis=1, keepdims=True)
    farthest = float(sums.flat[np.abs(sums - 1).argmax()])
    if abs(farthest - 1) > 0.05 + shares.shape[1] / 256:
        raise ValueError(
            f"The probabilities of an example must sum to 1. Received: a sum of {farthest:.4g}. "
            "Outputs of independent sigmoids have no most likely class."
        )
    rows = np.full_like(shares, 1 / shares.shape[1])
    np.divide(shares, sums, out=rows, where=sums > 0)
    return rows


def predicted_classes(outputs: np.ndarray) -> np.ndarray:
    """The most likely class of each example; of equal outputs the first, as in `np.argmax`.

    Args:
      outputs: [examples, classes], logits or probabilities.

    Returns:
      int64 [examples].

    Raises:
      ValueError: no matrix, no examples, a NaN output.

    Example:
      >>> predicted_classes(np.array([[0.2, 0.8], [0.5, 0.5]])).tolist()
      [1, 0]
    """
    outputs = np.asarray(outputs)
    _check_matrix(outputs)
    predicted: np.ndarray = outputs.argmax(axis=1)
    return predicted


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
    check_labels(outputs, labels)
    right: np.ndarray = predicted_classes(outputs) == labels
    return right


def check_labels(outputs: np.ndarray, labels: np.ndarray) -> None:
    """Raises ValueError unless there is a label in [0, classes) for each row of outputs."""
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or 0 in outputs.shape:
        raise ValueError(
            "Expected outputs [examples, classes] and labels [examples], at least one of each. "
            f"Received: outputs {list(outputs.shape)}, labels {list(labels.shape)}."
        )
    if (labels != np.floor(labels)).any():
        raise ValueError("Labels must be whole numbers, the index of a class each.")
    if labels.min() < 0 or labels.max() >= outputs.shape[1]:
        raise ValueError(
            f"Labels must be in [0, {outputs.shape[1]}). "
            f"Received: {labels.min()} to {labels.max()}."
        )


def _check_matrix(outputs: np.ndarray) -> None:
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise ValueError(
            "Expected outputs [examples, classes], at least one of each. "
            f"Received: {list(outputs.shape)}."
        )
    if outputs.dtype.kind not in "fiub":
        raise ValueError(f"Outputs must be real numbers. Received: {outputs.dtype}.")
    for what, found in (("NaN", np.isnan(outputs)), ("infinity", np.isinf(outputs))):
        if found.any():
            rows = np.flatnonzero(found.any(axis=1))
            raise ValueError(
                f"Outputs hold {what} in {len(rows)} of {len(outputs)} examples, the first at "
                f"position {rows[0]}. The model diverged, or the file computes otherwise than it."
            )
