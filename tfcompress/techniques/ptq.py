"""Post-training quantization that keeps what the float model knows: from images, without labels.

The model is brought to the form in which each layer is one operator of the int8 file. Channels of
one tensor get ranges of like size, activation ranges are chosen so that rounding and clipping cost
least, every weight is rounded to the side that lets its layer's outputs come closest, and what is
left of the mean error goes into the biases. Nothing is trained. Does not know other techniques.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import _integer_model
from tfcompress.techniques._calibration import require_calibration

RANGES = ("minmax", "mse", "percentile")
ROUNDINGS = ("nearest", "adaptive")


@dataclass(frozen=True)
class PTQConfig:
    """How a model is quantized.

    Attributes:
      ranges: of activations: `"minmax"`, the mean of the extremes of each batch of 32;
        `"percentile"`, all but a few values of each batch; `"mse"`, the part of the extremes with
        the least squared error.
      percentile: of the values that `ranges="percentile"` keeps, in (50, 100].
      equalize: scale channels so that all of a tensor use its steps alike.
      rounding: `"nearest"`, or `"adaptive"`, which takes minutes: each weight goes up or down,
        whichever lets the outputs of its layer come closer.
      steps: of the adaptive rounding of each layer, at least 1.
      bias_correction: move the mean error of each channel into its bias.
      dense_per_channel: one weight range for each output of a Dense layer.
      operators: `"all"` that have an integer form; `"kernels"`, what multiplies by weights, and
        tables; `"auto"`, kernels in a model of texts, whose sums, normalizations and attention lose
        most in integers and cost little time in float, and all in any other.
      skip: layer names or patterns (`conv1`, `block_*`), separated by `|`, that stay in float.
      growth: by how much of itself the weights may grow, so that layers stay in float that cost
        more accuracy in integers than others of their size; in [0, 3].
      in_float: names of the layers that `growth` keeps in float: what `layers_in_float` found. In a
        recipe, found before the stage.
      calibration: float32 [examples, height, width, channels], preprocessed as for training, or
        int32 [examples, length], ids of tokens; 512 are plenty. In a recipe, the data set's
        calibration images or texts.

    Raises:
      ValueError: a value outside its range, or an unknown name.

    Reference:
      Nagel et al.: Data-free quantization through weight equalization and bias correction, ICCV
      2019. Nagel et al.: Up or down? Adaptive rounding for post-training quantization, ICML 2020.
    """

    ranges: str = "mse"
    percentile: float = 99.99
    equalize: bool = True
    rounding: str = "adaptive"
    steps: int = 500
    bias_correction: bool = True
    dense_per_channel: bool = True
    skip: str = ""
    growth: float = 0.0
    operators: str = "auto"
    in_float: Any = field(
        default=None, metadata={"supplied": True, "of_model": ()}, repr=False, compare=False
    )
    calibration: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_types(self)
        _integer_model.require_settings(self)
        registry.require(self.ranges, RANGES, what="activation ranges of ptq")
        registry.require(self.rounding, ROUNDINGS, what="rounding of ptq")
        if not 50 < self.percentile <= 100:
            raise ValueError(
                f"PTQConfig.percentile must be in (50, 100]. Received: {self.percentile}."
            )
        if self.steps < 1:
            raise ValueError(
                f"PTQConfig.steps must be at least 1. Received: {self.steps}. For no adaptive "
                "rounding pass rounding=nearest."
            )

    @property
    def prepared(self) -> bool:
        """Whether it is known which layers stay in float."""
        return not self.growth or self.in_float is not None

    @property
    def settles_at(self) -> float:
        """There is no training."""
        return 0.0


CONFIG = PTQConfig


def quantize(model: Any, config: PTQConfig) -> Any:
    """Quantizes a model: `wrap`, `adjust` and `strip` in one call.

    Args:
      model: functional or Sequential model.
      config: how, with calibration images.

    Returns:
      a model that computes as its int8 file will; `tfcompress.convert(model, "int8")` makes it.
    """
    if config.growth and config.in_float is None:
        config = dataclasses.replace(config, in_float=layers_in_float(model, config))
    wrapped = wrap(model, config, steps_per_epoch=1, epochs=1)
    adjust(wrapped, model, config)
    return strip(wrapped)


def layers_in_float(model: Any, config: PTQConfig) -> tuple[str, ...]:
    """Chooses the layers that `growth` keeps in float, from the calibration images.

    Args:
      model: what `wrap` is given.
      config: with calibration images.

    Returns:
      names for `in_float`.

    Raises:
      ValueError: there are no calibration images, or they do not fit.
    """
    from tfcompress.techniques import _selection
    from tfcompress.techniques._equalization import equalize, even_out

    normal = _integer_model.plain(model, technique="ptq", skip=config.skip)
    form = _integer_model.form_to_choose_from(normal, config, technique="ptq")
    even_out(form.model, config.calibration)
    if config.equalize:
        equalize(form.model, config.calibration)
    return _selection.layers_in_float(form, config, ranges=config.ranges)


def skipped(model: Any, config: PTQConfig) -> Mapping[str, str]:
    """The layers that stay in float, and why, those without weights included."""
    return _integer_model.passed_over(model, config)


def wrap(model: Any, config: PTQConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a copy with fake-quantized weights and activations, its ranges still empty.

    Args:
      model: functional or Sequential model; it is brought to the normal form first.
      config: how to quantize.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: the model has no normal form, is quantized already, or no layer of it with weights
        can be quantized.
    """
    from tfcompress.techniques._fake_quantized import PLAIN_MEAN, fake_quantized
    from tfcompress.techniques._placing import Settings

    del steps_per_epoch, epochs
    return fake_quantized(_form(model, config), Settings(PLAIN_MEAN))


