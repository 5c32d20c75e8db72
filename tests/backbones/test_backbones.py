"""The config, the head, splitting and transfer modes."""

import subprocess
import sys

import numpy as np
import pytest

from tfcompress import backbones
from tfcompress._keras import keras
from tfcompress.backbones import BackboneConfig
from tfcompress.goals import Classes


@pytest.fixture(scope="module")
def resnet8():
    config = BackboneConfig(name="resnet8", weights="none", image_size=8, dropout=0.5)
    return backbones.build_classifier(config, classes=3, image_shape=(8, 8, 3))


def test_names_and_a_wrong_name_need_no_tensorflow():
    program = (
        "import sys\n"
        "from tfcompress import backbones\n"
        "backbones.names()\n"
        "try:\n"
        "    backbones.BackboneConfig(name='mobilenet_v2')\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "assert not {'tensorflow', 'tf_keras', 'h5py'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Did you mean MobileNetV2?" in done.stdout
    assert "Known: MobileNet" in done.stdout or "resnet8" in done.stdout


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "resnet9"}, r"Did you mean resnet8\? Known: .*efficientnet_lite0"),
        ({"name": "minilm_l7"}, r"Did you mean minilm_l6\? .* For texts: minilm_l6"),
        ({"image_size": 4}, "at least 8 pixels for resnet8, or 0 for its default of 32"),
        ({"image_size": -1}, "at least 8 pixels"),
        ({"name": "lenet5", "image_size": 15}, "at least 16 pixels"),
        ({"name": "InceptionV3", "image_size": 74}, "at least 75 pixels"),
        ({"width": 0.5}, "one of 1.0 for resnet8"),
        ({"width": 0.0}, "above 0"),
        ({"name": "MobileNet", "width": 0.35}, "one of 0.25, 0.5, 0.75, 1.0 for MobileNet"),
        ({"dropout": 20}, r"in \[0, 1\). Received: 20. For 20% dropout pass 0.2"),
        ({"batch_norm_momentum": 1.0}, r"in \(0, 1\)"),
        ({"weights": "imagenet"}, "default, cifar10, none for resnet8, or the path"),
        ({"weights": "absent.h5"}, "names no file"),
    ],
)
def test_a_wrong_field_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**fields)


def test_random_mobilenet_takes_any_width():
    assert BackboneConfig(name="MobileNet", weights="none", width=0.1).width == 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet8", "cifar10"),
        ("efficientnet_lite0", "imagenet"),
        ("MobileNetV2", "imagenet"),
        ("lenet5", "none"),
    ],
)
def test_default_weights(name, expected):
    assert BackboneConfig(name=name).resolved_weights == expected


@pytest.mark.parametrize(
    ("fields", "image_shape", "expected"),
    [
        ({"name": "resnet8"}, (28, 28, 1), (32, 32, 3)),
        ({"name": "resnet8", "image_size": 48}, (32, 32, 3), (48, 48, 3)),
        ({"name": "lenet5"}, (28, 28, 1), (28, 28, 1)),
        ({"name": "lenet5"}, (32, 32, 3), (28, 28, 3)),
        ({"name": "NASNetMobile"}, (32, 32, 3), (224, 224, 3)),
    ],
)
def test_model_image_shape(fields, image_shape, expected):
    config = BackboneConfig(**fields)
    shape = backbones.model_image_shape(config, image_shape)
    assert shape == expected
    assert backbones.model_image_shape(config, shape) == expected
    assert backbones.preprocessing(config, image_shape).image_shape == expected


@pytest.mark.parametrize("image_shape", [(32, 32), (32, 32, 4)])
def test_images_of_another_kind_are_refused(image_shape):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        backbones.preprocessing(BackboneConfig(), image_shape)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        backbones.build_classifier(BackboneConfig(), classes=1, image_shape=(32, 32, 3))


def test_batch_norm_momentum_is_set_everywhere():
    config = BackboneConfig(name="MobileNet", weights="none", width=0.1, batch_norm_momentum=0.8)
    model = backbones.build_classifier(config, classes=2, image_shape=(32, 32, 3))
    layers = [layer for layer in model.layers if hasattr(layer, "moving_variance")]
    assert len(layers) == 27
    assert {layer.momentum for layer in layers} == {0.8}


def test_split_head_gives_the_classifier_in_two_parts(resnet8):
    features, head = backbones.split_head(resnet8)
    images = np.random.default_rng(0).uniform(-1, 1, [4, 8, 8, 3]).astype(np.float32)
    codes = features(images)
    assert codes.shape == (4, 64)
    assert [layer.name for layer in head.layers] == ["features", "logits_dropout", "logits"]
    np.testing.assert_allclose(head(codes), resnet8(images), atol=1e-6)
    assert head.layers[-1] is resnet8.layers[-1]


