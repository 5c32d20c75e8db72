"""How far an exported file's outputs may lie from its Keras model's, format by format.

Knows what rounding explains in each format, and what to look for beyond that. Does not know how the
two were compared (`export.parity`). No TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfcompress.registry import require
from tfcompress.results import Parity


class ParityError(ValueError):
    """An artifact's outputs have little to do with those of its Keras model."""


@dataclass(frozen=True)
class _Tolerance:
    """Disagreement is gross where both bounds are passed.

    One bound would not do: a hardly trained model has ties that rounding breaks, and a trained one
    with large outputs has large differences that change no decision.
    """

    top1_agreement: float
    """Of values, 1 minus the mean difference in standard deviations stands for it."""
    mean_difference: float
    output_steps: float = 0.0


# Below what agreement, and beyond what mean difference, a file is refused.
_TOLERANCES = {
    # The same arithmetic in another order: differences are near 1e-6 of the outputs.
    "float32": _Tolerance(0.99, 1e-3),
    # Each weight is rounded to 11 bits, a relative error of at most 2**-11.
    "float16": _Tolerance(0.95, 1e-2),
    # Weights of 8 bits, activations quantized for each call: some hundredths of a logit.
    "dynamic": _Tolerance(0.5, 2e-2),
    # The output alone rounds by half a step; rounding through the layers adds one to three steps.
    "int8": _Tolerance(0.5, 0.0, output_steps=4.0),
    # Activations are all but exact; the error of the int8 weights spans many of the small steps.
    "int16x8": _Tolerance(0.5, 2e-2),
}


def require_parity(parity: Parity, format: str, *, name: str = "The artifact") -> None:
    """Refuses an artifact that disagrees grossly with its Keras model.

    Args:
      parity: what `parity` found.
      format: one of `export.FORMATS`; each has its own tolerance.
      name: what to call the artifact in the message.

    Raises:
      ParityError: agreement and difference are both beyond the format's tolerance.
    """
    require(format, tuple(_TOLERANCES), what="export format")
    tolerance = _TOLERANCES[format]
    if parity.top1_agreement is None:
        _require_value_parity(parity, format, tolerance, name=name)
        return
    allowed = tolerance.mean_difference + tolerance.output_steps * (parity.output_scale or 0.0)
    if parity.top1_agreement >= tolerance.top1_agreement or parity.mean_difference <= allowed:
        return
    raise ParityError(
        f"{name} ({format}) disagrees with its Keras model on {parity.examples} validation "
        "examples: "
        f"same top class in {parity.top1_agreement:.1%} (expected at least "
        f"{tolerance.top1_agreement:.0%}), mean difference {parity.mean_difference:.4g} (expected "
        f"at most {allowed:.4g}), greatest {parity.max_difference:.4g}. "
        f"Likely causes: {_CAUSES[format]}."
    )


def _require_value_parity(parity: Parity, format: str, tolerance: _Tolerance, *, name: str) -> None:
    relative, allowed = parity.relative_difference or 0.0, 1 - tolerance.top1_agreement
    steps = tolerance.output_steps * (parity.output_scale or 0.0)
    if relative <= allowed or parity.mean_difference <= steps:
        return
    raise ParityError(
        f"{name} ({format}) disagrees with its Keras model on {parity.examples} validation "
        "examples: "
        f"values differ by {relative:.3g} of their standard deviation on average (expected at most "
        f"{allowed:.2g}), by {parity.mean_difference:.4g}, greatest {parity.max_difference:.4g}. "
        f"Likely causes: {_CAUSES[format]}."
    )


_INTEGER_CAUSES = (
    "calibration images preprocessed otherwise than the training images; an activation or a "
    "channel with a range far wider than the rest; a channel of near-zero weights whose bias no "
    "longer fits. Quantization-aware training usually helps"
)
_CAUSES = {
    "float32": "a layer that behaves otherwise in training mode; a custom layer; random operators",
    "float16": "weights beyond 65504 or all below 6e-8 in a layer",
    "dynamic": "a layer with a weight range far wider than the rest",
    "int8": _INTEGER_CAUSES,
    "int16x8": _INTEGER_CAUSES,
}
