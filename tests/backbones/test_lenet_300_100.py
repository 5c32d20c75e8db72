"""LeNet-300-100, counted."""

from tfcompress import backbones
from tfcompress.backbones import BackboneConfig


def test_size_is_the_published_one():
    model = backbones.build_classifier(
        BackboneConfig(name="lenet_300_100"), classes=10, image_shape=(28, 28, 1)
    )
    # 300*(784+1) + 100*(300+1) + 10*(100+1)
    assert model.count_params() == 266_610
