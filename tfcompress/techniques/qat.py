"""Quantization-aware training: the model is trained as its int8 file will compute.

The model is rewritten so that each layer is one operator of the file, and every tensor that the
file stores is fake-quantized in between, by layers and quantizers of TF-MOT's kinds. Two faults of
TF-MOT's own training, both measured to lose accuracy in transfer-learned models, are not there:
activation ranges start from calibration data instead of [-6, 6], and no channel's weight range is
so small that its int32 bias saturates. Does not know other techniques.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcompress.artifact import Artifact
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import _integer_model
from tfcompress.techniques._calibration import require_calibration


@dataclass(frozen=True)
class QATConfig:
    """How quantization is emulated.

    Attributes:
      range_decay: of the moving average of activation ranges, in [0, 1). While fewer than
        `1 / (1 - range_decay)` batches were seen it is their plain mean.
      dense_per_channel: one weight range for each output of a Dense layer. One for the whole layer
        makes a smaller file, more so of a clustered layer; convolutions have one for each channel
        in any case.
      operators: `"all"` that have an integer form; `"kernels"`, what multiplies by weights, and
        tables; `"auto"`, kernels in a model of texts, whose sums, normalizations and attention lose
        most in integers and cost little time in float, and all in any other.
      skip: layer names or patterns (`conv1`, `block_*`), separated by `|`, that stay in float.
      growth: by how much of itself the weights may grow, so that layers stay in float that cost
        more accuracy in integers than others of their size; in [0, 3].
      in_float: names of the layers that `growth` keeps in float: what `layers_in_float` found. In a
        recipe, found before the stage.
      calibration: float32 [examples, height, width, channels], preprocessed as for training, int32
        [examples, length], ids of tokens, or one such array for each input of the model: the
        activation ranges that training starts from are read from them. In a recipe, the data set's
        calibration images or texts. Without them the ranges start with the first batch.

    Raises:
      ValueError: a value outside its range.

    Reference:
      Jacob et al.: Quantization and training of neural networks for efficient
      integer-arithmetic-only inference, CVPR 2018.
    """

    range_decay: float = 0.99
    dense_per_channel: bool = False
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
        if not 0 <= self.range_decay < 1:
            raise ValueError(
                f"QATConfig.range_decay must be in [0, 1). Received: {self.range_decay}."
            )

    @property
    def prepared(self) -> bool:
        """Whether it is known which layers stay in float."""
        return not self.growth or self.in_float is not None

    @property
    def settles_at(self) -> float:
        """Quantization is emulated from the start."""
        return 0.0


CONFIG = QATConfig


def skipped(model: Any, config: QATConfig) -> Mapping[str, str]:
    """The layers that stay in float, and why, those without weights included."""
    return _integer_model.passed_over(model, config)


def layers_in_float(model: Any, config: QATConfig) -> tuple[str, ...]:
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
    from tfcompress.techniques._equalization import equalize_factors, even_out

    normal = _integer_model.plain(model, technique="qat", skip=config.skip)
    form = _integer_model.form_to_choose_from(normal, config, technique="qat")
    even_out(form.model, config.calibration)
    equalize_factors(form.model, config.calibration)
    return _selection.layers_in_float(form, config, ranges="minmax")


def wrap(model: Any, config: QATConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a copy of the model with fake-quantized weights and activations, in float32.

    It has the same outputs before quantization, but other layers: one for each operator of the
    int8 file. Layers that have no integer form stay in float; the file converts before and after
    them.

    Args:
      model: functional or Sequential model; it is brought to the normal form first.
      config: how to quantize.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: the model has no normal form, is quantized already, or no layer of it with weights
        can be quantized.
    """
    from tfcompress.techniques._equalization import equalize_factors, even_out
    from tfcompress.techniques._fake_quantized import fake_quantized
    from tfcompress.techniques._placing import Settings

    del steps_per_epoch, epochs
    normal = _integer_model.plain(model, technique="qat", skip=config.skip)
    form = _integer_model.form_of(normal, config, technique="qat")
    if config.calibration is not None:
        require_calibration(config.calibration, normal, what="QATConfig.calibration")
        even_out(form.model, config.calibration)
        equalize_factors(form.model, config.calibration)
    settings = Settings(config.range_decay)
    return fake_quantized(form, settings, images=config.calibration)


def callbacks(config: QATConfig) -> Sequence[Any]:
    """None are needed."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself: its wrappers hold the ranges that the int8 file is made from.

    Its biases are moved to what the file can store, by half a step of an int32 at most, and the
    ranges of means widened a little. The file would round in any case; where the model has the
    same numbers, both give the same class more often.
    """
    return _integer_model.stripped(model)


def refit(model: Any) -> None:
    """Takes the ranges of kernels anew, which leave room for biases that new statistics make."""
    from tfcompress.techniques._placing import measure_kernels

    measure_kernels(model)


def report(before: Any, after: Any, config: QATConfig) -> CompressionReport:
    """Describes every layer with weights: quantized, or left in float and why."""
    return _integer_model.report("qat", before, after, config)


def verify(model: Any, config: QATConfig, *, before: Any = None) -> None:
    """Looks for quantized kernels and for the ranges of activations.

    Raises:
      VerificationError: no kernel is quantized, or no batch was seen, so that ranges are still
        empty.
    """
    del config, before
    _integer_model.require_ranges(model, technique="qat")


def verify_artifact(artifact: Artifact, report: CompressionReport, config: QATConfig) -> None:
    """Counts the weights that the file stores as floats.

    Raises:
      VerificationError: a quantized layer's weights are among them.
    """
    del config
    _integer_model.require_integers(artifact, report)
