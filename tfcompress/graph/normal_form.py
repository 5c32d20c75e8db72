"""Brings a Keras 2 model to the one form that techniques know: flat, of plain layers.

Knows which layers are plain, and what takes the place of those that are not: operator lambdas, the
layers that some networks of Keras bring along, normalization whose statistics are weights. Does not
know files, Keras 3 or techniques.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph import operators, tensorflow_operators
from tfcompress.graph.agreement import Step, disagreement
from tfcompress.graph.arithmetic import hard_swish_source
from tfcompress.graph.rebuild import Use, rebuild, require_functional

_OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda")
_CODE_LAYERS = {
    "Lambda": "holds Python code",
    "TensorFlowOpLayer": "holds a node of a TensorFlow graph",
    "ClassMethod": "calls a method of a TensorFlow class",
    "InstanceMethod": "calls a method of a tensor",
    "InstanceProperty": "reads a property of a tensor",
}


class NormalFormError(ValueError):
    """A model that has no normal form, or whose normal form computes something else."""


def normalize(model: Any, *, check: bool = True) -> Any:
    """Makes one flat functional model of plain layers with the same outputs.

    Args:
      model: built functional or Sequential tf_keras model, with models inside it, shared layers,
        several inputs and outputs, operators called on tensors. It stays as it is.
      check: compare the outputs of both models on random inputs, where anything was rewritten. They
        may differ by 1e-4 of the largest output of an example (1e-2 in float16, 5e-2 in bfloat16):
        the same arithmetic, in places in another order (`agreement.TOLERANCE` says more).

    Returns:
      A copy with layers and weights of its own. Every layer is of one of Keras' layer classes, of a
      user's, or of `tfcompress/graph/_layers.py`; none is a model, an operator lambda or a Lambda.
      A layer keeps its name unless another one has it. What is random or passes values through in
      inference (dropout, augmentation, noise) is kept.

    Raises:
      NormalFormError: a layer that has no plain form, such as a Lambda or an unknown operator (the
        message names it and says what to do), or outputs that differ (the message names the first
        layer where they do).
      ValueError: the model, or one inside it, is a subclassed one or was never built.

    Example:
      >>> from tfcompress._keras import keras
      >>> inputs = keras.Input([8, 8, 3])
      >>> inner = keras.Sequential([keras.Input([8, 8, 3]), keras.layers.Conv2D(4, 3)])
      >>> model = keras.Model(inputs, inner(inputs) * 2.0)
      >>> [type(layer).__name__ for layer in normalize(model).layers]
      ['InputLayer', 'Conv2D', 'Rescaling']
    """
    require_functional(model)
    job = _Normalization()
    built = rebuild(model, job.replace)
    if check and not is_normal(model):
        difference = disagreement(model, built, job.steps)
        if difference:
            raise NormalFormError(f"The normal form of {model.name!r} {difference}")
    return built


def is_normal(model: Any) -> bool:
    """Whether a functional or Sequential model is in normal form: flat, of plain layers."""
    return not isinstance(model, keras.Sequential) and not any(
        isinstance(layer, keras.Model)
        or _class_name(layer) in (*_OPERATOR_LAYERS, *_CODE_LAYERS)
        or _rewriting(layer) is not None
        for layer in model.layers
    )


@dataclass(frozen=True)
class _Known:
    """What is computed from the lengths of tensors, in the place of a tensor of it.

    Attributes:
      value: one number or several, None for the batch or another length that is open.
    """

    value: Any


class _Normalization:
    """Replaces the layers of one model, and keeps what it did."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def replace(self, use: Use) -> Any:
        """What takes the place of one call of a layer."""
        outputs = self._outputs(use)
        given = tf.nest.flatten((use.args, dict(use.kwargs), outputs))
        if not any(isinstance(item, _Known) for item in given):
            self.steps.append(Step(use, outputs))
        return outputs

    def _outputs(self, use: Use) -> Any:
        if _class_name(use.layer) in _OPERATOR_LAYERS:
            return _operator(use)
        _require_plain(use)
        if type(use.layer) is keras.layers.Multiply:
            return _product(use)
        rewriting = _rewriting(use.layer)
        return use.again() if rewriting is None else rewriting(use)


def _class_name(layer: Any) -> str:
    return type(layer).__name__ if _is_of_keras(layer) else ""


def _is_of_keras(layer: Any) -> bool:
    return type(layer).__module__.split(".")[0] == "tf_keras"


