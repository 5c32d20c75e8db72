"""A tf_keras model as a Keras 3 model: the way back for whoever works with Keras 3.

    tfcompress.to_keras3(prune.strip(model)).save("pruned.keras")

Knows what Keras 3 has for each layer of the normal form. The other direction is `from_keras3`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfcompress._keras import keras, keras3, tf
from tfcompress.graph import agreement
from tfcompress.graph.connections import nodes
from tfcompress.graph.layer_configs import has_activation, translated
from tfcompress.graph.model_files import ModelError
from tfcompress.graph.normal_form import is_normal, normalize
from tfcompress.graph.same_outputs import require_same_outputs, run_keras2, run_keras3


def to_keras3(model: Any, *, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Builds the Keras 3 model that computes what a tf_keras model computes.

    The outputs of both are compared on random inputs, as `load_model` does. Zeros and shared values
    of compressed weights stay as they are.

    Args:
      model: functional or Sequential tf_keras model, stripped of what only a compression needed. It
        stays as it is.
      custom_objects: Keras 3 layers by the class name of the tf_keras layers that they stand for;
        they take the same config and weights.

    Returns:
      A functional Keras 3 model with weights of its own, which `model.save("x.keras")` writes and
      Keras 3 loads with nothing else installed.

    Raises:
      ModelError: a layer has no counterpart, or the outputs differ.

    Example:
      >>> from tfcompress._keras import keras
      >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2, "relu")])
      >>> [type(layer).__module__.split(".")[0] for layer in to_keras3(model).layers]
      ['keras', 'keras']
    """
    try:
        flat = model if is_normal(model) else normalize(model)
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(str(error)) from error
    built = _Conversion(dict(custom_objects or {})).model(flat)
    require_same_outputs(
        model.name,
        agreement.random_inputs(flat),
        given=lambda inputs: run_keras2(flat, inputs),
        made=lambda inputs: run_keras3(built, inputs),
        tolerance=agreement.tolerance_for(flat),
    )
    return built


class _Conversion:
    """What is known while one model is converted."""

    def __init__(self, custom_objects: dict[str, Any]) -> None:
        self._custom = custom_objects
        self._made: dict[int, Any] = {}
        self._names: set[str] = set()

    def model(self, model: Any) -> Any:
        tensors = {
            str(id(tensor)): keras3.Input(
                batch_shape=tuple(tensor.shape),
                dtype=tensor.dtype.name,
                name=self._free_name(tensor.name),
            )
            for tensor in model.inputs
        }
        inputs = tf.nest.map_structure(lambda t: tensors[str(id(t))], model._nested_inputs)
        for node in nodes(model):
            if node.is_input:
                continue
            taken = node.flat_input_ids
            # Keras takes each use of a tensor from a list of its own.
            args, kwargs = node.map_arguments({key: [tensors[key]] * len(taken) for key in taken})
            outputs = self._call(node.layer, args, kwargs)
            flat = keras3.tree.flatten(outputs)
            tensors.update(zip(map(str, node.flat_output_ids), flat, strict=True))
        outputs = tf.nest.map_structure(lambda t: tensors[str(id(t))], model._nested_outputs)
        return keras3.Model(inputs, outputs, name=model.name.replace("/", "_"))

    def _free_name(self, name: str) -> str:
        """A name without the slashes that Keras 2 allows, and that no other layer has."""
        base = free = name.replace("/", "_")
        number = 1
        while free in self._names:
            free = f"{base}_{number}"
            number += 1
        self._names.add(free)
        return free

    def _call(self, layer: Any, args: Any, kwargs: Any) -> Any:
        from tfcompress.graph import _layers

        kind = type(layer).__name__
        if type(layer).__module__ == _layers.__name__:
            if kind in _OPERATORS:
                return self._named(_OPERATORS[kind](layer, *args), args, layer.name)
            return _LAYERS[kind](layer, *args, name=self._free_name(layer.name))
        apart = _ACTIVATIONS.get(_activation_name(layer))
        made = self._layer(layer, linear=apart is not None)
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        outputs = made(*args, **kwargs)
        _set_weights(made, layer)
        return self._named(apart(outputs), outputs, layer.name) if apart else outputs

    def _named(self, outputs: Any, inputs: Any, name: str) -> Any:
        """Names the operators between two tensors after a layer, as no other one is called.

        Keras 3 numbers operators without a look at the layers of the model.
        """
        before = {id(tensor) for tensor in keras3.tree.flatten(inputs)}
        pending = keras3.tree.flatten(outputs)
        while pending:
            tensor = pending.pop()
            if isinstance(tensor, keras3.KerasTensor) and id(tensor) not in before:
                before.add(id(tensor))
                operation, index, _ = tensor._keras_history
                operation.name = self._free_name(name)
                pending += operation._inbound_nodes[index].input_tensors
        return outputs

    def _layer(self, layer: Any, *, linear: bool) -> Any:
        if id(layer) not in self._made:
            kind = type(layer).__name__
            layer_class = self._counterpart(layer)
            config = dict(keras.layers.serialize(layer)["config"])
            if linear:
                config["activation"] = "linear"
            known = self._custom
            settings = translated(kind, config, target=keras3, custom_objects=known)
            settings["name"] = self._free_name(layer.name)
            with keras3.saving.custom_object_scope(known):
                self._made[id(layer)] = layer_class.from_config(settings)
        return self._made[id(layer)]

    def _counterpart(self, layer: Any) -> Any:
        kind = type(layer).__name__
        found = self._custom.get(kind)
        if found is None and type(layer).__module__.startswith("tf_keras."):
            found = getattr(keras3.layers, kind, None)
        if found is None:
            raise ModelError(
                f"The layer {layer.name!r} is a {kind}, which Keras 3 does not have. Strip the "
                "model if a technique wrapped it. For a layer of your own pass a Keras 3 layer "
                f"with the same config and weights as custom_objects={{{kind!r}: ...}}."
            )
        return found


