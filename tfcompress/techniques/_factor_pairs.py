"""A Dense, Conv2D or Embedding layer as two thinner ones, which its name tells apart from others.

Knows which layers can be split, what the two cost, and what the layer's inputs look like. Does not
know how a rank is chosen.

    Dense                 inputs -> rank -> units
    Conv2D, 1x1           the same at each position
    Conv2D, height x width    height x 1 to `rank` channels, then 1 x width
    Embedding             a table of `rank` columns, then a Dense layer without bias

The first has no bias and no activation. The second keeps the layer's name, bias and activation, so
that what stood after the layer stands after the second one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph import connections, cost
from tfcompress.graph.kernels import (
    Kernel,
    kernels,
    kernels_and_tables,
    named_layers,
    plain_layer,
)
from tfcompress.graph.rebuild import Use, in_float32, rebuild
from tfcompress.techniques._low_rank import Inputs

FIRST = "low_rank"
"""The first layer of a pair is called `<layer>_low_rank`."""

_FIRST_OF = re.compile(rf"(.+)_{FIRST}(?:_\d+)?")
_IMAGES_AT_ONCE = 8


def unsupported(kernel: Kernel) -> str:
    """Why a kernel cannot be split whatever its values are; empty where it can."""
    layer = kernel.layer
    if kernel.kind.startswith("Depthwise"):
        return "depthwise: each channel has a filter of its own, which no other one shares"
    # Not a subclass: Conv2DTranspose is one, and a user's may compute anything.
    if type(layer) not in (keras.layers.Dense, keras.layers.Conv2D, keras.layers.Embedding):
        return f"{kernel.kind}: only Dense, Conv2D and Embedding are split"
    if getattr(layer, "groups", 1) > 1:
        return f"grouped: its {layer.groups} groups share no inputs"
    constraint = "embeddings_constraint" if is_table(kernel) else "kernel_constraint"
    if getattr(layer, constraint) is not None:
        return "has a kernel constraint, which would not hold for the product of two kernels"
    return ""


def is_table(kernel: Kernel) -> bool:
    """Whether a weight is the table of an Embedding layer."""
    return isinstance(kernel.layer, keras.layers.Embedding)


def matrix(kernel: Kernel) -> np.ndarray:
    """The kernel as the matrix that is factorized: [height * inputs, width * outputs]."""
    values = kernel.numpy()
    if values.ndim == 2:
        return values
    height, width, inputs, outputs = values.shape
    return values.transpose(0, 2, 1, 3).reshape(height * inputs, width * outputs)


def whole(kernel: Kernel, product: np.ndarray) -> np.ndarray:
    """What `matrix` made, as a kernel again."""
    shape = kernel.variable.shape
    if len(shape) == 2:
        return product
    height, width, inputs, outputs = shape
    return product.reshape(height, inputs, width, outputs).transpose(0, 2, 1, 3)


@dataclass(frozen=True)
class Price:
    """Parameters, or multiply-accumulates of one image; at an open size those of one position.

    Attributes:
      whole: of the layer as it is, in all its calls.
      per_rank: of the two layers, for each rank.
    """

    whole: int
    per_rank: int


def parameters(splittable: Sequence[Kernel]) -> dict[str, Price]:
    """How many weights each of some layers has in its kernel or table, by its name."""
    shapes = {kernel.name: matrix(kernel).shape for kernel in splittable}
    return {name: Price(rows * columns, rows + columns) for name, (rows, columns) in shapes.items()}


def prices(model: Any) -> dict[str, Price]:
    """How many multiply-accumulates each layer of a model that can be split costs, by its name.

    Args:
      model: functional or sequential model, models within it included.
    """
    split = {id(k.layer): k for k in kernels(model) if not unsupported(k)}
    calls: dict[str, list[tuple[int, int] | None]] = {}
    for node in cost.calls(model):
        kernel = split.get(id(plain_layer(node.layer)))
        if kernel is not None:
            calls.setdefault(kernel.name, []).append(_positions(node, kernel.layer))
    return {k.name: _price(k, calls[k.name]) for k in split.values()}


def _positions(node: Any, layer: Any) -> tuple[int, int] | None:
    """Where the first layer of a pair would be applied, and the second; None where that is open."""
    given, output = node.input_shapes, node.output_shapes
    if isinstance(layer, keras.layers.Dense):
        first = second = output[1:-1]
    else:
        along = slice(2, 4) if layer.data_format == "channels_first" else slice(1, 3)
        second = output[along]
        first = second[0], given[along][1] if layer.kernel_size[1] > 1 else second[1]
    if None in (*first, *second):
        return None
    return math.prod(first), math.prod(second)


def _price(kernel: Kernel, calls: Sequence[tuple[int, int] | None]) -> Price:
    rows, columns = matrix(kernel).shape
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        known = [(_columns_read(kernel.layer), 1)]
    return Price(
        whole=sum(rows * columns * second for _, second in known),
        per_rank=sum(rows * first + columns * second for first, second in known),
    )


def _columns_read(layer: Any) -> int:
    """For each column of the output, how many the first layer of a pair gives."""
    if isinstance(layer, keras.layers.Dense) or layer.kernel_size[1] == 1:
        return 1
    return int(layer.strides[1])


def split(model: Any, factors: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """Builds a model anew, with two layers in the place of each that `factors` names.

    Args:
      model: flat functional model.
      factors: by the layer's name, two matrices whose product stands for `matrix` of its kernel.
    """
    names = {id(layer): name for name, layer in named_layers(model).items()}
    firsts: dict[int, Any] = {}
    weights = []

    def replace(use: Use) -> Any:
        layer, found = use.layer, factors.get(names[id(use.layer)])
        if found is None:
            return use.again()
        first, second = _kernels_of(layer, *found)
        if id(layer) not in firsts:
            name = use.named(f"{layer.name}_{FIRST}")
            firsts[id(layer)] = _first_layer(layer, name, rank=found[0].shape[1])
            weights.append((firsts[id(layer)], first))
        bias = layer.get_weights()[1:]
        make = use.instead(lambda name: _second_layer(layer, name), weights=[second, *bias])
        return make(firsts[id(layer)](*use.args))

    built = rebuild(model, replace)
    for layer, kernel in weights:
        layer.set_weights([kernel])
    return built


def _kernels_of(layer: Any, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(layer, keras.layers.Conv2D):
        return left, right
    rank, (height, width) = left.shape[1], layer.kernel_size
    first = left.reshape(height, 1, -1, rank)
    second = right.reshape(rank, 1, width, -1).transpose(1, 2, 0, 3)
    return first, second


def _first_layer(layer: Any, name: str, *, rank: int) -> Any:
    config = _config(layer)
    if isinstance(layer, keras.layers.Embedding):
        return keras.layers.Embedding.from_config({**config, "name": name, "output_dim": rank})
    for own in ("bias_initializer", "bias_regularizer", "bias_constraint", "activity_regularizer"):
        config.pop(own)
    config |= {"name": name, "use_bias": False, "activation": None}
    if isinstance(layer, keras.layers.Dense):
        return keras.layers.Dense.from_config({**config, "units": rank})
    (height, width), (down, across) = layer.kernel_size, layer.strides
    return keras.layers.Conv2D.from_config(
        {
            **config,
            "filters": rank,
            "kernel_size": (height, 1),
            # A kernel of one column steps over columns that nobody would read.
            "strides": (down, across if width == 1 else 1),
            "dilation_rate": (layer.dilation_rate[0], 1),
        }
    )


def _second_layer(layer: Any, name: str) -> Any:
    config = {**_config(layer), "name": name}
    if isinstance(layer, keras.layers.Embedding):
        return keras.layers.Dense(
            layer.output_dim,
            use_bias=False,
            kernel_regularizer=layer.embeddings_regularizer,
            dtype=layer.dtype_policy,
            name=name,
        )
    if isinstance(layer, keras.layers.Dense):
        return keras.layers.Dense.from_config(config)
    width, across = layer.kernel_size[1], layer.strides[1]
    return keras.layers.Conv2D.from_config(
        {
            **config,
            "kernel_size": (1, width),
            "strides": (1, 1 if width == 1 else across),
            "dilation_rate": (1, layer.dilation_rate[1]),
        }
    )


def _config(layer: Any) -> dict[str, Any]:
    return {key: v for key, v in layer.get_config().items() if key != "batch_input_shape"}


@dataclass(frozen=True)
class Pair:
    """Two layers of a model that stand for one.

    Attributes:
      name: of the layer that they stand for, and of the second one.
      first: the kernel of the first.
      second: the kernel of the second.
    """

    name: str
    first: Kernel
    second: Kernel

    @property
    def rank(self) -> int:
        """How many channels lie between them."""
        return int(self.first.variable.shape[-1])

    @property
    def of_table(self) -> bool:
        """Whether the one layer is a table."""
        return is_table(self.first)

    @property
    def full_rank(self) -> int:
        """The greatest rank that the one layer could have."""
        return min(self._sides)

    @property
    def elements(self) -> tuple[int, int]:
        """Weights in the kernels of the pair, and in that of the one layer."""
        rows, columns = self._sides
        return self.rank * (rows + columns), rows * columns

    @property
    def _sides(self) -> tuple[int, int]:
        first, second = self.first.variable.shape, self.second.variable.shape
        return math.prod(first[:-1]), math.prod(second) // int(second[-2])


def pairs(model: Any) -> Iterator[Pair]:
    """Yields the pairs of a model, also where quantization wrappers hold their kernels."""
    found = {kernel.name: kernel for kernel in kernels_and_tables(model)}
    for name, first in found.items():
        match = _FIRST_OF.fullmatch(name)
        second = found.get(match[1]) if match else None
        if match and second is not None and first.variable.shape[-1] == second.variable.shape[-2]:
            yield Pair(match[1], first, second)


def inputs_of(model: Any, names: Sequence[str], images: Any) -> dict[str, Inputs]:
    """What each layer multiplies with its `matrix`, over images, positions and calls.

    Args:
      model: flat functional model; it is run in float32, whatever its precision.
      names: of layers that can be split.
      images: float32 [examples, ...], or one such array for each input.
    """
    model = in_float32(model)
    layers = {name: layer for name, layer in named_layers(model).items() if name in names}
    taken = {
        name: [
            node.keras_inputs[0]
            for node in connections.nodes(model)
            if node.layer is layer and not node.is_input
        ]
        for name, layer in layers.items()
    }
    run = keras.Model(model.inputs, taken)
    products: dict[str, Any] = dict.fromkeys(layers, 0.0)
    sums: dict[str, Any] = dict.fromkeys(layers, 0.0)
    counts = dict.fromkeys(layers, 0)
    arrays = list(images) if isinstance(images, list | tuple) else [images]
    for start in range(0, len(arrays[0]), _IMAGES_AT_ONCE):
        batch = [array[start : start + _IMAGES_AT_ONCE] for array in arrays]
        for name, tensors in run(batch, training=False).items():
            for tensor in tensors:
                count, product, total = _sums(layers[name], tensor)
                products[name] += product
                sums[name] += total
                counts[name] += count
    return {n: Inputs(products[n] / counts[n], sums[n] / counts[n]) for n in layers}


def _sums(layer: Any, tensor: Any) -> tuple[int, np.ndarray, np.ndarray]:
    """Of the rows x that a layer is given: their count, and the sums of x' x and of x."""
    if isinstance(layer, keras.layers.Embedding):
        # A row has a single 1, so that the products of two of its numbers are 0.
        numbers = tensor.numpy().ravel()
        used = np.bincount(numbers, minlength=layer.input_dim).astype(np.float64)
        return numbers.size, used, used
    rows = _rows(layer, tensor)
    product = tf.matmul(rows, rows, transpose_a=True)
    return (
        int(rows.shape[0]),
        product.numpy().astype(np.float64),
        tf.reduce_sum(rows, axis=0).numpy().astype(np.float64),
    )


def _rows(layer: Any, tensor: Any) -> Any:
    """What the first layer of a pair would multiply, float32 [positions, rows]."""
    if isinstance(layer, keras.layers.Dense):
        return tf.reshape(tensor, [-1, tensor.shape[-1]])
    if layer.data_format == "channels_first":
        tensor = tf.transpose(tensor, [0, 2, 3, 1])
    (height, width), (down, across) = layer.kernel_size, layer.strides
    columns = tf.image.extract_patches(
        tensor,
        sizes=[1, height, 1, 1],
        strides=[1, down, across if width == 1 else 1, 1],
        rates=[1, layer.dilation_rate[0], 1, 1],
        padding=layer.padding.upper(),
    )
    return tf.reshape(columns, [-1, columns.shape[-1]])
