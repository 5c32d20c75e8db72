"""The kernels of a model: the weight tensors that multiply activations.

Sees through TF-MOT's wrappers and through models within models. Does not change anything.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.results import LayerReport


@dataclass(frozen=True)
class Kernel:
    """One weight tensor and the layer that owns it.

    Attributes:
      layer: the plain Keras layer, without wrapper.
      name: the layer's name.
      variable: the tensor, output channels last (for depthwise convolutions: channels, multiplier).
    """

    layer: Any
    name: str
    variable: Any

    @property
    def kind(self) -> str:
        """The layer's class name, such as `"Conv2D"`."""
        return type(self.layer).__name__

    @property
    def depthwise(self) -> bool:
        """Whether this is the spatial kernel of a depthwise or separable convolution."""
        return "depthwise" in weight_name(self.variable)

    def numpy(self) -> np.ndarray:
        """A copy of the values."""
        return np.array(self.variable.numpy())


def leaf_layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model in order, those of nested models in their place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from leaf_layers(layer)
        else:
            yield layer


def kernels(model: Any) -> list[Kernel]:
    """Lists the kernels of a model, each variable once, in the order of the layers."""
    found, seen = [], set()
    for layer in leaf_layers(model):
        for variable in layer.weights:
            if weight_name(variable).endswith("kernel") and id(variable) not in seen:
                seen.add(id(variable))
                inner = getattr(layer, "layer", layer)
                found.append(Kernel(inner, inner.name, variable))
    return found


def weight_name(variable: Any) -> str:
    """The last part of a variable's name: `"kernel"` of `"conv1/kernel:0"`."""
    return variable.name.split(":")[0].rsplit("/", 1)[-1]


def named(name: str, patterns: str) -> bool:
    """Whether a layer's name fits one of the patterns, which are separated by `/`.

    Example:
      >>> named("block_3_conv", "stem/block_*")
      True
    """
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _split(patterns))


def require_named(model: Any, patterns: str, *, what: str) -> None:
    """Refuses patterns that fit no layer of a model: a typo would pass in silence.

    Raises:
      ValueError: the message lists the model's layers.
    """
    names = [getattr(layer, "layer", layer).name for layer in leaf_layers(model) if layer.weights]
    for pattern in _split(patterns):
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f"{what}={pattern} fits no layer of the model. Layers: {', '.join(names)}."
            )


def _split(patterns: str) -> list[str]:
    return [pattern for pattern in patterns.split("/") if pattern]


def distinct(values: np.ndarray) -> int:
    """Number of distinct values; negative and positive zero count as one."""
    return int(np.unique(values + 0.0).size)


def layer_reports(before: Any, after: Any, *, reasons: dict[str, str]) -> tuple[LayerReport, ...]:
    """Describes every layer with weights: treated, or skipped with the reason.

    Args:
      before: the model that a technique was given.
      after: the model that it left.
      reasons: for each skipped kernel's layer name why it was skipped; kernels not named were
        treated.
    """
    after_kernels: dict[str, list[Kernel]] = {}
    for kernel in kernels(after):
        after_kernels.setdefault(kernel.name, []).append(kernel)
    reports = []
    for layer in leaf_layers(before):
        inner = getattr(layer, "layer", layer)
        if not inner.weights:
            continue
        own = after_kernels.get(inner.name, [])
        reason = reasons.get(inner.name, "") if own else "no kernel"
        values = np.concatenate([kernel.numpy().ravel() for kernel in own]) if own else None
        reports.append(
            LayerReport(
                name=inner.name,
                kind=type(inner).__name__,
                parameters=int(sum(np.prod(weight.shape) for weight in inner.trainable_weights)),
                treated=not reason,
                reason=reason,
                kernel_parameters=None if values is None else int(values.size),
                sparsity=float(np.mean(values == 0)) if values is not None else None,
                distinct_weights=distinct(values) if values is not None else None,
            )
        )
    return tuple(reports)
