"""The record that Keras 3 keeps of a model's calls, and how to get one where there is none.

Reads private attributes of Keras 3 (`_nodes_by_depth`, `_inputs_struct`, `_keras_history`), which
are the only record that it keeps. Does not know tf_keras.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tfcompress._keras import keras3
from tfcompress.graph.model_files import ModelError, first_line

UNUSED_SETTINGS = ("data_format", "fill_mode", "fill_value", "crop_to_aspect_ratio")
"""Settings of operators that may be left out where they have their default values."""


def as_functional(model: Any) -> Any:
    """The record of a Keras 3 model's calls.

    Raises:
      ModelError: a Sequential model that was never built, or a subclassed one that was not called
        or whose `call` cannot be traced.
    """
    if isinstance(model, keras3.Sequential):
        if getattr(model, "_functional", None) is None:
            raise ModelError(
                f"The Sequential model {model.name!r} was never built: its input shape is unknown. "
                "Call model.build(shape), or begin it with keras.Input."
            )
        return model._functional
    if is_recorded(model):
        return model
    return _traced_model(model)


def is_recorded(model: Any) -> bool:
    """Whether Keras itself defines what a model does, and has it on record."""
    if isinstance(model, keras3.Sequential):
        return True
    owner = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return hasattr(model, "_nodes_by_depth") and owner.__module__.startswith("keras.src.")


def _traced_model(model: Any) -> Any:
    kind = type(model).__name__
    shapes = getattr(model, "_build_shapes_dict", None)
    if hasattr(model, "_inputs_struct"):
        inputs = [keras3.tree.map_structure(_input_like, model._inputs_struct)]
    elif shapes:
        inputs = [keras3.tree.map_shape_structure(_input_of, shape) for shape in shapes.values()]
    elif model.built:
        raise ModelError(
            f"{kind} is a subclassed model, and its call could not be traced into layers: Keras "
            "could not do so either when the model was first called, and so has no record of its "
            "input shape. Build it with the functional API or as Sequential."
        )
    else:
        raise ModelError(
            f"{kind} is a subclassed model whose input shape is unknown. Call it on one batch of "
            "data first, or build it with the functional API."
        )
    try:
        outputs = model.call(*inputs)
        return keras3.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=model.name)
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(
            f"{kind} is a subclassed model, and its call could not be traced into layers: "
            f"{first_line(error)} Build it with the functional API or as Sequential."
        ) from error


def _input_like(tensor: Any) -> Any:
    return keras3.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=input_name(tensor))


def _input_of(shape: Any) -> Any:
    return keras3.Input(batch_shape=(None, *shape[1:]))


def input_name(tensor: Any) -> str:
    """The name of the input layer that gives a tensor."""
    operation = tensor._keras_history.operation
    return operation.name if operation is not None else tensor.name


def traced_function(
    function: Callable[..., Any], args: Any, kwargs: Any, *, owner: str
) -> tuple[Any, Any]:
    """Calls a Python function on symbolic tensors.

    Args:
      function: the user's own code.
      args: its arguments, with symbolic tensors of Keras 3.
      kwargs: its keywords, likewise.
      owner: the layer's name, for the message.

    Returns:
      The record of its calls, and what it returned.

    Raises:
      ModelError: it does not consist of layers and operators of Keras.
    """
    inputs = [x for x in keras3.tree.flatten((args, kwargs)) if isinstance(x, keras3.KerasTensor)]
    try:
        outputs = function(*args, **kwargs)
        return keras3.Function(inputs, outputs), outputs
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(
            f"The layer {owner!r} has no counterpart in tf_keras, and its code could not be "
            f"traced into layers and operators of Keras: {first_line(error)} Write it with "
            "those, or pass a tf_keras layer for its class in custom_objects."
        ) from error


def needed_calls(record: Any) -> Iterator[Any]:
    """The calls that lead to the outputs, in order; those that only make automatic masks do not."""
    found: set[int] = set()
    pending = list(record.outputs)
    while pending:
        history = getattr(pending.pop(), "_keras_history", None)
        if history is None or history.operation is None:
            continue
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in found:
            found.add(id(node))
            used = keras3.tree.flatten((node.arguments.args, own_kwargs(node)))
            pending += [item for item in used if isinstance(item, keras3.KerasTensor)]
    for depth in sorted(record._nodes_by_depth, reverse=True):
        for node in record._nodes_by_depth[depth]:
            if id(node) in found and not node.is_input:
                yield node


def own_kwargs(node: Any) -> dict[str, Any]:
    """The keywords of a call without those that Keras fills in by itself, in tf_keras too."""
    kept = {}
    for key, value in node.arguments.kwargs.items():
        automatic = key == "training" and _training_default(node.operation) is not None
        if key == "mask" or (key.endswith("_mask") and key != "attention_mask"):
            automatic = _has_mask(node)
        empty = all(item is None for item in keras3.tree.flatten(value))
        if not empty and not automatic:
            kept[key] = value
    return kept


def _has_mask(node: Any) -> bool:
    first = keras3.tree.flatten(node.arguments.args)[0]
    return getattr(first, "_keras_mask", None) is not None


def _training_default(operation: Any) -> Any:
    """`training` in the signature of `call`: Keras 3 writes it into each call that gives none."""
    signature = getattr(operation, "_call_signature", None)
    parameter = signature and signature.parameters.get("training")
    return parameter.default if parameter else None


def operator_settings(operation: Any) -> dict[str, Any]:
    """What an operator was made with, by the names of its constructor.

    What is off (None or False) by default and was left so is left out.
    """
    settings = {}
    for key, parameter in inspect.signature(type(operation).__init__).parameters.items():
        if key in ("self", "name") or not hasattr(operation, key):
            continue
        value = getattr(operation, key)
        usual = parameter.default
        off = usual is value and (value is None or value is False)
        if not off and (key not in UNUSED_SETTINGS or value not in (usual, "channels_last")):
            settings[key] = value
    return settings


def weight_values(layer: Any) -> list[np.ndarray]:
    """The weights of a layer or model as arrays."""
    with warnings.catch_warnings():
        # Keras 3 copies TensorFlow's variables in a way that NumPy 2 warns of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return [np.asarray(values) for values in layer.get_weights()]


def is_built_in(function: Any) -> bool:
    """Whether a function is one of Keras 3's own activations."""
    return getattr(keras3.activations, getattr(function, "__name__", ""), None) is function
