"""Layers that hold quantizers: around a kernel, between operators, before what stays in float.

Knows how TF-MOT's wrapper calls a layer. How ranges are found is said by `_quantizers` and
`_kernel_ranges`.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tfcompress._keras import keras, tf, tfmot
from tfcompress.techniques._kernel_ranges import KernelRange


class KernelConfig(tfmot.quantization.keras.QuantizeConfig):
    """Quantizes the kernel of a layer and nothing else of it.

    Args:
      attribute: name of the kernel in the layer.
      quantizer: of the kernel.
    """

    def __init__(self, attribute: str, quantizer: KernelRange) -> None:
        self._attribute = attribute
        self._quantizer = quantizer

    def get_weights_and_quantizers(self, layer: Any) -> Sequence[tuple[Any, Any]]:
        """The kernel."""
        return [(getattr(layer, self._attribute), self._quantizer)]

    def get_activations_and_quantizers(self, layer: Any) -> Sequence[tuple[Any, Any]]:
        """None: activations are layers of their own."""
        return []

    def get_output_quantizers(self, layer: Any) -> Sequence[Any]:
        """None: a `Quantize` layer follows where one is needed."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: Sequence[Any]) -> None:
        """Puts the fake-quantized kernel into the layer."""
        setattr(layer, self._attribute, quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: Sequence[Any]) -> None:
        """Has none to put in."""
        del layer, quantize_activations

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"attribute": self._attribute, "quantizer": self._quantizer}


class QuantizedKernel(tfmot.quantization.keras.QuantizeWrapperV2):
    """TF-MOT's wrapper, which also leaves the kernel of a frozen layer alone.

    Attributes:
      exact: compute with the kernel as it is. For looking at the model without this quantization:
        not seen by what was traced before.
    """

    exact = False

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """What the layer gives, with a fake-quantized kernel."""
        if self.exact:
            return self.computed_with(inputs, tf.convert_to_tensor(self.kernel))
        return super().call(inputs, training, **kwargs)

    @property
    def trainable_weights(self) -> list[Any]:
        """The layer's, with its kernel."""
        return super().trainable_weights if self._learns() else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The rest, the ranges among them."""
        rest = super().non_trainable_weights
        if self._learns():
            return rest
        return self._dedup_weights([*super().trainable_weights, *rest])

    def _learns(self) -> bool:
        return self.layer.trainable and not getattr(self.layer, "constant", False)

    def measure(self) -> None:
        """Sets the kernel's ranges from its present values."""
        for kernel, quantizer, variables in self._weight_vars:
            quantizer.measure(tf.convert_to_tensor(kernel), variables)

    @property
    def quantizes_trained_kernel(self) -> bool:
        """Whether it holds one kernel, which a training may change."""
        return len(self._weight_vars) == 1 and self._learns()

    @property
    def kernel(self) -> Any:
        """The variable, before quantization."""
        return self._weight_vars[0][0]

    def kernel_step(self) -> Any:
        """The size of one step of the kernel's integers, to be broadcast against it."""
        kernel, quantizer, variables = self._weight_vars[0]
        return quantizer.along(tf.convert_to_tensor(variables["extent"]), kernel) / 127.0

    def quantized_kernel(self) -> Any:
        """The kernel in whole steps."""
        kernel, quantizer, variables = self._weight_vars[0]
        return quantizer(tf.convert_to_tensor(kernel), training=False, weights=variables)

    def computed_with(self, inputs: Any, kernel: Any) -> Any:
        """What the layer gives for `inputs` with another kernel."""
        self.quantize_config.set_quantize_weights(self.layer, [kernel])
        return self.layer.call(inputs)

    def output_scale(self) -> Any:
        """By how much a BatchNormalization that is folded into the layer multiplies its outputs."""
        folding = self._weight_vars[0][1].folding
        return 1.0 if folding is None else folding.output_scale()

    def shift_output(self, shift: Any) -> None:
        """Adds a constant to each channel of what the layer gives, where it has a bias."""
        folding = self._weight_vars[0][1].folding
        if folding is not None:
            folding.shift_bias(tf.constant(shift, tf.float32))

    def round_bias(self) -> None:
        """Moves the bias to what the file can store; see `Folding.round_bias`."""
        for _, quantizer, variables in self._weight_vars:
            # A layer that is used twice has a bias, and another step, for each of its inputs.
            if quantizer.folding is not None and len(self._inbound_nodes) == 1:
                quantizer.folding.round_bias(tf.convert_to_tensor(variables["extent"]))


class QuantizedTable(QuantizedKernel):
    """An Embedding with a fake-quantized table: one range for all rows, those that no text has too.

    The rows that are taken are rounded, which gives what taking rows of a rounded table does, and
    costs a training next to nothing.
    """

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """Rows in the steps of the table's integers."""
        del kwargs
        rows = self.layer.call(inputs)
        if self.exact:
            return rows
        if training is None:
            training = keras.backend.learning_phase()
        ((table, quantizer, variables),) = self._weight_vars

        def measured() -> Any:
            quantizer.measure(tf.convert_to_tensor(table), variables)
            return quantizer(rows, training=False, weights=variables)

        return tf.__internal__.smart_cond.smart_cond(
            training, measured, partial(quantizer, rows, training=False, weights=variables)
        )

    @property
    def quantizes_trained_kernel(self) -> bool:
        """No: what a row gives is what its values are rounded to."""
        return False


class Quantize(keras.layers.Layer):
    """Fake-quantizes a tensor.

    Args:
      quantizer: one of TF-MOT's kind.

    Attributes:
      exact: pass the tensor on as it is; see `QuantizedKernel.exact`.
    """

    exact = False

    def __init__(self, quantizer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantizer = quantizer

    def build(self, input_shape: Any) -> None:
        """Makes the quantizer's variables."""
        self._quantizer_variables = self.quantizer.build(input_shape, self.name, self)
        super().build(input_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The tensor in the steps of its integers, as float32."""
        if self.exact:
            return inputs
        if training is None:
            training = keras.backend.learning_phase()
        quantized = partial(self.quantizer, inputs, weights=self._quantizer_variables)
        return tf.__internal__.smart_cond.smart_cond(
            training, partial(quantized, training=True), partial(quantized, training=False)
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "quantizer": self.quantizer}


class SteppedRsqrt(keras.layers.Layer):
    """One over the square root of a quantized tensor, in training of one step at least.

    A variance that is rounded to zero has no finite root. The file gives the end of its range for
    it, and so does fake quantization of infinity; a training would spread it.

    Args:
      source: quantizer of the tensor; None where it is not quantized.
    """

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Gives float of the shape of `inputs`."""
        if training is None:
            training = keras.backend.learning_phase()
        if self.source is None:
            return tf.math.rsqrt(inputs)
        return tf.__internal__.smart_cond.smart_cond(
            training or self.source.calibration.running,
            lambda: tf.math.rsqrt(tf.maximum(inputs, self.source.step())),
            lambda: tf.math.rsqrt(inputs),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "source": self.source}


class InFloat(keras.layers.Layer):
    """Passes a tensor on in such a way that the file computes what follows in float.

    TFLite's converter turns every operator that stands between quantized tensors into integers,
    also one that was trained in float. It has no integer form of this detour over float64.
    """

    def call(self, inputs: Any) -> Any:
        """The tensor, unchanged."""
        return tf.cast(tf.cast(inputs, tf.float64), inputs.dtype)
