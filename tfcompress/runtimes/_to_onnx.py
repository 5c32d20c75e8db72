"""Converts a TFLite or Keras file to ONNX, as a program of its own.

    python -m tfcompress.runtimes._to_onnx model.tflite model.onnx

Knows tf2onnx, which imports TensorFlow, and Keras 2; a file of Keras 3 is brought there by
`tfcompress.load_model`. The ONNX runtime runs it in another process than its own,
so that TensorFlow's memory and threads are not in what is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tfcompress._keras import keras, tf


def convert(source: str) -> bytes:
    """The ONNX file of a TFLite or Keras file, its batch open where the file's is.

    Args:
      source: a `.tflite`, `.keras` or `.h5` file.
    """
    # Before tf2onnx, which would import it with its banners.
    _ = tf.nest
    import tf2onnx

    if source.endswith(".tflite"):
        proto, _ = tf2onnx.convert.from_tflite(source)
    else:
        function, signature = _traceable(source)
        proto, _ = tf2onnx.convert.from_function(function, input_signature=signature)
    content: bytes = proto.SerializeToString()
    return content


def _traceable(source: str) -> tuple[Any, list[Any]]:
    """A Keras model as a function of its flattened inputs, and their signature."""
    # Registers the layers of the normal form, which a file may hold.
    from tfcompress.graph import _layers as _registered  # noqa: F401

    model = keras.models.load_model(source, compile=False)
    structure = model.input

    def call(*arrays: Any) -> list[Any]:
        return tf.nest.flatten(model(tf.nest.pack_sequence_as(structure, arrays), training=False))

    signature = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]
    return tf.function(call, signature), signature


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(convert(sys.argv[1]))