def _activation_name(layer: Any) -> str:
    """The name of an activation that a layer applies last and that the Kerases do not share."""
    function = getattr(layer, "activation", None)
    if not callable(function) or hasattr(layer, "cell"):
        return ""
    name = keras.activations.serialize(function)
    return name if isinstance(name, str) and not has_activation(name, target=keras3) else ""


def _set_weights(made: Any, layer: Any) -> None:
    values = layer.get_weights()
    given, expected = [v.shape for v in values], [tuple(w.shape) for w in made.weights]
    if given != expected:
        raise ModelError(
            f"The layer {layer.name!r} ({type(layer).__name__}) has weights of the shapes {given}, "
            f"and its counterpart in Keras 3 has {expected}."
        )
    made.set_weights(values)
    if hasattr(made, "finalize_state"):
        made.finalize_state()


_ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "hard_sigmoid": lambda x: keras3.ops.clip(0.2 * x + 0.5, 0.0, 1.0),
}
"""Keras 2's activations that Keras 3 has not, or has as something else."""


def _channel_scale(layer: Any, x: Any, *, name: str) -> Any:
    # The only layer in Keras 3 with a weight a channel; files with it load without tfcompress.
    cls = keras3.src.applications.convnext.LayerScale
    made = cls(layer.initial, x.shape[-1], name=name, dtype=layer.dtype_policy.name)
    outputs = made(x)
    made.set_weights(layer.get_weights())
    return outputs


def _activation(function: str) -> Callable[..., Any]:
    def activate(layer: Any, x: Any, *, name: str) -> Any:
        policy = layer.dtype_policy.name
        return keras3.layers.Activation(function, name=name, dtype=policy)(x)

    return activate


def _clip(layer: Any, x: Any) -> Any:
    if layer.maximum is not None:
        x = keras3.ops.minimum(x, layer.maximum)
    return x if layer.minimum is None else keras3.ops.maximum(x, layer.minimum)


def _matmul(layer: Any, pair: Any) -> Any:
    def turned(x: Any, transpose: bool) -> Any:
        axes = [*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2]
        return keras3.ops.transpose(x, axes) if transpose else x

    first, second = pair
    return keras3.ops.matmul(turned(first, layer.transpose_a), turned(second, layer.transpose_b))


def _slice(layer: Any, x: Any) -> Any:
    parts = (slice(*item) if isinstance(item, list) else item for item in layer.key)
    return x[(slice(None), *parts)]


def _pad(layer: Any, x: Any) -> Any:
    settings = {"constant_values": layer.value} if layer.mode == "constant" else {}
    return keras3.ops.pad(x, [[0, 0], *layer.paddings], mode=layer.mode, **settings)


def _depth_to_space(layer: Any, x: Any) -> Any:
    _, height, width, channels = x.shape
    block = layer.block
    deep = channels // block**2
    x = keras3.ops.reshape(x, (-1, height, width, block, block, deep))
    x = keras3.ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return keras3.ops.reshape(x, (-1, height * block, width * block, deep))


def _space_to_depth(layer: Any, x: Any) -> Any:
    _, height, width, channels = x.shape
    block = layer.block
    x = keras3.ops.reshape(x, (-1, height // block, block, width // block, block, channels))
    x = keras3.ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return keras3.ops.reshape(x, (-1, height // block, width // block, channels * block**2))


def _position_ids(layer: Any, x: Any) -> Any:
    if layer.padding_id is None:
        return keras3.ops.arange(x.shape[1], dtype=x.dtype) + keras3.ops.zeros_like(x)
    present = keras3.ops.cast(keras3.ops.not_equal(x, layer.padding_id), x.dtype)
    return keras3.ops.cumsum(present, axis=1) * present + layer.padding_id


def _reduce(layer: Any, x: Any) -> Any:
    return getattr(keras3.ops, layer.kind)(x, axis=layer.axis, keepdims=layer.keepdims)


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "ApproximateGelu": lambda layer, x: keras3.ops.gelu(x, approximate=True),
    "Clip": _clip,
    "DepthToSpace": _depth_to_space,
    "Divide": lambda layer, pair: keras3.ops.divide(*pair),
    "Elementwise": lambda layer, x: getattr(keras3.ops, layer.kind)(x),
    "MatMul": _matmul,
    "Pad": _pad,
    "PositionIds": _position_ids,
    "Power": lambda layer, x: keras3.ops.power(x, layer.exponent),
    "Reduce": _reduce,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "StopGradient": lambda layer, x: keras3.ops.stop_gradient(x),
    "TokenMask": lambda layer, x: keras3.ops.cast(
        keras3.ops.not_equal(x, layer.padding_id), x.dtype
    ),
}
_LAYERS: Mapping[str, Callable[..., Any]] = {
    "ChannelScale": _channel_scale,
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSwish": _activation("hard_silu"),
}
"""What Keras 3 has for the layers of `tfcompress/graph/_layers.py`: operators or layers."""
