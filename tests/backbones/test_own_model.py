"""A user's model file as what a run starts from: which are taken, how, and what others are told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfcompress import backbones, durable
from tfcompress._keras import keras, keras3
from tfcompress.backbones import BackboneConfig, ModelConfig
from tfcompress.goals import Classes

IMAGES = np.random.default_rng(0).uniform(0, 255, [4, 8, 8, 3]).astype(np.float32)


def features(inputs, *, rescale=True, pool=True):
    layers = keras.layers
    outputs = layers.Rescaling(1 / 127.5, -1)(inputs) if rescale else inputs
    outputs = layers.Conv2D(4, 3, padding="same", name="conv")(outputs)
    outputs = layers.BatchNormalization(momentum=0.999, name="norm")(outputs)
    return layers.GlobalAveragePooling2D()(outputs) if pool else outputs


def written(path, end, *, shape=(8, 8, 3), batch=None, **options):
    """Saves a model whose last layers `end` puts on the features; gives its path."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape, batch_size=batch)
    model = keras.Model(inputs, end(features(inputs, **options)))
    model.save(path)
    return str(path)


def dense(units, activation=None, name="fc"):
    return keras.layers.Dense(units, activation=activation, name=name)


def classifier(path, *, classes=5, keep_head=True, shape=(8, 8, 3), **settings):
    source = backbones.opened(ModelConfig(path, **settings))
    built = source.build_model(
        goal=Classes.numbered(classes), image_shape=shape, seed=0, keep_head=keep_head
    )
    return source, built


ENDS = {
    "logits": (lambda x: dense(5)(x), []),
    "softmax inside": (lambda x: dense(5, "softmax")(x), ["softmax of fc"]),
    "softmax layer": (lambda x: keras.layers.Softmax(name="p")(dense(5)(x)), ["p"]),
    "softmax activation": (
        lambda x: keras.layers.Activation("softmax", name="p")(dense(5)(x)),
        ["p"],
    ),
}


@pytest.mark.parametrize(("end", "removed"), ENDS.values(), ids=ENDS)
def test_a_kept_head_gives_the_logits_of_the_file(tmp_path, end, removed):
    path = written(tmp_path / "own.keras", end)
    given = keras.models.load_model(path)(IMAGES).numpy()
    source, model = classifier(path)
    logits = model(IMAGES).numpy()
    expected = given if not removed else np.log(given) - np.log(given).mean(axis=1, keepdims=True)
    received = logits if not removed else logits - logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(received, expected, atol=1e-4)
    record = source.record(keep_head=True)
    assert record["removed"] == removed
    assert record["head"] == "the model's own"
    assert durable.sha256_of_file(path) in record["weights"]


@pytest.mark.parametrize(("end", "removed"), ENDS.values(), ids=ENDS)
def test_a_new_head_stands_on_the_features_of_the_file(tmp_path, end, removed):
    path = written(tmp_path / "own.keras", end)
    source, model = classifier(path, classes=7, keep_head=False, dropout=0.2)
    assert model.output_shape == (None, 7)
    head_features, head = backbones.split_head(model)
    given = keras.models.load_model(path)
    expected = keras.Model(given.input, given.get_layer("fc").input)(IMAGES).numpy()
    np.testing.assert_allclose(head_features(IMAGES).numpy(), expected, atol=1e-4)
    assert [layer.name for layer in head.layers[1:]] == ["logits_dropout", "logits"]
    assert source.record(keep_head=False)["removed"] == ["fc", *removed]


def test_a_network_without_a_head_gets_one(tmp_path):
    path = written(tmp_path / "own.keras", lambda x: x)
    _, model = classifier(path, classes=3, keep_head=False)
    assert model.output_shape == (None, 3)
    assert model.get_layer("logits").input_shape == (None, 4)


