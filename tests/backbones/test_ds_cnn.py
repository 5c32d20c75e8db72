"""The small network of depthwise-separable convolutions, counted."""

import pytest

from tfcompress import backbones
from tfcompress.backbones import BackboneConfig


@pytest.mark.parametrize(
    ("width", "filters"), [(0.1, 4), (0.5, 16), (0.75, 24), (0.8, 24), (1.0, 32), (1.5, 48)]
)
def test_channels_are_multiples_of_four(width, filters):
    config = BackboneConfig(name="ds_cnn", width=width)
    model = backbones.load_family("ds_cnn").build_features(config, (28, 28, 1))
    assert model.output_shape == (None, filters)


def test_parameters_by_hand():
    config = BackboneConfig(name="ds_cnn")
    model = backbones.build_classifier(config, classes=10, image_shape=(28, 28, 1))
    kernels = 9 * 32 + 3 * (9 * 32 + 32 * 32)
    # Seven batch normalizations of four numbers a channel, of which two are trained.
    assert model.count_params() == kernels + 7 * 4 * 32 + 33 * 10
    assert kernels + 7 * 2 * 32 + 33 * 10 == 5_002
