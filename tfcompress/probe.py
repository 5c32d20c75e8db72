"""How sensitive each layer of a trained model is, measured by compressing one at a time.

Knows what sparsity, bits, rank and channels do to a kernel before any recovery. Does not know how
the effects are told or used (`layer_sensitivity` does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress import export, registry, statistics
from tfcompress.graph import channel_removal
from tfcompress.graph.channel_following import channel_graph
from tfcompress.graph.kernels import Kernel, kernels
from tfcompress.graph.loading import load_model
from tfcompress.graph.rebuild import copied
from tfcompress.layer_sensitivity import KINDS, Effect, Sensitivity
from tfcompress.techniques import factorize, prune_channels

_BATCH = 128
_LEAST_PROBABILITY = 1e-12

Listener = Callable[[int, int], None]


def sensitivity(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    kinds: Sequence[str] = ("sparsity",),
    levels: Mapping[str, Sequence[float]] | None = None,
    progress: Listener | None = None,
) -> Sensitivity:
    """Measures what a model loses when one of its layers is compressed and the others are not.

    Nothing is trained, and the model stays as it is. A layer is compressed at each level of each
    kind, the model is evaluated, and the layer is put back.

    Args:
      model: what `load_model` takes, a classifier.
      images: float32 [examples, height, width, channels], preprocessed, of the validation split.
      labels: int [examples], their classes.
      kinds: of `layer_sensitivity.KINDS`.
      levels: other levels for some of the kinds.
      progress: told how many evaluations are done, and of how many.

    Returns:
      a record that prints as a table and has `sparsities`, settings for `prune`.

    Raises:
      ValueError: an unknown kind, a level outside its range, images that do not fit, or no layer to
        which any of the kinds can be done.
    """
    wanted = _checked(kinds, levels or {})
    probe = _Probe(load_model(model), images, labels)
    trials = [trial for kind in wanted for trial in _TRIALS[kind](probe.model, wanted[kind])]
    if not trials:
        raise ValueError(f"{probe.model.name!r} has no layer to which {', '.join(wanted)} applies.")
    effects = []
    for number, trial in enumerate(trials, start=1):
        effects.append(probe.effect(trial))
        if progress:
            progress(number, len(trials))
    return Sensitivity(probe.model.name, len(images), probe.accuracy, tuple(effects))


def _checked(
    kinds: Sequence[str], levels: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, ...]]:
    for kind in (*kinds, *levels):
        registry.require(kind, tuple(KINDS), what="kind of sensitivity")
    found = {kind: tuple(levels.get(kind, KINDS[kind])) for kind in kinds}
    for kind, values in found.items():
        low, high = (2, 16) if kind == "bits" else (0, 1)
        inside = [low <= x <= high and x == int(x) if kind == "bits" else 0 < x < 1 for x in values]
        if not values or not all(inside):
            expected = "whole numbers from 2 to 16" if kind == "bits" else "fractions in (0, 1)"
            raise ValueError(f"Levels of {kind} are {expected}. Received: {list(values)}.")
    return found


@dataclass(frozen=True)
class _Trial:
    """One thing to try: what it is called, and the weights that it puts in the place of others."""

    kind: str
    name: str
    weights: int
    level: float
    changed: Callable[[], list[tuple[Any, np.ndarray]]]
    """Gives each variable with its new values."""


class _Probe:
    """A copy of a model that is changed and put back, and what it says of the examples."""

    def __init__(self, model: Any, images: np.ndarray, labels: np.ndarray) -> None:
        self.model = copied(model)
        self._images, self._labels = images, np.asarray(labels)
        export.require_images("images", images, self.model)
        if self._labels.dtype.kind not in "iu":
            raise ValueError(
                "sensitivity tells how often the class changes: labels must be integers. Received: "
                f"{self._labels.dtype} {list(self._labels.shape)}. There is none of a regression."
            )
        if len(self._labels) != len(images):
            raise ValueError(
                f"There must be a label for each image. Received: {len(images)} images and "
                f"{len(self._labels)} labels."
            )
        self._call = export.inference(self.model)
        self._kind = export.output_kind(self.model)
        self._before = self._outputs()
        self._expected = self._log_probabilities(self._before)
        self.accuracy = float(statistics.correct(self._before, self._labels).mean())

    def effect(self, trial: _Trial) -> Effect:
        """What the model is like under a trial."""
        with _swapped(trial.changed()):
            outputs = self._outputs()
        # Of what compression breaks altogether, outputs may be infinite.
        outputs = np.nan_to_num(outputs, posinf=1e30, neginf=-1e30)
        versus = statistics.compare(outputs, self._before, self._labels)
        gaps = self._expected - self._log_probabilities(outputs)
        divergence = float(np.mean(np.sum(np.exp(self._expected) * gaps, axis=1)))
        return Effect(
            kind=trial.kind,
            name=trial.name,
            weights=trial.weights,
            level=trial.level,
            accuracy=versus.accuracy,
            difference=versus.difference,
            difference_interval=versus.difference_interval,
            divergence=max(divergence, 0.0),
        )

    def _outputs(self) -> np.ndarray:
        starts = range(0, len(self._images), _BATCH)
        batches = [self._call(self._images[start : start + _BATCH]) for start in starts]
        return np.concatenate(batches)

    def _log_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        values = outputs.astype(np.float64)
        if self._kind == "logits":
            values = values - values.max(axis=1, keepdims=True)
            values = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        else:
            values = np.log(np.maximum(values, _LEAST_PROBABILITY))
        found: np.ndarray = np.maximum(values, np.log(_LEAST_PROBABILITY))
        return found


@contextmanager
def _swapped(pairs: Sequence[tuple[Any, np.ndarray]]) -> Iterator[None]:
    before = [variable.numpy() for variable, _ in pairs]
    try:
        for variable, values in pairs:
            variable.assign(values)
        yield
    finally:
        for (variable, _), values in zip(pairs, before, strict=True):
            variable.assign(values)


def _of_kernels(
    kind: str, change: Callable[[Kernel, float], np.ndarray], reason: Callable[[Kernel], str]
) -> Callable[[Any, Sequence[float]], list[_Trial]]:
    """Trials that change one kernel."""

    def trials(model: Any, levels: Sequence[float]) -> list[_Trial]:
        treated = [kernel for kernel in kernels(model) if not reason(kernel)]
        return [trial(kernel, level) for kernel in treated for level in levels]

    def trial(kernel: Kernel, level: float) -> _Trial:
        size = int(np.prod(kernel.variable.shape))
        return _Trial(
            kind, kernel.label, size, level, lambda: [(kernel.variable, change(kernel, level))]
        )

    return trials


def _sparse(kernel: Kernel, sparsity: float) -> np.ndarray:
    values = kernel.numpy()
    count = int(sparsity * values.size + 1e-6)
    smallest = np.argsort(np.abs(values), axis=None, kind="stable")[:count]
    values.ravel()[smallest] = 0.0
    return values


def _in_bits(kernel: Kernel, bits: float) -> np.ndarray:
    values = kernel.numpy()
    last = values.ndim - 1
    # Of a depthwise kernel the channels come before their multiplier, of a transposed one the
    # output channels before the input's.
    own = (last - 1, last) if kernel.depthwise else (last - (kernel.input_axis == -1),)
    rest = tuple(axis for axis in range(values.ndim) if axis not in own)
    most = np.abs(values).max(axis=rest, keepdims=True)
    step = np.where(most > 0, most, 1.0) / (2 ** (int(bits) - 1) - 1)
    found: np.ndarray = (np.round(values / step) * step).astype(values.dtype)
    return found


def _of_channels(model: Any, levels: Sequence[float]) -> list[_Trial]:
    """Trials that set channels of one group to zero."""
    graph = channel_graph(model)
    rated = prune_channels.rated(model, graph)
    sizes: dict[str, int] = {}
    for kernel in kernels(model):
        size = int(np.prod(kernel.variable.shape))
        sizes[kernel.name] = sizes.get(kernel.name, 0) + size

    def trial(group: Any, level: float) -> _Trial:
        order = group.units[np.argsort(rated[group.units], kind="stable")]
        removed = np.zeros(graph.count, bool)
        removed[order[: int(level * len(order))]] = True

        weights = sum(sizes.get(name, 0) for name in group.layers)
        name = "+".join(group.layers)
        return _Trial(
            "channels", name, weights, level, lambda: channel_removal.zeros(model, graph, removed)
        )

    groups = [g for g in graph.groups if not g.reason and np.isfinite(rated[g.units]).all()]
    # A level that takes no whole unit of a small group would say that it costs nothing.
    return [trial(g, level) for g in groups for level in levels if int(level * len(g.units))]


_TRIALS: Mapping[str, Callable[[Any, Sequence[float]], list[_Trial]]] = {
    "sparsity": _of_kernels("sparsity", _sparse, lambda kernel: ""),
    "bits": _of_kernels("bits", _in_bits, lambda kernel: ""),
    "rank": _of_kernels("rank", factorize.at_rank, factorize.unsupported),
    "channels": _of_channels,
}