def test_seeds_give_the_new_head_its_weights(tmp_path):
    path = written(tmp_path / "own.keras", dense(5))
    source = backbones.opened(ModelConfig(path))
    kernels = [
        source.build_model(
            goal=Classes.numbered(5), image_shape=(8, 8, 3), seed=seed, keep_head=False
        )
        .get_layer("logits")
        .get_weights()[0]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_every_layer_can_be_trained_with_statistics_that_keep_up(tmp_path):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    frozen = keras.Model(inputs, dense(5)(features(inputs)))
    frozen.get_layer("conv").trainable = False
    frozen.save(tmp_path / "own.keras")
    _, model = classifier(str(tmp_path / "own.keras"))
    assert all(layer.trainable for layer in model.layers)
    assert model.get_layer("norm").momentum == 0.9


def test_a_keras_3_file_is_taken(tmp_path):
    keras3.utils.set_random_seed(0)
    inputs = keras3.Input((8, 8, 3))
    outputs = keras3.layers.Conv2D(4, 3, activation="silu")(
        keras3.layers.Rescaling(1 / 255)(inputs)
    )
    outputs = keras3.layers.GlobalAveragePooling2D()(outputs)
    given = keras3.Model(inputs, keras3.layers.Dense(5, activation="softmax")(outputs))
    given.save(tmp_path / "own.keras")
    source, model = classifier(str(tmp_path / "own.keras"))
    np.testing.assert_allclose(
        keras.activations.softmax(model(IMAGES)).numpy(), np.asarray(given(IMAGES)), atol=1e-5
    )
    assert source.preprocessing((8, 8, 3)).scale == (1.0,)


# What its pixels must be.


@pytest.mark.parametrize(
    ("kind", "scale", "offset", "order"),
    [
        ("raw", (1.0,), (0.0,), "rgb"),
        ("unit", (1 / 255,), (0.0,), "rgb"),
        ("symmetric", (1 / 127.5,), (-1.0,), "rgb"),
        ("lite", (1 / 128,), (-127 / 128,), "rgb"),
        ("caffe", (1.0,), (-103.939, -116.779, -123.68), "bgr"),
    ],
)
def test_a_model_that_rescales_nothing_is_told_its_pixels(tmp_path, kind, scale, offset, order):
    path = written(tmp_path / "own.keras", dense(5), rescale=False)
    found = backbones.opened(ModelConfig(path, preprocessing=kind)).preprocessing((28, 28, 1))
    assert (found.scale, found.offset, found.channel_order) == (scale, offset, order)
    assert found.image_shape == (8, 8, 3)


def test_the_presets_are_those_of_keras():
    raw = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 3]).astype(np.uint8)
    modes = {"symmetric": "tf", "caffe": "caffe", "torch": "torch"}
    for kind, mode in modes.items():
        expected = keras.applications.imagenet_utils.preprocess_input(
            raw.astype(np.float32), mode=mode
        )
        found = backbones.pixels(kind, (8, 8, 3)).apply(raw)
        np.testing.assert_allclose(found, expected, atol=1e-4)


