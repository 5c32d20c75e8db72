"""The list of names, the preprocessing and the loading of ImageNet weights against Keras."""

import inspect
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from tfcompress import backbones
from tfcompress._keras import keras
from tfcompress.backbones import BackboneConfig, WeightsError, _weights, applications

MOBILENET = "mobilenet_2_5_224_tf_no_top.h5"
SHARED = Path(__file__).parents[3] / "shared" / "weights" / MOBILENET


def test_names_are_keras_names():
    found = {
        name
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert set(applications.names()) == found


@pytest.mark.parametrize("name", applications.names())
def test_preprocessing_is_keras_preprocess_input(name):
    module = sys.modules[getattr(keras.applications, name).__module__]
    images = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 3]).astype(np.uint8)
    ours = applications.preprocessing(name, (8, 8, 3)).apply(images)
    theirs = module.preprocess_input(images.astype(np.float32))
    # Both in float32; Caffe's values reach 152, whose rounding step is 1.5e-5.
    np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_a_size_without_imagenet_weights_is_refused():
    config = BackboneConfig(name="NASNetMobile", image_size=96)
    with pytest.raises(ValueError, match="for images of 224 pixels only"):
        backbones.build_classifier(config, classes=2, image_shape=(96, 96, 3))


def normalization_of(model):
    kind = keras.layers.Normalization
    return next(layer for layer in model.layers if isinstance(layer, kind))


def test_statistics_in_a_weight_file_reach_the_normal_form(tmp_path):
    network = keras.applications.EfficientNetB0(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    normalization = normalization_of(network)
    normalization.set_weights([np.float32([10, 20, 30]), np.float32([4, 9, 16]), np.int64(0)])
    normalization.finalize_state()
    network.save_weights(tmp_path / "network.h5")
    config = BackboneConfig(name="EfficientNetB0", weights=str(tmp_path / "network.h5"))
    features = applications.build_features(config, (32, 32, 3))
    assert normalization_of(features).input_mean == [10, 20, 30]
    images = np.random.default_rng(0).uniform(0, 255, [2, 32, 32, 3]).astype(np.float32)
    np.testing.assert_allclose(features(images), network(images), rtol=1e-5, atol=1e-6)


def build_mobilenet():
    config = BackboneConfig(name="MobileNet", width=0.25)
    return backbones.build_classifier(config, classes=2, image_shape=(96, 96, 3))


def test_a_failed_fetch_names_the_file_and_where_to_put_it(monkeypatch):
    waits = []

    def unreachable(**_):
        waits.append(socket.getdefaulttimeout())
        raise Exception("URL fetch failure on https://host/a/b_no_top.h5: None -- no route")

    monkeypatch.setattr(keras.applications, "MobileNet", unreachable)
    with pytest.raises(WeightsError, match=r"Put b_no_top.h5 into ~/.keras/models/"):
        build_mobilenet()
    assert waits == [20]
    assert socket.getdefaulttimeout() is None


@pytest.mark.skipif(not SHARED.is_file(), reason=f"no {MOBILENET} beside the repository")
def test_imagenet_weights_in_keras_folder_are_used(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".keras" / "models"
    folder.mkdir(parents=True)
    shutil.copy(SHARED, folder)
    features, _ = backbones.split_head(build_mobilenet())
    stored = _weights.read(SHARED)
    for layer in features.layers:
        for ours, theirs in zip(layer.get_weights(), stored.get(layer.name, []), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert features.count_params() == sum(a.size for arrays in stored.values() for a in arrays)
    (folder / MOBILENET).write_bytes(SHARED.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="in place of a damaged one"):
        build_mobilenet()