def test_split_head_refuses_another_model():
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2, name="other")])
    with pytest.raises(ValueError, match="Received: Dense called 'other'"):
        backbones.split_head(model)


@pytest.mark.parametrize(
    ("mode", "last_layers", "trained"),
    [
        ("linear_probe", 0, ["logits"]),
        ("fine_tune", 1, ["stack3_conv2_bn", "logits"]),
        ("fine_tune", 3, ["stack3_conv2", "stack3_shortcut", "stack3_conv2_bn", "logits"]),
    ],
)
def test_transfer_modes_train_the_last_layers(resnet8, mode, last_layers, trained):
    backbones.set_transfer_mode(resnet8, mode, last_layers=last_layers)
    assert [layer.name for layer in resnet8.layers if layer.trainable_weights] == trained


def test_full_trains_every_layer_with_weights(resnet8):
    backbones.set_transfer_mode(resnet8, "linear_probe")
    backbones.set_transfer_mode(resnet8, "full")
    assert all(layer.trainable_weights for layer in resnet8.layers if layer.weights)
    assert sum(bool(layer.weights) for layer in resnet8.layers) == 17


@pytest.mark.parametrize(
    ("mode", "last_layers", "message"),
    [
        ("probe", 0, "Unknown transfer mode: 'probe'. Known: linear_probe, fine_tune, full"),
        ("fine_tune", 0, r"in \[1, 16\] for fine_tune"),
        ("fine_tune", 17, "To train all of them choose full"),
        ("full", 2, "belongs to the transfer mode fine_tune"),
    ],
)
def test_a_wrong_transfer_mode_is_refused(resnet8, mode, last_layers, message):
    with pytest.raises(ValueError, match=message):
        backbones.set_transfer_mode(resnet8, mode, last_layers=last_layers)


def test_a_model_with_nothing_to_train_is_refused():
    empty = keras.Sequential([keras.Input([4]), keras.layers.ReLU()], name="empty")
    with pytest.raises(ValueError, match="'empty' has no trainable layer: none of its 1 layers"):
        backbones.set_transfer_mode(empty, "full")


def test_a_frozen_model_is_refused():
    frozen = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)], name="frozen")
    backbones.require_trainable(frozen)
    frozen.trainable = False
    with pytest.raises(ValueError, match="'frozen' has no trainable layer: all 1 of its layers"):
        backbones.require_trainable(frozen)


@pytest.mark.parametrize(("mode", "moves"), [("linear_probe", False), ("full", True)])
def test_statistics_follow_the_data_unless_frozen(mode, moves):
    config = BackboneConfig(name="resnet8", weights="none", image_size=8)
    model = backbones.build_classifier(config, classes=2, image_shape=(8, 8, 3))
    backbones.set_transfer_mode(model, mode)
    # A rate of 0: the weights stay, so that the mean of the first convolution's output is known.
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(True))
    images = np.random.default_rng(0).uniform(1, 3, [16, 8, 8, 3]).astype(np.float32)
    first = keras.Model(model.input, model.get_layer("conv1").output)(images).numpy()
    model.fit(np.tile(images, [30, 1, 1, 1]), np.zeros([480]), batch_size=16, verbose=0)
    mean = model.get_layer("conv1_bn").moving_mean.numpy()
    # 30 steps at momentum 0.9 leave 0.9**30 = 4% of the initial mean, which is 0.
    expected = first.mean(axis=(0, 1, 2)) * (1 - 0.9**30) if moves else np.zeros(16)
    np.testing.assert_allclose(mean, expected, rtol=0.01, atol=1e-3)


def test_a_new_head_sits_on_the_same_layers(resnet8):
    found = backbones.with_new_head(resnet8, goal=Classes.numbered(5), seed=1)
    assert found.output_shape == (None, 5)
    assert found.get_layer("conv1") is resnet8.get_layer("conv1")
    assert found.layers[-1].name == backbones.HEAD
    again = backbones.with_new_head(resnet8, goal=Classes.numbered(5), seed=1)
    other = backbones.with_new_head(resnet8, goal=Classes.numbered(5), seed=2)
    first, same, different = (model.layers[-1].get_weights()[0] for model in (found, again, other))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, different)
    assert resnet8.output_shape == (None, 3)


def test_a_backbone_from_a_text():
    assert backbones.from_text("resnet8") == BackboneConfig(name="resnet8")
    found = backbones.from_text("MobileNet:0.25:96", weights="none", image_size=64)
    assert (found.width, found.image_size, found.weights) == (0.25, 96, "none")
    assert backbones.from_text("MobileNet::", image_size=64).image_size == 64


@pytest.mark.parametrize("text", ["MobileNet:wide", "MobileNet:1:2:3", "MobileNet:0.25:big"])
def test_a_text_that_is_no_backbone_is_refused(text):
    with pytest.raises(ValueError, match=f"NAME:WIDTH:SIZE. Received: '{text}'"):
        backbones.from_text(text)
