"""A tf_keras model whose code has to be traced, as a functional model of layers and operators.

Three kinds have such code: a subclassed model, a Lambda layer, and an activation function of the
user's own. Each is called on symbolic tensors; what it does to them becomes part of a functional
model. Knows neither files nor the normal form.
"""

from __future__ import annotations

import types
from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import leaf_layers
from tfcompress.graph.model_files import ModelError, first_line
from tfcompress.graph.rebuild import Use, rebuild


def traced(model: Any) -> Any:
    """The given model, or where it has code a functional one that computes the same.

    Args:
      model: live tf_keras model. Its weights stay as they are, and are shared by a traced model.

    Raises:
      ModelError: the code could not be traced; the message says what failed.
    """
    if _defines_call(model):
        model = _traced_model(model)
    if any(_has_code(layer) for layer in leaf_layers(model)):
        model = rebuild(model, _without_code)
    return model


def _has_code(layer: Any) -> bool:
    return type(layer) is keras.layers.Lambda or _own_activation(layer) is not None


def _own_activation(layer: Any) -> Any:
    """A layer's activation where that is a function of the user's own, None elsewhere."""
    function = getattr(layer, "activation", None)
    # Within a recurrent layer it cannot stand apart.
    if not isinstance(function, types.FunctionType) or hasattr(layer, "cell"):
        return None
    return None if _is_of_keras(function) else function


def _is_of_keras(function: Any) -> bool:
    """Whether Keras gives a function, or one like it, for the function's name."""
    if function.__module__.split(".")[0] == "tf_keras":
        return True
    name = keras.activations.serialize(function)
    return isinstance(name, str) and hasattr(keras.activations, name)


def _defines_call(model: Any) -> bool:
    """Whether it is a subclassed model, whose `call` is the user's own."""
    owner = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return owner.__module__.split(".")[0] != "tf_keras" or owner is keras.Model


def _traced_model(model: Any) -> Any:
    kind = type(model).__name__
    spec = _input_spec(model)
    if spec is None:
        raise ModelError(
            f"{kind} is a subclassed model whose input shape is unknown. Call it on one batch of "
            "data first, or build it with the functional API."
        )
    inputs = tf.nest.map_structure(
        lambda tensor: keras.Input(shape=tensor.shape[1:], dtype=tensor.dtype), spec
    )
    try:
        return keras.Model(inputs, model.call(inputs), name=model.name)
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(
            f"{kind} is a subclassed model, and its call could not be traced into layers: "
            f"{first_line(error)} Build it with the functional API or as Sequential."
        ) from error


def _input_spec(model: Any) -> Any:
    """Shapes and types of what the model was called on, or built for; None where it was neither."""
    if model._saved_model_inputs_spec is not None:
        return model._saved_model_inputs_spec
    shape = model._build_input_shape
    if shape is None:
        return None
    if isinstance(shape, tuple) and all(size is None or isinstance(size, int) for size in shape):
        shape = tf.TensorShape(shape)
    return tf.nest.map_structure(lambda one: tf.TensorSpec(one, keras.backend.floatx()), shape)


def _without_code(use: Use) -> Any:
    """The operators of a Lambda layer or of an activation function, in its place."""
    layer = use.layer
    if type(layer) is keras.layers.Lambda:
        return _called(layer, layer.function, *use.args, **(layer.arguments or {}))
    function = _own_activation(layer)
    if function is None:
        return use.again()
    config = {**layer.get_config(), "activation": "linear"}
    linear = use.instead(lambda name: type(layer).from_config({**config, "name": name}))
    return _called(layer, function, linear(*use.args, **use.kwargs))


def _called(layer: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(
            f"The code in the layer {layer.name!r} ({type(layer).__name__}) could not be traced "
            f"into operators: {first_line(error)} Replace it by layers, or by TensorFlow operators "
            "called on the tensors directly."
        ) from error
