"""Which layers stay in float, where an int8 file loses too much: the most accuracy for few bytes.

Knows how the harm that integers do is measured and spent against bytes. Does not know where
quantizers stand (`_placing` does). Importing this module imports TensorFlow.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.graph.kernels import kernels
from tfcompress.techniques._fake_quantized import PLAIN_MEAN
from tfcompress.techniques._integer_form import CHOSEN, IntegerForm
from tfcompress.techniques._placing import Placing, Settings
from tfcompress.techniques._ranges import read_ranges

_IMAGES = 128
_BATCH = 32
# A float takes this many bytes more than an int8.
_BYTES = 3
# About what it costs in a file to turn a tensor into integers and back: operators and scales.
_BOUNDARY_BYTES = 200
# Of the whole harm; what gains less is not worth an operator.
_LEAST_GAIN = 0.01


def layers_in_float(form: IntegerForm, config: Any, *, ranges: str) -> tuple[str, ...]:
    """Chooses layers of a model that stay in float.

    The harm is the squared error of the outputs against those of the float model. Candidates are
    the kernels one by one, and for every tensor that is quantized the layers around it, all of
    which must be in float for the tensor to be so. Again and again the one is taken that undoes the
    most harm for its bytes, until none fits or is worth it.

    Args:
      form: the model in integer form.
      config: of `ptq` or `qat`: `growth`, and `calibration` images that fit, of which the first
        128 do.
      ranges: how activation ranges are read; one of `ptq.RANGES`.

    Returns:
      names of layers of the model that the form was made from, in its order.
    """
    trial = _Trial(form, config, ranges)
    chosen: set[str] = set()
    harm = whole = trial.harm(chosen)
    budget = config.growth * trial.weights(trial.all)
    # Harm that is undone for each byte, at most: it was found when fewer layers were in float.
    queue = [(-np.inf, number, sorted(layers)) for number, layers in enumerate(trial.candidates)]
    heapq.heapify(queue)
    fresh: dict[int, int] = {}
    while queue:
        _, number, layers = heapq.heappop(queue)
        more = set(layers) - chosen
        cost = _BYTES * trial.weights(more)
        if not more or cost > budget:
            continue
        if fresh.get(number) == len(chosen):
            chosen |= more
            budget -= cost
            harm = trial.harm(chosen)
            continue
        gain = harm - trial.harm(chosen | more)
        if gain > _LEAST_GAIN * whole:
            fresh[number] = len(chosen)
            heapq.heappush(queue, (-gain / (cost + _BOUNDARY_BYTES), number, layers))
    return tuple(name for name in trial.all if name in chosen)


class _Trial:
    """A fake-quantized model of which parts can be put in float, to see what becomes of it."""

    def __init__(self, form: IntegerForm, config: Any, ranges: str) -> None:
        self._form = form
        self._settings = Settings(PLAIN_MEAN)
        self._placing = Placing(form, self._settings)
        self._model = self._placing.build()
        images = config.calibration
        self._images = [one[:_IMAGES] for one in tf.nest.flatten(images)]
        percentile = getattr(config, "percentile", 100.0)
        read_ranges(self._model, images, ranges, percentile=percentile)
        self._sizes: dict[str, int] = {}
        for kernel in kernels(form.model):
            origin = self._origin(kernel.layer.name)
            if origin not in form.passed_over:
                size = int(np.prod(kernel.variable.shape))
                self._sizes[origin] = self._sizes.get(origin, 0) + size
        self.all = list(dict.fromkeys(self._origin(layer.name) for layer in form.model.layers))
        self._expected = self._outputs(form.model)

    @property
    def candidates(self) -> list[frozenset[str]]:
        """Sets of layers that may be put in float together."""
        found = [frozenset([self._origin(name)]) for name in self._placing.kernels()]
        found += [
            frozenset(map(self._origin, self._placing.neighbours(tensor)))
            for tensor in self._placing.points
        ]
        passed = self._form.passed_over
        return list(
            dict.fromkeys(frozenset(n for n in names if n not in passed) for names in found)
        )

    def weights(self, layers: Any) -> int:
        """How many weights layers have that would be integers."""
        return sum(self._sizes.get(name, 0) for name in layers)

    def harm(self, in_float: set[str]) -> float:
        """The squared error of the outputs, with some layers in float."""
        with self._put_in_float(in_float):
            outputs = self._outputs(self._model)
        return float(np.mean((outputs - self._expected) ** 2))

    @contextmanager
    def _put_in_float(self, names: set[str]) -> Iterator[None]:
        passed_over = {**self._form.passed_over, **dict.fromkeys(names, CHOSEN)}
        form = IntegerForm(self._form.model, self._form.origin, passed_over)
        still = Placing(form, self._settings).quantized
        points = self._placing.points
        wrappers = self._placing.kernels()
        off = [layer for tensor, layer in points.items() if tensor not in still]
        off += [wrapper for name, wrapper in wrappers.items() if self._origin(name) in names]
        try:
            for layer in off:
                layer.exact = True
            yield
        finally:
            for layer in off:
                layer.exact = False

    def _outputs(self, model: Any) -> np.ndarray:
        found = []
        for start in range(0, len(self._images[0]), _BATCH):
            batch = [tf.constant(one[start : start + _BATCH]) for one in self._images]
            outputs = model(tf.nest.pack_sequence_as(model._nested_inputs, batch), training=False)
            found.append([part.numpy().reshape(len(part), -1) for part in tf.nest.flatten(outputs)])
        return np.concatenate([np.concatenate(parts, axis=1) for parts in found])

    def _origin(self, name: str) -> str:
        return self._form.origin.get(name, name)
