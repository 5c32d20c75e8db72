"""The callback behind `prune`: chooses masks on a TF-MOT schedule and applies them after each step.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf, tfmot
from tfcompress.graph.kernels import Kernel, kernels
from tfcompress.techniques.prune import PruningConfig, expected_zeros, skip_reason, target_of


class PruningMasks(keras.callbacks.Callback):
    """Prunes the kernels of the model that is being fitted.

    The state is the step number and the zeros in the weights, so that a training that goes on from
    a saved epoch prunes as one that was never interrupted. Weights that are exactly zero when
    training begins stay zero, except in a kernel that is zero altogether.

    Args:
      config: what to prune and when.
    """

    def __init__(self, config: PruningConfig) -> None:
        super().__init__()
        self._config = config
        self._step = 0
        self._apply: Any = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Lays the schedule over the steps of the training."""
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if not steps:
            raise ValueError(
                "prune cannot tell how many steps an epoch has. Pass steps_per_epoch to fit."
            )
        pruned = [kernel for kernel in kernels(self.model) if not skip_reason(kernel, self._config)]
        targets = [target_of(kernel, self._config) for kernel in pruned]
        schedules = {
            target: build_schedule(self._config, target, steps=steps * epochs) for target in targets
        }
        masks = [tf.Variable(_nonzero(kernel.variable), trainable=False) for kernel in pruned]

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
        def apply(step: Any) -> None:
            due = {target: schedule(step) for target, schedule in schedules.items()}
            # All targets are approached in the same steps.
            update, _ = due[targets[0]]
            if update:
                for kernel, mask, target in zip(pruned, masks, targets, strict=True):
                    # A pruned weight, moved by this one step, would compete on equal terms.
                    kept = tf.where(mask, kernel.variable, tf.zeros_like(kernel.variable))
                    _, sparsity = due[target]
                    mask.assign(_mask(kernel, kept, sparsity, target, self._config) & mask)
            for kernel, mask in zip(pruned, masks, strict=True):
                kept = tf.where(mask, kernel.variable, tf.zeros_like(kernel.variable))
                kernel.variable.assign(kept)

        # Traced now, so that the first step is not taken for a slow one.
        apply.get_concrete_function()
        self._apply = apply

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Finds the step from the epoch, also where the training goes on from a later one."""
        self._step = epoch * self.params["steps"]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Updates the masks when they are due and applies them."""
        self._apply(tf.constant(self._step, tf.int64))
        self._step += 1


def prune_now(kernel: Kernel, config: PruningConfig) -> None:
    """Brings a kernel to its target sparsity at once."""
    target = target_of(kernel, config)
    weights = tf.convert_to_tensor(kernel.variable)
    mask = _mask(kernel, weights, tf.constant(target, tf.float32), target, config)
    kernel.variable.assign(tf.where(mask, weights, tf.zeros_like(weights)))


def build_schedule(config: PruningConfig, target: float, *, steps: int) -> Any:
    """The TF-MOT schedule of a config over `steps` steps, for a kernel that ends at `target`.

    The last update falls on a step of the training, whatever its length: the interval between
    updates is rounded up and the end moved back to a multiple of it (TF-MOT's default of one update
    in 100 steps never acts in a shorter training).
    """
    # What is pruned at once is pruned in the last step before `begin`, so that the epoch that ends
    # there is complete.
    at_once = config.schedule == "constant"
    begin = min(max(round(config.begin * steps) - at_once, 0), steps - 1)
    end = max(min(round(config.end * steps), steps) - 1, begin)
    frequency = max(-(-(end - begin) // config.updates), 1)
    end -= (end - begin) % frequency
    if at_once or end == begin:
        return tfmot.sparsity.keras.ConstantSparsity(
            target,
            begin_step=begin,
            end_step=max(end, begin + 1),
            frequency=frequency,
        )
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=min(config.initial_sparsity, target),
        final_sparsity=target,
        begin_step=begin,
        end_step=end,
        power=3,
        frequency=frequency,
    )


def _nonzero(variable: Any) -> Any:
    """True where a kernel is not zero; everywhere where it has not been initialized to anything."""
    return (variable != 0) | tf.reduce_all(variable == 0)


def _mask(kernel: Kernel, weights: Any, sparsity: Any, target: float, config: PruningConfig) -> Any:
    # Half precision is sorted and averaged as float32, which holds each of its values.
    magnitude = tf.abs(tf.cast(weights, tf.float32))
    if config.n_of_m and kernel.input_axis:
        return _n_of_m_mask(magnitude, *config.n_of_m, axis=kernel.input_axis)
    # A schedule is in float32, in which the target may be a weight short of itself.
    ended = sparsity >= tf.constant(target, tf.float32)
    final = expected_zeros(int(np.prod(magnitude.shape)), target, config)
    if config.block:
        final //= config.block[0] * config.block[1]
        return _block_mask(magnitude, sparsity, config.block, final=final, ended=ended)
    return _largest(magnitude, sparsity, final=final, ended=ended)


def _largest(magnitude: Any, sparsity: Any, *, final: int, ended: Any) -> Any:
    """True for all but the floor(sparsity * size) smallest; equals of the last one go with it."""
    ordered = tf.sort(tf.reshape(magnitude, [-1]))
    zeros = tf.cast(tf.floor(sparsity * ordered.shape[0] + 1e-6), tf.int32)
    zeros = tf.where(ended, final, zeros)
    threshold = tf.where(zeros > 0, ordered[tf.maximum(zeros - 1, 0)], -1.0)
    return magnitude > threshold


def _n_of_m_mask(magnitude: Any, kept: int, group: int, *, axis: int) -> Any:
    """True for the `kept` largest of every `group` weights along the axis of the inputs."""
    last = list(range(magnitude.shape.rank))
    last[axis], last[-1] = last[-1], last[axis]
    swapped = tf.transpose(magnitude, last)
    groups = tf.reshape(swapped, [-1, group])
    order = tf.argsort(tf.argsort(groups, direction="DESCENDING", stable=True), stable=True)
    return tf.transpose(tf.reshape(order < kept, swapped.shape), last)


def _block_mask(
    magnitude: Any, sparsity: Any, block: tuple[int, int], *, final: int, ended: Any
) -> Any:
    """True for all but the blocks with the smallest mean magnitude."""
    rows, columns = block
    blocks = tf.reshape(
        magnitude,
        [magnitude.shape[0] // rows, rows, magnitude.shape[1] // columns, columns],
    )
    kept = _largest(tf.reduce_mean(blocks, [1, 3]), sparsity, final=final, ended=ended)
    return tf.repeat(tf.repeat(kept, rows, axis=0), columns, axis=1)
