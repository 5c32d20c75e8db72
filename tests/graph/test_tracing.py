"""What the converter is given of layers that Keras traces into more than it takes."""

import collections

import numpy as np
import pytest

from tfcompress import export, flatbuffer
from tfcompress._keras import keras
from tfcompress.graph import tracing
from tfcompress.techniques import ptq

IMAGES = np.random.default_rng(0).random((24, 12, 12, 3)).astype(np.float32)


def gated():
    """A network with a squeeze-and-excite block, and one within a model inside it."""
    layers = keras.layers
    inner_inputs = keras.Input((12, 12, 8))
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(inner_inputs))
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    inner = keras.Model(inner_inputs, layers.Multiply()([inner_inputs, gate]))
    inputs = keras.Input((12, 12, 3))
    features = inner(layers.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    sequence = layers.Reshape((-1, 8))(features)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(sequence)))


def operators(artifact):
    model = flatbuffer.parse(artifact.data, source="a file")
    graph = model.subgraphs[0]
    return collections.Counter(name for name, _ in flatbuffer.named_operators(model, graph))


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_a_known_shape_is_no_operator(format):
    model = gated()
    artifact = export.convert(model, format, calibration=IMAGES if format == "int8" else None)
    found = operators(artifact)
    assert found["RESHAPE"] == 2
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(found)
    limit = 1e-5 if format == "float32" else 0.05
    for images in (IMAGES, IMAGES[:1]):
        np.testing.assert_allclose(
            artifact.run(images), model.predict(images, verbose=0), atol=limit
        )


def test_the_model_itself_stays_as_it_was():
    model = gated()
    before = [dict(vars(layer)) for layer in tracing._layers(model, keras.layers.Reshape)]
    with tracing.for_converter(model):
        assert all("call" in vars(layer) for layer in tracing._layers(model, keras.layers.Reshape))
    assert [dict(vars(layer)) for layer in tracing._layers(model, keras.layers.Reshape)] == before
    assert len(before) == 2


def test_a_dense_layer_as_a_convolution_takes_no_shapes():
    inputs = keras.Input((12, 12, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(pooled))
    quantized = ptq.quantize(model, ptq.PTQConfig(calibration=IMAGES, rounding="nearest"))
    found = operators(export.convert(quantized, "int8"))
    assert found["CONV_2D"] == 2
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(found)
