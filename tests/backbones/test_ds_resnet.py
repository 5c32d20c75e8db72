"""The residual network of depthwise-separable convolutions, counted."""

import pytest

from tfcompress import backbones
from tfcompress.backbones import BackboneConfig
from tfcompress.graph import cost


@pytest.mark.parametrize(("width", "filters"), [(0.01, 4), (0.5, 64), (0.55, 72), (1.5, 192)])
def test_channels_are_multiples_of_four(width, filters):
    config = BackboneConfig(name="ds_resnet", width=width)
    model = backbones.load_family("ds_resnet").build_features(config, (32, 32, 3))
    assert model.output_shape == (None, filters)


def test_parameters_and_macs_by_hand():
    model = backbones.build_classifier(
        BackboneConfig(name="ds_resnet"), classes=10, image_shape=(32, 32, 3)
    )
    # Inputs and outputs of each block, and the height and width of what it gives.
    blocks = [(32, 32, 32)] * 2 + [(32, 64, 16)] + [(64, 64, 16)] * 2 + [(64, 128, 8)]
    blocks += [(128, 128, 8)] * 3
    kernels = 27 * 32 + sum(9 * given + given * made for given, made, _ in blocks)
    normalized = 32 + sum(given + made for given, made, _ in blocks)
    assert model.count_params() == kernels + 4 * normalized + 129 * 10
    assert kernels + 2 * normalized + 129 * 10 == 80_778
    macs = 27 * 32 * 32**2 + 1280
    macs += sum((9 * given + given * made) * size**2 for given, made, size in blocks)
    assert cost.macs(model) == macs
    # A shortcut wherever the shape stays.
    assert sum(type(layer).__name__ == "Add" for layer in model.layers) == 7