FIRST = {
    "augmentation before it": lambda x: keras.layers.Rescaling(1 / 255)(
        keras.layers.RandomFlip("horizontal")(x)
    ),
    "normalization": lambda x: keras.layers.Normalization(mean=[1.0] * 3, variance=[4.0] * 3)(x),
    "operators on tensors": lambda x: x / 127.5 - 1.0,
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_a_model_that_rescales_takes_raw_pixels(tmp_path, first):
    inputs = keras.Input((8, 8, 3))
    outputs = dense(5)(features(first(inputs), rescale=False))
    keras.Model(inputs, outputs).save(tmp_path / "own.keras")
    source = backbones.opened(ModelConfig(str(tmp_path / "own.keras")))
    assert source.preprocessing((8, 8, 3)) == backbones.pixels("raw", (8, 8, 3))


# Its size.


def test_an_open_size_becomes_the_one_asked_for(tmp_path):
    path = written(tmp_path / "own.keras", dense(5), shape=(None, None, 3))
    _, model = classifier(path, image_size=8)
    assert model.input_shape == (None, 8, 8, 3)
    given = keras.models.load_model(path)
    np.testing.assert_allclose(model(IMAGES).numpy(), given(IMAGES).numpy(), atol=1e-4)


def test_another_size_and_a_fixed_batch_are_taken_where_the_layers_allow_it(tmp_path):
    path = written(tmp_path / "own.keras", dense(5), batch=2)
    assert classifier(path)[1].input_shape == (None, 8, 8, 3)
    assert classifier(path, image_size=16)[1].input_shape == (None, 16, 16, 3)


# What is refused.


def flattened(x):
    return dense(5)(keras.layers.Flatten()(x))


REFUSED = {
    "open size": ({"shape": (None, None, 3)}, dense(5), {}, "say which with --image_size"),
    "size of Flatten": (
        {"pool": False},
        flattened,
        {"image_size": 16},
        "cannot be built for images of 16x16 pixels; its own size is 8x8",
    ),
    "range of the pixels": (
        {"rescale": False},
        dense(5),
        {},
        "--model_preprocessing, one of\n  raw",
    ),
    "colours for grey": (
        {"rescale": False, "shape": (8, 8, 1)},
        dense(5),
        {"preprocessing": "torch"},
        "three colours",
    ),
    "channels": ({"shape": (8, 8, 4)}, dense(5), {}, "with 1 or 3 channels, channels last"),
    "one output": ({}, dense(1, "sigmoid"), {}, "has one output: a regression, or two classes"),
    "regression": ({}, dense(1), {}, "has one output"),
    "sigmoid": ({}, dense(5, "sigmoid"), {}, "ends in 'fc' with the activation sigmoid"),
    "relu": ({}, lambda x: keras.layers.ReLU(name="cut")(dense(5)(x)), {}, "activation relu"),
    "two outputs": ({}, lambda x: [dense(5)(x), dense(3, name="b")(x)], {}, "2 outputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_classifier_of_images_is_refused_before_any_work(tmp_path, name):
    options, end, settings, says = REFUSED[name]
    path = written(tmp_path / "own.keras", end, **options)
    with pytest.raises(ValueError, match=r"\w") as error:
        backbones.opened(ModelConfig(path, **settings))
    assert says in str(error.value)


def test_rows_of_numbers_are_no_images(tmp_path):
    inputs = keras.Input((20,))
    keras.Model(inputs, dense(5)(inputs)).save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match=r"takes float32 \[20\]. Expected images"):
        backbones.opened(ModelConfig(str(tmp_path / "own.keras"), preprocessing="raw"))


def test_two_inputs_are_refused(tmp_path):
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    outputs = dense(5)(features(keras.layers.Add()([first, second])))
    keras.Model([first, second], outputs).save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match="has 2 inputs and 1 outputs"):
        backbones.opened(ModelConfig(str(tmp_path / "own.keras")))


def test_a_kept_head_must_have_the_classes_of_the_data(tmp_path):
    path = written(tmp_path / "own.keras", dense(5))
    with pytest.raises(ValueError, match="tells 5 classes apart, the data set has 10") as error:
        classifier(path, classes=10)
    assert "--transfer=full" in str(error.value)


NO_NEW_HEAD = {
    "feature maps": ({"pool": False}, lambda x: x, r"ends in features of shape \[8, 8, 4\]"),
    "another classifier layer": (
        {"pool": False},
        lambda x: keras.layers.Softmax()(
            keras.layers.Flatten(name="flat")(keras.layers.Conv2D(5, 8)(x))
        ),
        "makes its classes with 'flat'",
    ),
    "name taken": (
        {},
        lambda x: dense(5)(dense(4, name="logits")(x)),
        "has a layer called 'logits'",
    ),
}


@pytest.mark.parametrize(("options", "end", "says"), NO_NEW_HEAD.values(), ids=NO_NEW_HEAD)
def test_where_no_new_head_can_stand(tmp_path, options, end, says):
    path = written(tmp_path / "own.keras", end, **options)
    with pytest.raises(ValueError, match=says):
        classifier(path, keep_head=False)


def test_a_head_called_logits_makes_way(tmp_path):
    path = written(tmp_path / "own.keras", dense(5, name="logits"))
    assert classifier(path, classes=7, keep_head=False)[1].output_shape == (None, 7)


def test_a_network_by_name_has_no_head_to_keep():
    source = backbones.opened(BackboneConfig(name="lenet5"))
    with pytest.raises(ValueError, match="--model=PATH --transfer=none"):
        source.build_model(
            goal=Classes.numbered(10), image_shape=(28, 28, 1), seed=0, keep_head=True
        )


# The config, without TensorFlow.


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"path": "nowhere.keras"}, "names no model"),
        ({"preprocessing": "vgg"}, "must be one of raw, unit, symmetric, lite, caffe, torch"),
        ({"image_size": -1}, "image_size must be at least 0"),
        ({"dropout": 20}, "For 20% dropout pass 0.2"),
        ({"batch_norm_momentum": 1}, "batch_norm_momentum must be in"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_refused(tmp_path, settings, says):
    (tmp_path / "own.keras").write_bytes(b"any")
    with pytest.raises(ValueError, match="ModelConfig") as error:
        ModelConfig(**{"path": str(tmp_path / "own.keras"), **settings})
    assert says in str(error.value)


def test_the_config_knows_what_the_file_holds(tmp_path):
    file = tmp_path / "my model (2).keras"
    file.write_bytes(b"one")
    first = ModelConfig(str(file))
    assert first.name == "my_model_2"
    assert first.sha256 == durable.sha256(b"one")
    file.write_bytes(b"two")
    assert ModelConfig(str(file)).sha256 != first.sha256
    assert dataclasses.asdict(first)["sha256"] == first.sha256


def test_the_checksum_of_a_folder_is_that_of_its_files(tmp_path):
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"one")
    first = ModelConfig(str(folder)).sha256
    assert ModelConfig(str(folder)).sha256 == first
    (folder / "variables" / "data").write_bytes(b"two")
    assert ModelConfig(str(folder)).sha256 != first
