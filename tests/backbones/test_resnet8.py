"""MLPerf Tiny's ResNet-8: its size, and the file that ships."""

import numpy as np
import pytest

from tfcompress import backbones, durable
from tfcompress.backbones import BackboneConfig, WeightsError, _weights, resnet8


def build(weights="none", seed=0):
    config = BackboneConfig(name="resnet8", weights=weights)
    return backbones.build_classifier(config, classes=10, image_shape=(32, 32, 3), seed=seed)


def test_size_is_the_reference_s():
    model = build()
    assert model.count_params() == 78_666
    assert model.get_layer("stack3_relu").output_shape == (None, 8, 8, 64)


def test_written_file_holds_the_features_and_not_the_head(tmp_path):
    classifier = build(seed=7)
    path = tmp_path / "shipped.npz"
    digest = resnet8.write_shipped(classifier, path)
    assert digest == durable.sha256_of_file(path) == resnet8.write_shipped(classifier, path)
    assert path.stat().st_size < 400_000
    assert "logits" not in _weights.read(path)
    restored = build(weights=str(path))
    images = np.random.default_rng(0).uniform(-1, 1, [2, 32, 32, 3]).astype(np.float32)
    np.testing.assert_array_equal(
        backbones.split_head(restored)[0](images), backbones.split_head(classifier)[0](images)
    )


def test_another_network_is_not_written(tmp_path):
    other = backbones.build_classifier(
        BackboneConfig(name="lenet5"), classes=10, image_shape=(28, 28, 1)
    )
    with pytest.raises(WeightsError, match="do not fit resnet8"):
        resnet8.write_shipped(other, tmp_path / "shipped.npz")
    assert not list(tmp_path.iterdir())


def test_an_absent_shipped_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(resnet8, "SHIPPED", tmp_path / "absent.npz")
    with pytest.raises(WeightsError, match="no file of the shipped ResNet-8 weights"):
        build(weights="default")


def test_a_changed_shipped_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "shipped.npz"
    digest = resnet8.write_shipped(build(), path)
    monkeypatch.setattr(resnet8, "SHIPPED", path)
    monkeypatch.setattr(resnet8, "SHIPPED_SHA256", digest)
    build(weights="cifar10")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged or was changed"):
        build(weights="cifar10")


@pytest.mark.skipif(not resnet8.SHIPPED.is_file(), reason="the shipped weights are not there")
def test_shipped_file():
    assert resnet8.SHIPPED.stat().st_size < 400_000
    model = build(weights="cifar10")
    assert not np.array_equal(model.get_weights()[0], build().get_weights()[0])
    assert resnet8.SHIPPED_SHA256 in backbones.weights_origin(BackboneConfig())
