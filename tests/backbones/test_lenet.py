"""The LeNets, counted."""

from tfcompress import backbones
from tfcompress.backbones import BackboneConfig


def test_lenet5_has_the_size_that_papers_count_from():
    model = backbones.build_classifier(
        BackboneConfig(name="lenet5"), classes=10, image_shape=(28, 28, 1)
    )
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.weights}
    # 20*(25+1), 50*(20*25+1), 500*(50*16+1), 10*(500+1)
    assert counts == {"conv1": 520, "conv2": 25_050, "dense1": 400_500, "logits": 5_010}
    assert model.count_params() == 431_080


def test_least_size_leaves_one_pixel():
    config = BackboneConfig(name="lenet5", image_size=16)
    model = backbones.build_classifier(config, classes=2, image_shape=(16, 16, 1))
    assert model.get_layer("pool2").output_shape == (None, 1, 1, 50)


def test_lenet_300_100_has_the_published_size():
    model = backbones.build_classifier(
        BackboneConfig(name="lenet_300_100"), classes=10, image_shape=(28, 28, 1)
    )
    # 300*(784+1) + 100*(300+1) + 10*(100+1)
    assert model.count_params() == 266_610