def adjust(
    wrapped: Any,
    before: Any,
    config: PTQConfig,
    *,
    progress: Any = None,
) -> None:
    """Finds ranges, weights and biases, in the place of a training.

    Args:
      wrapped: what `wrap` returned; changed in place.
      before: what `wrap` was given.
      config: likewise, with calibration images.
      progress: told of each layer that is rounded: how many are done, and of how many.

    Raises:
      ValueError: calibration images are missing or do not fit.
    """
    from tfcompress.techniques._equalization import equalize, even_out
    from tfcompress.techniques._fake_quantized import PLAIN_MEAN, fake_quantized
    from tfcompress.techniques._placing import Settings
    from tfcompress.techniques._ranges import read_ranges
    from tfcompress.techniques._reconstruction import Reconstruction, reconstruct

    if config.calibration is None:
        raise ValueError(
            "ptq needs calibration images. Received: none. Pass "
            "PTQConfig(calibration=preprocessing.apply(dataset.calibration.examples))."
        )
    form = _form(before, config)
    images = config.calibration
    require_calibration(images, form.model, what="PTQConfig.calibration")
    changed = even_out(form.model, images)
    if config.equalize:
        changed += equalize(form.model, images)
    if changed:
        wrapped.set_weights(fake_quantized(form, Settings(PLAIN_MEAN)).get_weights())
    read_ranges(wrapped, images, config.ranges, percentile=config.percentile)
    steps = config.steps if config.rounding == "adaptive" else 0
    settings = Reconstruction(steps, config.bias_correction)
    if steps or config.bias_correction:
        reconstruct(wrapped, form.model, images, settings, progress=progress)


def callbacks(config: PTQConfig) -> Sequence[Any]:
    """None: nothing is trained."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself, its biases moved to what the file can store."""
    return _integer_model.stripped(model)


def report(before: Any, after: Any, config: PTQConfig) -> CompressionReport:
    """Describes every layer with weights: quantized, or left in float and why."""
    return _integer_model.report("ptq", before, after, config)


def verify(model: Any, config: PTQConfig, *, before: Any = None) -> None:
    """Looks for quantized kernels and for the ranges of activations.

    Raises:
      VerificationError: no kernel is quantized, or `adjust` was not called.
    """
    del config, before
    _integer_model.require_ranges(model, technique="ptq")


def verify_artifact(artifact: Artifact, report: CompressionReport, config: PTQConfig) -> None:
    """Counts the weights that the file stores as floats.

    Raises:
      VerificationError: a quantized layer's weights are among them.
    """
    del config
    _integer_model.require_integers(artifact, report)


def _form(model: Any, config: PTQConfig) -> Any:
    normal = _integer_model.plain(model, technique="ptq", skip=config.skip)
    return _integer_model.form_of(normal, config, technique="ptq")
