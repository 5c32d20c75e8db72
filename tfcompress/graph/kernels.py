"""The kernels of a model: the weight tensors that multiply activations.

Sees through TF-MOT's wrappers and through models within models, and gives every layer a name of its
own. Does not change anything.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from tfcompress._keras import keras
from tfcompress.results import LayerReport

NO_KERNEL = "no kernel"
"""Why a layer is passed over that multiplies by nothing: normalization, embedding, scale."""

_BESIDE_KERNELS = ("cluster_centroids", "pulling_indices")
"""What TF-MOT's clustering keeps for a kernel, under names that end with the kernel's."""

_SUMS_LAST = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_SUMS_MANY = ("EinsumDense", "MultiHeadAttention")

SEPARATOR = "|"
"""Between patterns of layers' names; a slash belongs to a name, such as `layer_0/attention/key`."""

FROZEN = "frozen: trainable is False, so that no training could make up for a change"
"""Why the weights of a frozen layer are left as they are."""


@dataclass(frozen=True)
class Kernel:
    """One weight tensor and the layer that owns it.

    Attributes:
      layer: the plain Keras layer, without wrapper.
      name: the layer's name; a second layer of that name has those of the models that hold it
        before it.
      variable: the tensor, output channels last (for depthwise convolutions: channels, multiplier;
        for transposed ones the output channels come before the input channels).
      frozen: whether a training of the model leaves it as it is.
    """

    layer: Any
    name: str
    variable: Any
    frozen: bool = False

    @property
    def part(self) -> str:
        """Which weight of its layer it is, such as `"kernel"` or `"query/kernel"`."""
        path, own = self.variable.name.split(":")[0], f"{self.layer.name}/"
        return path.rpartition(own)[2] if own in path else _last(path)

    @property
    def label(self) -> str:
        """The layer's name; of a layer with several kernels, `layer/part`."""
        alone = sum(map(is_kernel, self.layer.weights)) <= 1
        return self.name if alone else f"{self.name}/{self.part}"

    @property
    def input_axis(self) -> int | None:
        """The axis along which one output sums its inputs; None where there is no single one."""
        if any(kind.__name__ in _SUMS_MANY for kind in type(self.layer).__mro__):
            return -2 if len(self.variable.shape) == 2 else None
        return -1 if self.kind in _SUMS_LAST else -2

    @property
    def kind(self) -> str:
        """The layer's class name, such as `"Conv2D"`."""
        return type(self.layer).__name__

    @property
    def depthwise(self) -> bool:
        """Whether this is the spatial kernel of a depthwise or separable convolution."""
        return "depthwise" in weight_name(self.variable)

    def numpy(self) -> np.ndarray:
        """A copy of the values; those of half precision as float32."""
        values = np.array(self.variable.numpy())
        return values.astype(np.float32) if values.dtype.itemsize < 4 else values

    def assign(self, values: np.ndarray) -> None:
        """Puts values into the layer, in the precision that it stores them in."""
        self.variable.assign(values.astype(self.variable.dtype.as_numpy_dtype))


def leaf_layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model in order, those of nested models in their place."""
    return (layer for _, layer in _leaves(model, path=""))


def named_layers(model: Any) -> dict[str, Any]:
    """The layers of `leaf_layers`, each once, by a name that no other one has.

    A layer inside a nested model keeps its name where it is the first of that name; others are
    called as a flattened model calls them, `backbone_conv1`.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for path, layer in _leaves(model, path=""):
        if id(layer) not in seen:
            seen.add(id(layer))
            found[_free_name(plain_layer(layer).name, path, found)] = layer
    return found


def _leaves(model: Any, *, path: str) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        # A subclassed model inside a model may hold weights beside those of its layers.
        if getattr(layer, "_is_graph_network", False):
            yield from _leaves(layer, path=f"{path}{layer.name}_")
        else:
            yield path, layer


