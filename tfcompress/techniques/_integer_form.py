"""Rewrites a model so that every layer is one operator of an integer TFLite file.

Where an integer file would need an intermediate result, the rewritten model has a layer that gives
it, so that its range can be learned: `swish` becomes a sigmoid and a product, a separable
convolution two convolutions, and whatever multiplies and shifts channels (BatchNormalization with
no convolution before it, Rescaling, Normalization) a 1x1 depthwise convolution, which TFLite
computes with a scale and an int32 bias for each channel. Outputs are unchanged. Knows which layers
have an integer form; does not know where ranges stand.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfcompress._keras import keras
from tfcompress.graph import connections
from tfcompress.graph.kernels import named
from tfcompress.graph.rebuild import Use, rebuild
from tfcompress.techniques import _integer_channels as channels
from tfcompress.techniques import _integer_kernels as kernels
from tfcompress.techniques._integer_layers import KERNEL_LAYERS, PASSES_ON
from tfcompress.techniques._rewriting import ONE_OPERATOR_ACTIVATIONS, Rewriting, is_linear


@dataclass(frozen=True)
class IntegerForm:
    """A rewritten model.

    Attributes:
      model: flat functional model, in float32.
      origin: for each of its layers the layer of the given model that it stands for.
      passed_over: for each layer of the given model that stays in float the reason.
    """

    model: Any
    origin: Mapping[str, str]
    passed_over: Mapping[str, str]


CHOSEN = "kept in float: in integers it costs more accuracy than others of its size"
"""Why a layer stays in float that selective precision chose."""

NO_WEIGHTS = "multiplies by no weights: in float it costs little time and keeps its accuracy"
"""Why a layer stays in float where kernels alone are integers."""


def integer_form(
    model: Any,
    *,
    skip: str = "",
    in_float: Collection[str] = (),
    dense_per_channel: bool = False,
    operators: str = "auto",
) -> IntegerForm:
    """Rewrites a model for integer arithmetic.

    Args:
      model: a model in the normal form; it stays as it is.
      skip: layer names or patterns, separated by `|`, that are kept as they are.
      in_float: names of further layers that are.
      dense_per_channel: make a Dense layer a 1x1 convolution. TFLite's converter takes a range for
        each output of the one and not of the other.
      operators: one of `_integer_model.OPERATORS`.
    """
    only_kernels = operators == "kernels" or (operators == "auto" and _reads_tokens(model))
    consumers = connections.consumers(model)
    job = Rewriting(consumers, skip, in_float, dense_per_channel, only_kernels)
    rewritten = rebuild(model, partial(_replaced, job))
    for layer, weights in job.weights:
        layer.set_weights(weights)
    return IntegerForm(rewritten, job.origin, job.passed_over)


def _reads_tokens(model: Any) -> bool:
    return any(tensor.dtype.is_integer for tensor in model.inputs)


def _replaced(job: Rewriting, use: Use) -> Any:
    """The outputs of one call, in integer form where there is one."""
    kind = type(use.layer).__name__
    if named(use.layer.name, job.skip):
        job.passed_over[use.layer.name] = f"named in skip={job.skip}"
        return use.again()
    if use.layer.name in job.in_float:
        job.passed_over[use.layer.name] = CHOSEN
        return use.again()
    if use.layer.name in job.done:
        return use.args[0]
    if job.without_weights(use.layer):
        job.passed_over[use.layer.name] = NO_WEIGHTS
        return use.again()
    rule = _RULES.get(kind)
    if rule is None:
        job.passed_over[use.layer.name] = f"{kind} has no integer form here"
        return use.again()
    outputs = rule(job, use)
    if outputs is None:
        job.passed_over.setdefault(
            use.layer.name, f"these settings of {kind} have no integer form here"
        )
        return use.again()
    return outputs


def _activation(job: Rewriting, use: Use) -> Any:
    function = use.layer.activation
    name = getattr(function, "__name__", "")
    known = name in ("relu", "relu6", "swish", "silu", *ONE_OPERATOR_ACTIVATIONS)
    if not (known or is_linear(function)):
        job.passed_over[use.layer.name] = f"activation {name} has no integer form here"
        return None
    return job.activated(use, function, use.args[0], suffix="")


def _relu(job: Rewriting, use: Use) -> Any:
    layer = use.layer
    plain = layer.threshold == 0 and layer.max_value in (None, 6)
    if plain and layer.negative_slope == 0:
        return use.again()
    if layer.threshold == 0 and layer.max_value is None:
        slope = float(layer.negative_slope)
        return job.part(use, "", keras.layers.LeakyReLU, alpha=slope)(use.args[0])
    return None


def _chained(job: Rewriting, use: Use) -> Any:
    """Pairs, from left to right: TFLite's sums and products take two operands."""
    first, *rest = use.args[0]
    for number, operand in enumerate(rest, start=1):
        suffix = "" if number == len(rest) else f"{number}"
        first = job.part(use, suffix, type(use.layer))([first, operand])
    return first


def _kept(job: Rewriting, use: Use) -> Any:
    """Has an integer form as it is."""
    return use.again()


def _spatial(job: Rewriting, use: Use) -> Any:
    layer = use.layer
    nearest = getattr(layer, "interpolation", "nearest") == "nearest"
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return use.again() if nearest and last else None


def _reduced(job: Rewriting, use: Use) -> Any:
    return use.again() if use.layer.kind in ("mean", "max") else None


_RULES: Mapping[str, Callable[[Rewriting, Use], Any]] = {
    **dict.fromkeys(PASSES_ON, _spatial),
    **dict.fromkeys(KERNEL_LAYERS, kernels.kernel),
    "SeparableConv2D": kernels.separable,
    "BatchNormalization": channels.batch_normalization,
    "Rescaling": channels.rescaling,
    "Normalization": channels.normalization,
    "ChannelScale": channels.channel_scale,
    "LayerNormalization": channels.layer_normalization,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _kept,
    "PReLU": _kept,
    "Softmax": _kept,
    "HardSigmoid": channels.hard_sigmoid,
    "HardSwish": channels.hard_swish,
    "Add": _chained,
    "Subtract": _chained,
    "Multiply": _chained,
    "Concatenate": _kept,
    "Embedding": _kept,
    "MatMul": _kept,
    "PositionIds": _kept,
    "TokenMask": _kept,
    "AveragePooling2D": kernels.average_pooling,
    "GlobalAveragePooling2D": _spatial,
    "Reduce": _reduced,
}
