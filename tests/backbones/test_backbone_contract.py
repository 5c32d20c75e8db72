"""What `backbones.Family` promises, for every backbone that the registry finds."""

import numpy as np
import pytest

from tfcompress import backbones
from tfcompress._keras import keras
from tfcompress.backbones import BackboneConfig

# The others are built by the same code as one of these, and take seconds to minutes each.
CHEAP = [
    BackboneConfig(name="ConvNeXtTiny", weights="none", image_size=32),
    BackboneConfig(name="MobileNet", weights="none", width=0.1, image_size=32),
    BackboneConfig(name="MobileNetV3Small", weights="none", width=0.25, image_size=32),
    BackboneConfig(name="ds_cnn", width=0.5),
    BackboneConfig(name="efficientnet_lite0", weights="none", image_size=32),
    BackboneConfig(name="lenet5"),
    BackboneConfig(name="lenet_300_100"),
    BackboneConfig(name="resnet8", weights="none"),
]


@pytest.mark.parametrize("config", CHEAP, ids=lambda config: config.name)
def test_classifier(config):
    preprocessing = backbones.preprocessing(config, (20, 24, 3))
    model = backbones.build_classifier(config, classes=4, image_shape=(20, 24, 3), seed=3)
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert model.input_shape == (None, *preprocessing.image_shape)
    assert model.layers[-1].name == "logits"
    assert {weight.dtype.name for weight in model.weights} == {"float32"}
    raw = np.random.default_rng(0).integers(0, 256, [2, 20, 24, 3]).astype(np.uint8)
    logits = model(preprocessing.apply(raw)).numpy()
    assert logits.shape == (2, 4)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).max() > 0, "the logits do not depend on the image"
    again = backbones.build_classifier(config, classes=4, image_shape=(20, 24, 3), seed=3)
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_model():
    config = BackboneConfig(name="lenet_300_100", image_size=4)
    models = [
        backbones.build_classifier(config, classes=2, image_shape=(4, 4, 1), seed=seed)
        for seed in (0, 1)
    ]
    assert not np.array_equal(models[0].get_weights()[0], models[1].get_weights()[0])


@pytest.mark.parametrize("name", backbones.names())
def test_family(name):
    family = backbones.load_family(name)
    config = BackboneConfig(name=name)
    height, width, channels = family.default_image_shape(name)
    assert height == width >= family.minimum_image_size(name)
    assert channels == family.channels(name)[0]
    assert "none" in family.weights(name)
    assert config.resolved_weights == family.weights(name)[0]
    assert 1.0 in (family.widths(name, family.weights(name)[0]) or (1.0,))
    assert backbones.preprocessing(config, (32, 32, 3)).image_shape[:2] == (height, width)


def test_names_are_unique():
    names = backbones.names()
    assert len(names) == len(set(names))
    assert {"resnet8", "lenet5", "lenet_300_100", "efficientnet_lite0", "VGG16"} <= set(names)