def _free_name(name: str, path: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        free = f"{path}{name}" if number == 1 and path else f"{path}{name}_{number}"
        number += 1
    return free


def require_finite(model: Any, *, what: str) -> None:
    """Refuses a model with weights that are NaN or infinite.

    Args:
      model: any Keras model.
      what: who asks, for the message.

    Raises:
      ValueError: the message names the layer.
    """
    for name, layer in named_layers(model).items():
        for weight in layer.weights:
            if not weight.dtype.is_floating:
                continue
            bad = int((~np.isfinite(weight.numpy().astype(np.float32))).sum())
            if bad:
                raise ValueError(
                    f"{what}: {bad} of the {int(np.prod(weight.shape)):,} numbers of "
                    f"{weight_name(weight)} of the layer {name} are NaN or infinite. Its training "
                    "went wrong; go back to weights from before."
                )


def weighted_layers(model: Any) -> dict[str, Any]:
    """The layers of `named_layers` that own weights, without TF-MOT's wrappers."""
    # A wrapper may have taken the only weight, the kernel, from its layer.
    return {
        name: plain_layer(layer)
        for name, layer in named_layers(model).items()
        if plain_layer(layer).weights or any(map(is_kernel, layer.weights))
    }


def plain_layer(layer: Any) -> Any:
    """The layer that a TF-MOT wrapper holds; any other layer itself.

    Keras' own wrappers, such as `Bidirectional`, are layers like any other.
    """
    kinds = type(layer).__mro__
    wrapped = any(kind.__module__.startswith("tensorflow_model_optimization") for kind in kinds)
    return layer.layer if wrapped and hasattr(layer, "layer") else layer


def kernels(model: Any) -> list[Kernel]:
    """Lists the kernels of a model, each variable once, in the order of the layers."""
    found: dict[int, Kernel] = {}
    trained = {id(variable) for variable in model.trainable_weights}
    for name, layer in named_layers(model).items():
        for variable in filter(is_kernel, layer.weights):
            kernel = Kernel(plain_layer(layer), name, variable, frozen=id(variable) not in trained)
            found.setdefault(id(variable), kernel)
    return list(found.values())


def tables(model: Any) -> list[Kernel]:
    """Lists the tables of Embedding layers, [rows, width], as `kernels` does.

    A table, too, multiplies what it is given, if that is taken for a row of zeros with a single 1.
    """
    trained = {id(variable) for variable in model.trainable_weights}
    found: dict[int, Kernel] = {}
    for name, layer in named_layers(model).items():
        plain = plain_layer(layer)
        if isinstance(plain, keras.layers.Embedding):
            frozen = id(plain.embeddings) not in trained
            found.setdefault(id(plain.embeddings), Kernel(plain, name, plain.embeddings, frozen))
    return list(found.values())


def kernels_and_tables(model: Any) -> list[Kernel]:
    """Lists the kernels, then the tables."""
    return [*kernels(model), *tables(model)]


def is_kernel(variable: Any) -> bool:
    """Whether a weight multiplies activations, by its name: `kernel`, `recurrent_kernel`, ..."""
    name = weight_name(variable)
    return name.endswith("kernel") and not name.startswith(_BESIDE_KERNELS)


def weight_name(variable: Any) -> str:
    """The last part of a variable's name: `"kernel"` of `"conv1/kernel:0"`."""
    return _last(variable.name.split(":")[0])


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def passed_over(
    model: Any,
    reason: Callable[[Kernel], str],
    *,
    weights: Callable[[Any], Sequence[Kernel]] = kernels,
) -> dict[str, str]:
    """Lists what a technique that treats kernels leaves as it is.

    Args:
      model: any Keras model.
      reason: why a kernel is not treated; empty where it is.
      weights: lists what the technique may treat.

    Raises:
      ValueError: something else than a tf_keras model.

    Returns:
      For each layer with weights none of whose kernels is treated, the reason under its name; for
      each untreated kernel of another layer, the reason under `layer/weight`.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"A tf_keras model is needed. Received: {type(model).__module__.split('.')[0]}."
            f"{type(model).__name__}. tfcompress.load_model makes one of a Keras 3 model or a file."
        )
    reasons: dict[str, dict[str, str]] = {name: {} for name in weighted_layers(model)}
    for kernel in weights(model):
        reasons.setdefault(kernel.name, {})[kernel.part] = reason(kernel)
    found = {}
    for name, parts in reasons.items():
        if all(parts.values()):
            found[name] = "; ".join(dict.fromkeys(parts.values())) or NO_KERNEL
        else:
            found |= {f"{name}/{part}": why for part, why in parts.items() if why}
    return found


def nothing_treated(technique: str, skipped: Mapping[str, str]) -> str:
    """The message of a technique that can treat no layer of a model, with the reasons."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
    return f"{technique} can treat no layer of the model. " + (
        f"Skipped: {reasons}." if reasons else "It has no layer with weights."
    )


def named(name: str, patterns: str) -> bool:
    """Whether a layer's name fits one of the patterns, which are separated by `|`.

    Example:
      >>> named("block_3_conv", "stem|block_*")
      True
      >>> named("layer_0/attention/key", "layer_*/attention/*")
      True
    """
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _split(patterns))