def _require_plain(use: Use) -> None:
    """Refuses a layer that holds code, itself or in a layer inside it."""
    layer = use.layer
    for part in (layer, *layer._flatten_layers(include_self=False)):
        where = "" if part is layer else f" inside {layer.name!r} ({type(layer).__name__})"
        if _class_name(part) in _CODE_LAYERS:
            raise NormalFormError(
                f"The layer {part.name!r}{where} is a {_class_name(part)}: it "
                f"{_CODE_LAYERS[_class_name(part)]}, which no technique can see into. Write it "
                "with Keras layers, with operators called on tensors (x + y, tf.nn.silu(x)), or "
                "as a Layer subclass with get_config."
            )
        if getattr(getattr(part, "activation", None), "__name__", "") == "<lambda>":
            raise NormalFormError(
                f"The layer {part.name!r}{where} has a Python lambda as its activation, which has "
                "no name to save. Pass one of Keras' activations, or call it on the layer's output."
            )
    given = tf.nest.flatten((use.args, dict(use.kwargs)))
    if any(isinstance(item, _Known) for item in given):
        raise NormalFormError(
            f"The layer {layer.name!r} ({type(layer).__name__}) takes a shape that is computed in "
            "the model (tf.shape). Write the lengths as numbers."
        )


def _operator(use: Use) -> Any:
    """The layers for an operator lambda, or the shape that it computes."""
    known = _known(use.outputs)
    if known is not None:
        return known
    symbol = str(use.layer.get_config()["function"])
    args, kwargs = _with_known((use.args, dict(use.kwargs)))
    try:
        outputs = tensorflow_operators.call(symbol, *args, naming=use.named, **kwargs)
    except operators.UnsupportedOperator as error:
        raise NormalFormError(f"The layer {use.layer.name!r} has no plain form. {error}") from error
    return _Known(outputs) if isinstance(outputs, np.ndarray | np.generic) else outputs


def _known(outputs: Any) -> _Known | None:
    """A shape that Keras worked out when the operator was called, if it is one."""
    values = getattr(outputs, "_inferred_value", None)
    if values is None:
        return None
    return _Known(tuple(values) if outputs.shape.rank else values[0])


def _with_known(structure: Any) -> Any:
    return tf.nest.map_structure(
        lambda item: item.value if isinstance(item, _Known) else item, structure
    )


def _channel_scale(use: Use) -> Any:
    """ConvNeXt's factor for each channel."""
    from tfcompress.graph import _layers

    layer = use.layer
    settings = {"dtype": layer.dtype_policy, "trainable": layer.trainable}
    make = use.instead(lambda name: _layers.ChannelScale(layer.init_values, name=name, **settings))
    return make(*use.args)


def _scaled_sum(use: Use) -> Any:
    """InceptionResNetV2's shortcut: the first tensor and a fraction of the second."""
    (shortcut, residual) = use.args[0]
    scaled = operators.call("multiply", residual, use.layer.scale, naming=use.named)
    policy = use.layer.dtype_policy
    return use.instead(lambda name: keras.layers.Add(name=name, dtype=policy))([shortcut, scaled])


def _dropped_paths(use: Use) -> Any:
    """ConvNeXt's stochastic depth: the whole of an example is dropped, or nothing."""
    layer = use.layer
    noise_shape = [None, *(1 for _ in use.args[0].shape[1:])]
    settings = {"noise_shape": noise_shape, "dtype": layer.dtype_policy}
    make = use.instead(
        lambda name: keras.layers.Dropout(layer.drop_path_rate, name=name, **settings)
    )
    return make(*use.args, **use.kwargs)


def _fixed_normalization(use: Use) -> Any:
    """A Normalization that has its mean and variance in its description, not as weights."""
    layer = use.layer
    shape = [layer._broadcast_shape[axis] for axis in layer._keep_axis]
    mean, variance = (np.reshape(value, shape).tolist() for value in (layer.mean, layer.variance))
    config = {**layer.get_config(), "mean": mean, "variance": variance}
    return use.instead(lambda name: type(layer).from_config({**config, "name": name}))(*use.args)


def _product(use: Use) -> Any:
    """A product, which may be hard swish written out."""
    tensors = use.args[0]
    source = hard_swish_source(*tensors) if len(tensors) == 2 else None
    if source is None:
        return use.again()
    return operators.call("hard_swish", source, naming=use.named)


_REWRITINGS: Mapping[str, Callable[[Use], Any]] = {
    "tf_keras.src.applications.convnext.LayerScale": _channel_scale,
    "tf_keras.src.applications.convnext.StochasticDepth": _dropped_paths,
    "tf_keras.src.applications.inception_resnet_v2.CustomScaleLayer": _scaled_sum,
}


def _rewriting(layer: Any) -> Callable[[Use], Any] | None:
    """How a layer must be rewritten, None where it is plain."""
    if isinstance(layer, keras.layers.Normalization):
        return _fixed_normalization if layer.input_mean is None else None
    return _REWRITINGS.get(f"{type(layer).__module__}.{type(layer).__name__}")
