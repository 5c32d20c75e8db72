"""What the techniques share that make an int8 file compute what its Keras model does.

Brings a model to the form in which each layer is one operator of the file, with quantizers in
between, and counts afterwards what came of it. Does not know how ranges and weights are found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import (
    layer_reports,
    named_layers,
    nothing_treated,
    require_named,
    weight_name,
    weighted_layers,
)
from tfcompress.graph.normal_form import normalize
from tfcompress.graph.rebuild import in_float32
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.techniques import VerificationError
from tfcompress.techniques._calibration import require_calibration

OPERATORS = ("auto", "all", "kernels")
"""Which layers become integers: all that can; what multiplies by weights, and tables; or this in a
model of texts, and all in any other."""


def plain(model: Any, *, technique: str, skip: str) -> Any:
    """A copy in the normal form and in float32: fake quantization is float32 arithmetic.

    Args:
      model: functional or Sequential model.
      technique: who asks, for messages.
      skip: patterns of layers that stay in float.

    Raises:
      ValueError: the model has no normal form, is quantized already, or `skip` names no layer.
    """
    normal = in_float32(normalize(plain_copy(model, technique=technique), check=False))
    require_named(normal, skip, what=f"{technique}: skip")
    return normal


def form_of(normal: Any, config: Any, *, technique: str) -> Any:
    """The integer form of a plain model.

    Args:
      normal: what `plain` gave.
      config: the technique's, with `skip`, `growth`, `in_float` and `dense_per_channel`.
      technique: who asks, for messages.

    Raises:
      ValueError: no layer of it with weights can be quantized, or it is not known which layers the
        config's `growth` keeps in float.
    """
    from tfcompress.techniques._integer_form import integer_form

    if not config.prepared:
        raise ValueError(
            f"{technique}(growth={config.growth:g}) must know which layers stay in float. Received:"
            f" none. Pass in_float={technique}.layers_in_float(model, config), with calibration "
            "images in the config."
        )
    form = integer_form(
        normal,
        skip=config.skip,
        in_float=config.in_float or (),
        dense_per_channel=config.dense_per_channel,
        operators=config.operators,
    )
    if set(weighted_layers(normal)) <= set(form.passed_over):
        raise ValueError(nothing_treated(technique, form.passed_over))
    return form


def form_to_choose_from(normal: Any, config: Any, *, technique: str) -> Any:
    """The integer form of a plain model, of which `growth` is to keep some layers in float.

    Args:
      normal: what `plain` gave.
      config: the technique's, with calibration images.
      technique: who asks, for messages.

    Raises:
      ValueError: there are no calibration images, or they do not fit.
    """
    what = f"{type(config).__name__}.calibration"
    if config.calibration is None:
        raise ValueError(f"growth needs calibration images. Received: none. Pass {what}.")
    require_calibration(config.calibration, normal, what=what)
    return form_of(normal, dataclasses.replace(config, in_float=()), technique=technique)


def passed_over(model: Any, config: Any) -> Mapping[str, str]:
    """The layers that stay in float, and why, those without weights included."""
    from tfcompress.techniques._integer_form import integer_form

    normal = in_float32(normalize(model, check=False))
    form = integer_form(
        normal,
        skip=config.skip,
        in_float=config.in_float or (),
        operators=config.operators,
    )
    return dict(form.passed_over)


def stripped(model: Any) -> Any:
    """The model itself, its biases and the ranges of means moved to what the file can store."""
    from tfcompress.techniques._fake_quantized import settle

    settle(model)
    return model


def report(technique: str, before: Any, after: Any, config: Any) -> CompressionReport:
    """Describes every layer with weights: quantized, or left in float and why."""
    reasons = passed_over(before, config)
    return CompressionReport(
        technique, layer_reports(before, after, reasons=reasons, without_kernel="")
    )


def require_ranges(model: Any, *, technique: str) -> None:
    """Looks for quantized kernels and for the ranges of activations.

    Raises:
      VerificationError: no kernel is quantized, or no batch was seen, so that ranges are still
        empty.
    """
    layers = named_layers(model)
    if not any(map(is_quantized, layers.values())):
        raise VerificationError(
            f"{technique}: the model has no quantized layer. Use what wrap returns."
        )
    for name, layer in layers.items():
        for weight in layer.weights:
            if weight_name(weight) == "batches" and not weight.numpy():
                raise VerificationError(
                    f"{technique}: the activation range of layer {name} has seen no batch. "
                    "Train the wrapped model before it is exported, or give it calibration images."
                )


def require_settings(config: Any) -> None:
    """Refuses what both techniques' configs refuse.

    Raises:
      ValueError: `growth` is below 0 or above 3, at which every weight would be a float, or
        `operators` is none of `OPERATORS`.
    """
    registry.require(
        config.operators, OPERATORS, what=f"operators of {type(config).__name__.lower()[:3]}"
    )
    if not 0 <= config.growth <= 3:
        raise ValueError(
            f"{type(config).__name__}.growth must be in [0, 3], 0.1 for a tenth. "
            f"Received: {config.growth}."
        )


def is_quantized(layer: Any) -> bool:
    """Whether a layer is one of the wrappers that quantize a kernel."""
    return hasattr(layer, "quantize_config")


def require_integers(artifact: Artifact, report: CompressionReport) -> None:
    """Counts the weights that the file stores as floats.

    Raises:
      VerificationError: there are more of them than in the layers that were left in float.
    """
    stored = artifact.weights().values()
    floats = [weight for weight in stored if weight.values.dtype != np.int8]
    found = sum(weight.values.size for weight in floats)
    allowed = sum(layer.kernel_parameters or 0 for layer in report.layers if not layer.treated)
    if found > allowed:
        raise VerificationError(
            f"{report.technique}: {found:,} weights of the exported file are not int8, the layers "
            f"that stay in float have {allowed:,}. Not int8: "
            f"{', '.join(weight.used_by for weight in floats[:5])}. Export the model as int8."
        )