def require_named(model: Any, patterns: str, *, what: str) -> None:
    """Refuses patterns that fit no layer of a model: a typo would pass in silence.

    Raises:
      ValueError: the message lists the model's layers, and says how several patterns are written
        where a slash stands between them.
    """
    names = list(weighted_layers(model))
    for pattern in _split(patterns):
        if not fnmatch.filter(names, pattern):
            parts = pattern.split("/")
            several = len(parts) > 1 and all(fnmatch.filter(names, part) for part in parts)
            advice = f" Several are written as {SEPARATOR.join(parts)}." if several else ""
            raise ValueError(
                f"{what}={pattern} fits no layer of the model.{advice} Layers: {', '.join(names)}."
            )


def _split(patterns: str) -> list[str]:
    return [pattern for pattern in patterns.split(SEPARATOR) if pattern]


def distinct(values: np.ndarray) -> int:
    """Number of distinct values; negative and positive zero count as one."""
    return int(np.unique(values + 0.0).size)


def layer_reports(
    before: Any,
    after: Any,
    *,
    reasons: Mapping[str, str],
    without_kernel: str = NO_KERNEL,
    became: Mapping[str, Sequence[str]] = MappingProxyType({}),
    details: Mapping[str, str] = MappingProxyType({}),
    weights: Callable[[Any], Sequence[Kernel]] = kernels,
) -> tuple[LayerReport, ...]:
    """Describes every layer with weights: treated, or skipped with the reason.

    Args:
      before: the model that a technique was given.
      after: the model that it left.
      reasons: why a layer was skipped, by its name, or one of its weights, by `layer/weight`; what
        is not named was treated.
      without_kernel: why layers without a kernel were skipped that `reasons` does not name; empty
        where they were treated too.
      became: the names of the layers of `after` that stand for a layer of `before`, by its name; a
        layer that is not named is still the one of its name.
      details: what was done to a layer, by its name.
      weights: lists what the technique may treat.
    """
    after_kernels: dict[str, list[Kernel]] = {}
    for kernel in weights(after):
        after_kernels.setdefault(kernel.name, []).append(kernel)
    reports = []
    layers = weighted_layers(before)
    for name, inner in layers.items():
        own = [k for part in became.get(name, [name]) for k in after_kernels.get(part, [])]
        reason = reasons.get(name, "" if own else without_kernel)
        values = np.concatenate([kernel.numpy().ravel() for kernel in own]) if own else None
        reports.append(
            LayerReport(
                name=name,
                kind=type(inner).__name__,
                parameters=int(sum(np.prod(weight.shape) for weight in inner.trainable_weights)),
                treated=not reason,
                reason=reason or of_parts(name, reasons, layers=layers),
                kernel_parameters=None if values is None else int(values.size),
                sparsity=float(np.mean(values == 0)) if values is not None else None,
                distinct_weights=distinct(values) if values is not None else None,
                detail=details.get(name, ""),
            )
        )
    return tuple(reports)


def of_parts(name: str, reasons: Mapping[str, str], *, layers: Collection[str]) -> str:
    """Why some of a layer's weights were left out, each under its own name.

    Args:
      name: the layer's.
      reasons: those of `passed_over`.
      layers: the names of all layers. A name may hold a slash itself (`conv/BatchNorm`), and then
        begin with that of another layer.
    """
    own = {
        key[len(name) + 1 :]: why
        for key, why in reasons.items()
        if key.startswith(f"{name}/") and key not in layers
    }
    return "; ".join(f"{part}: {why}" for part, why in own.items())
