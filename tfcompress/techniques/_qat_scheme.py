"""TF-MOT's 8-bit scheme with quantizers that start from data.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfcompress._keras import keras, tf, tfmot
from tfcompress.techniques.qat import QATConfig

_default = tfmot.quantization.keras.default_8bit
_quantizers = tfmot.quantization.keras.quantizers


class Scheme(_default.Default8BitQuantizeScheme):
    """TF-MOT's rewriting of layers and its registry, each config with our quantizers in it.

    Args:
      config: range decay and weight floor.
    """

    def __init__(self, config: QATConfig) -> None:
        super().__init__()
        self._config = config

    def get_layout_transformer(self) -> Any:
        """TF-MOT's rewriting, after which the configs it chose are exchanged."""
        return _Layout(self._config)

    def get_quantize_registry(self) -> Any:
        """TF-MOT's registry, with exchanged configs."""
        return _Registry(self._config)


class _Layout(_default.Default8BitQuantizeLayoutTransform):
    def __init__(self, config: QATConfig) -> None:
        self._config = config

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> Any:
        model, chosen = super().apply(model, layer_quantize_map)
        for entry in chosen.values():
            if entry.get("quantize_config") is not None:
                entry["quantize_config"] = ExchangedConfig(entry["quantize_config"], self._config)
        return model, chosen


class _Registry(_default.Default8BitQuantizeRegistry):
    def __init__(self, config: QATConfig) -> None:
        super().__init__()
        self._config = config

    def get_quantize_config(self, layer: Any) -> Any:
        return ExchangedConfig(super().get_quantize_config(layer), self._config)


class ExchangedConfig(tfmot.quantization.keras.QuantizeConfig):
    """A TF-MOT config in which the quantizers are exchanged and all else is kept.

    Args:
      inner: TF-MOT's config of one layer.
      config: range decay and weight floor.
    """

    def __init__(self, inner: Any, config: QATConfig) -> None:
        self._inner = inner
        self._config = config

    def get_weights_and_quantizers(self, layer: Any) -> Sequence[tuple[Any, Any]]:
        """The kernels; those quantized by channel get a floor under their ranges."""
        return [
            (weight, self._exchange(quantizer))
            for weight, quantizer in self._inner.get_weights_and_quantizers(layer)
        ]

    def get_activations_and_quantizers(self, layer: Any) -> Sequence[tuple[Any, Any]]:
        """The activations inside the layer."""
        return [
            (activation, self._exchange(quantizer))
            for activation, quantizer in self._inner.get_activations_and_quantizers(layer)
        ]

    def get_output_quantizers(self, layer: Any) -> Sequence[Any]:
        """The quantizers of the layer's output."""
        return [self._exchange(item) for item in self._inner.get_output_quantizers(layer)]

    def set_quantize_weights(self, layer: Any, quantize_weights: Sequence[Any]) -> None:
        """Puts the fake-quantized kernels into the layer."""
        self._inner.set_quantize_weights(layer, quantize_weights)

    def set_quantize_activations(self, layer: Any, quantize_activations: Sequence[Any]) -> None:
        """Puts the fake-quantized activations into the layer."""
        self._inner.set_quantize_activations(layer, quantize_activations)

    def get_config(self) -> dict[str, Any]:
        """The two parts it was made of."""
        return {"inner": self._inner, "config": self._config}

    def _exchange(self, quantizer: Any) -> Any:
        if isinstance(quantizer, _quantizers.MovingAverageQuantizer):
            return RunningRange(self._config.range_decay)
        if isinstance(quantizer, _quantizers.LastValueQuantizer) and quantizer.per_axis:
            return FlooredChannels(self._config.weight_floor)
        return quantizer


class RunningRange(_quantizers.Quantizer):
    """Activation range as a running mean of the batches' extremes, from the first batch on.

    TF-MOT starts at [-6, 6] with a decay of 0.999, so that a layer whose outputs span [-48, 23]
    stays clipped for hundreds of steps.

    Args:
      decay: of the moving average once enough batches were seen, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the range and the count of batches seen."""
        del tensor_shape

        def variable(suffix: str) -> Any:
            return layer.add_weight(f"{name}_{suffix}", initializer="zeros", trainable=False)

        return {part: variable(part) for part in ("min", "max", "batches")}

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> Any:
        """Fake-quantizes a tensor, after moving the range in training."""
        low, high = weights["min"], weights["max"]
        if training:
            seen = weights["batches"]
            decay = tf.minimum(self._decay, seen / (seen + 1))
            # TFLite needs 0 within the range.
            batch_low = tf.minimum(tf.reduce_min(inputs), 0.0)
            batch_high = tf.maximum(tf.reduce_max(inputs), 0.0)
            low = low.assign(decay * low + (1 - decay) * batch_low)
            high = high.assign(decay * high + (1 - decay) * batch_high)
            seen.assign_add(1.0)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"decay": self._decay}


class FlooredChannels(_quantizers.Quantizer):
    """Symmetric int8 weights with one range for each output channel, none far below the others.

    The int32 bias of a channel is stored in steps of input scale times weight scale. Where the
    weights are all but zero, that step is so small that the bias saturates, and the int8 file
    computes something else than the model that was trained.

    Args:
      floor: smallest range of a channel as a fraction of the median channel's, of those that are
        not all but zero themselves.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the ranges of the channels."""

        def variable(suffix: str) -> Any:
            return layer.add_weight(
                f"{name}_{suffix}", shape=(tensor_shape[-1],), initializer="zeros", trainable=False
            )

        return {part: variable(part) for part in ("min", "max")}

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> Any:
        """Fake-quantizes a kernel, after reading its ranges in training."""
        low, high = weights["min"], weights["max"]
        if training:
            extent = tf.reduce_max(tf.abs(inputs), axis=list(range(inputs.shape.rank - 1)))
            extent = tf.maximum(extent, self._smallest(extent))
            low, high = low.assign(-extent), high.assign(extent)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            inputs, low, high, num_bits=8, narrow_range=True
        )

    def _smallest(self, extent: Any) -> Any:
        largest = tf.reduce_max(extent)
        # After pruning most channels may be zero altogether: they have no say in the median.
        alive = tf.reduce_sum(tf.cast(extent >= self._floor * largest, tf.int32))
        median = tf.sort(extent)[extent.shape[0] - alive + alive // 2]
        smallest = tf.maximum(self._floor * median, keras.backend.epsilon())
        # Of a kernel of zeros any range is exact, and a wide one leaves room for the bias.
        return tf.where(largest > 0, smallest, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"floor": self._floor}
