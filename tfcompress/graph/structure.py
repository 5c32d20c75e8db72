"""Keeps the structure of weights while they are trained: zeros stay zero, equal weights stay equal.

Clustering trains its centroids with it, and every later stage of a recipe keeps with it what the
earlier ones made. The structure is read from the weights themselves when training begins, so that a
resumed training needs no state besides the weights. Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import Kernel, kernels

MAX_GROUPS = 256
"""More distinct values than this in one kernel count as unclustered (8 bits index 256)."""


class KeepStructure(keras.callbacks.Callback):
    """Projects the kernels back onto their structure after each training step.

    Exact zeros of a kernel that has some (and is not zero altogether) are set to zero again. In a
    kernel that was clustered, to at most `MAX_GROUPS` values, the members of each group are set
    to their mean: one step then moves each shared value by the average of its members' updates, the
    gradient that weight sharing asks for.

    Args:
      zeros: keep zeros.
      groups: tells of a kernel whether it was clustered, so that its equal values stay equal; None
        where none was.

    Reference:
      Han, Mao, Dally: Deep Compression, ICLR 2016 (shared weights, gradients grouped by centroid).
    """

    def __init__(
        self, *, zeros: bool = True, groups: Callable[[Kernel], bool] | None = None
    ) -> None:
        super().__init__()
        self._zeros = zeros
        self._groups = groups
        self._project: Any = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Reads the structure from the weights."""
        projections = []
        for kernel in kernels(self.model):
            values = kernel.numpy()
            groups = _groups(values) if self._groups and self._groups(kernel) else None
            mask = values != 0
            if groups is not None:
                projections.append(_group_mean(kernel.variable, *groups))
            elif self._zeros and 0 < mask.mean() < 1:
                projections.append(_mask(kernel.variable, mask))

        @tf.function
        def project() -> None:
            for projection in projections:
                projection()

        # Traced now, so that the first step is not taken for a slow one.
        project.get_concrete_function()
        self._project = project

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the structure."""
        self._project()


def _groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The group of each weight and which group is the zeros, or None for unclustered weights."""
    centroids, group = np.unique(values + 0.0, return_inverse=True)
    if centroids.size > MAX_GROUPS or centroids.size == values.size:
        return None
    return group.reshape(-1).astype(np.int32), centroids == 0


def _group_mean(variable: Any, group: np.ndarray, is_zero: np.ndarray) -> Any:
    index = tf.constant(group)
    # Sorted, sums take a fifth of the time.
    order = tf.constant(np.argsort(group, kind="stable").astype(np.int32))
    ordered = tf.constant(np.sort(group))
    keep = tf.constant(~is_zero, tf.float64)

    def project() -> None:
        # In float32 a sum of a million equal values loses a hundredth of them.
        values = tf.cast(tf.gather(tf.reshape(variable, [-1]), order), tf.float64)
        means = tf.cast(tf.math.segment_mean(values, ordered) * keep, variable.dtype)
        variable.assign(tf.reshape(tf.gather(means, index), variable.shape))

    return project


def _mask(variable: Any, mask: np.ndarray) -> Any:
    keep = tf.constant(mask)
    return lambda: variable.assign(tf.where(keep, variable, tf.zeros_like(variable)))
