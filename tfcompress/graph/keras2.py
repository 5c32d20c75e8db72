"""A tf_keras model whose code has to be traced, as a functional model of layers and operators.

Two kinds have such code: a subclassed model, and a Lambda layer. Each is called on symbolic
tensors; what it does to them becomes part of a functional model. Knows neither files nor the normal
form.
"""

from __future__ import annotations

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
    if any(type(layer) is keras.layers.Lambda for layer in leaf_layers(model)):
        model = rebuild(model, _without_lambda)
    return model


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
    return tf.nest.map_structure(
        lambda one: tf.TensorSpec(one, keras.backend.floatx()),
        shape,
        # A shape is one thing here, not a list of numbers.
    )


def _without_lambda(use: Use) -> Any:
    """The operators of a Lambda layer, in its place."""
    layer = use.layer
    if type(layer) is not keras.layers.Lambda:
        return use.again()
    keywords = dict(layer.arguments or {})
    try:
        return layer.function(*use.args, **keywords)
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(
            f"The Lambda layer {layer.name!r} could not be traced into operators: "
            f"{first_line(error)} Replace it by layers, or by TensorFlow operators "
            "called on the tensors directly."
        ) from error
