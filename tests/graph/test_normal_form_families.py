"""The smallest network of each family of tf_keras.applications, in normal form.

TFCOMPRESS_ALL_FAMILIES=1 runs what takes minutes more: the two networks of some 780 layers, those
that have nothing of their own, every network flat as well as nested, and the saving of all of them.
"""

import os
from collections import Counter

import numpy as np
import pytest

from tfcompress._keras import keras
from tfcompress.graph.normal_form import is_normal, normalize

# Name to the image size: the least that the network takes, which costs least time.
FAMILIES = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "ResNetRS50": 32,
    "RegNetX002": 32,
    "RegNetY002": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "Xception": 71,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "MobileNetV3Large": 32,
    "DenseNet121": 32,
    "NASNetMobile": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "ConvNeXtTiny": 32,
}
# What a family is known by in its normal form: layers that stand for what Keras gives otherwise.
MARKS = {
    "ConvNeXtTiny": {"ChannelScale": 18, "Add": 18},
    "EfficientNetB0": {"Normalization": 1, "Rescaling": 1, "Multiply": 16},
    "InceptionResNetV2": {"Rescaling": 39, "Add": 40},
    "MobileNetV3Large": {"HardSwish": 20, "HardSigmoid": 8, "Multiply": 8, "ReLU": 19},
    "MobileNetV3Small": {"HardSwish": 18, "HardSigmoid": 9, "Multiply": 9, "ReLU": 14},
    "RegNetX002": {"Add": 13},
    "RegNetY002": {"Add": 13, "Multiply": 13},
}
ALL = os.environ.get("TFCOMPRESS_ALL_FAMILIES") == "1"
slow = pytest.mark.skipif(not ALL, reason="minutes; TFCOMPRESS_ALL_FAMILIES=1 runs it")
# Nothing in NASNet is rewritten; InceptionResNetV2's one layer has a test in test_normal_form.py.
LARGE = ("InceptionResNetV2", "NASNetMobile")
# Nothing in these is rewritten that is not in another family too.
ALIKE = (
    "ResNet50",
    "ResNetRS50",
    "InceptionV3",
    "Xception",
    "MobileNet",
    "MobileNetV3Large",
    "DenseNet121",
    "EfficientNetV2B0",
)
# Those whose normal form has layers that the others' have not.
SAVED = tuple(FAMILIES) if ALL else ("ConvNeXtTiny", "EfficientNetB0", "MobileNetV3Small")


def build(name):
    size = FAMILIES[name]
    return getattr(keras.applications, name)(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )


def nested(network):
    """What transfer learning makes of it."""
    inputs = keras.Input(network.input_shape[1:])
    return keras.Model(inputs, keras.layers.Dense(4)(network(inputs, training=False)))


def randomize(model):
    """Gives every weight values of its own, so that no two can be swapped unseen."""
    generator = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if hasattr(layer, "layers"):
            continue
        values = [random_like(generator, weight) for weight in layer.weights]
        if values:
            layer.set_weights(values)


def random_like(generator, weight):
    name, shape = weight.name, tuple(weight.shape)
    if weight.dtype.is_integer:
        return weight.numpy()
    if "gamma" in name or "variance" in name:
        return generator.uniform(0.5, 1.5, shape)
    if len(shape) < 2:
        return generator.normal(0, 0.2, shape)
    return generator.normal(0, np.prod(shape[:-1]) ** -0.5, shape)


def images_for(model):
    return np.random.default_rng(1).uniform(0, 255, [2, *model.input_shape[1:]]).astype(np.float32)


def outputs_of(model):
    return np.asarray(model(images_for(model), training=False))


def assert_same_outputs(expected, model):
    received = outputs_of(model)
    assert np.isfinite(received).all()
    assert received.std() > 0
    # The sum of a few roundings of float32 (6e-8 each) through some hundred layers.
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def kinds(model):
    return Counter(type(layer).__name__ for layer in model.layers)


def assert_plain(model):
    assert is_normal(model)
    for layer in model.layers:
        module = type(layer).__module__
        assert module.startswith("tf_keras.src.layers") or module.startswith(
            ("tf_keras.src.engine.input_layer", "tfcompress.graph._layers")
        ), f"{layer.name} is a {module}.{type(layer).__name__}"
        assert not hasattr(layer, "layers"), layer.name
        assert "Lambda" not in type(layer).__name__, layer.name


def _marks(name):
    if name in (*LARGE, *ALIKE):
        return slow
    # Half a minute; its file of Keras 3 is in test_keras3_families.py.
    return pytest.mark.slow if name == "ConvNeXtTiny" else ()


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in FAMILIES])
def test_nested_network_computes_the_same_as_plain_layers(name, tmp_path):
    model = nested(build(name))
    randomize(model)
    expected = outputs_of(model)
    normal = normalize(model, check=False)
    assert_plain(normal)
    assert_same_outputs(expected, normal)
    assert len(normal.trainable_weights) == len(model.trainable_weights)
    found = kinds(normal)
    assert {kind: found[kind] for kind in MARKS.get(name, {})} == MARKS.get(name, {})
    for suffix in (".keras", ".h5") if name in SAVED else ():
        normal.save(tmp_path / f"model{suffix}")
        loaded = keras.models.load_model(tmp_path / f"model{suffix}", compile=False)
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in normal.layers]
        assert_same_outputs(expected, loaded)


@slow
@pytest.mark.parametrize("name", FAMILIES)
def test_flat_network_computes_the_same_as_plain_layers(name):
    model = build(name)
    randomize(model)
    expected = outputs_of(model)
    normal = normalize(model)
    assert_plain(normal)
    assert_same_outputs(expected, normal)
