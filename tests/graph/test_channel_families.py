"""The smallest network of each family of tf_keras.applications, without half of its channels.

TFCOMPRESS_ALL_FAMILIES=1 runs all of them, in minutes.
"""

import os

import numpy as np
import pytest

from tfcompress._keras import keras
from tfcompress.graph import agreement, cost
from tfcompress.graph.channel_following import channel_graph
from tfcompress.graph.channel_removal import without, zeroed
from tfcompress.graph.normal_form import normalize

# Name to: image size, the least that the network takes; groups that may shrink; groups that stay.
FAMILIES = {
    "VGG16": (32, 13, 1),
    "ResNet50": (32, 37, 1),
    "ResNet50V2": (32, 37, 1),
    "ResNetRS50": (32, 56, 1),
    "RegNetX002": (32, 18, 1),
    "RegNetY002": (32, 31, 1),
    "InceptionV3": (75, 94, 1),
    "InceptionResNetV2": (75, 204, 1),
    "Xception": (71, 28, 1),
    "MobileNet": (32, 14, 1),
    "MobileNetV2": (32, 25, 1),
    "MobileNetV3Small": (32, 26, 1),
    "MobileNetV3Large": (32, 29, 1),
    "DenseNet121": (32, 120, 1),
    "NASNetMobile": (32, 128, 1),
    "EfficientNetB0": (32, 40, 1),
    "EfficientNetV2B0": (32, 44, 1),
    # Its blocks normalize over the channels that they add to; those within them may go.
    "ConvNeXtTiny": (32, 18, 7),
}
ALL = os.environ.get("TFCOMPRESS_ALL_FAMILIES") == "1"
# Additions, gates, grouped convolutions, layer normalization.
SHOWN = tuple(FAMILIES) if ALL else ("MobileNetV3Small", "RegNetX002")


def random_network(name, size):
    """With statistics and shifts of its own in every layer."""
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    logits = keras.layers.Dense(10, name="logits")(network.output)
    model = normalize(keras.Model(network.input, logits, name=name), check=False)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            *shifts, variance = [generator.normal(0, 0.1, weight.shape) for weight in weights]
            layer.set_weights([*(shift + 0.5 for shift in shifts), 1 + np.abs(variance)])
        if type(layer).__name__ == "ChannelScale":
            # They start at 1e-6, which would hide what is in the branch.
            layer.set_weights([generator.uniform(0.5, 1, weights[0].shape)])
    return model


@pytest.mark.parametrize("name", SHOWN)
def test_it_computes_the_same_without_channels_that_are_zero(name):
    size, free, kept = FAMILIES[name]
    model = random_network(name, size)
    graph = channel_graph(model)
    groups = [group for group in graph.groups if not group.reason]
    assert (len(groups), len(graph.groups) - len(groups)) == (free, kept)
    removed = np.zeros(graph.count, bool)
    for group in groups:
        removed[group.units[::2][: len(group.units) - 1]] = True
    smaller = without(model, graph, removed, check=False)
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    expected = zeroed(model, graph, removed)(inputs, training=False)
    assert agreement.difference(expected, smaller(inputs, training=False)) <= 1e-5
    assert agreement.difference(model(inputs, training=False), expected) > 1e-3
    assert cost.macs(smaller) < (0.6 if name == "ConvNeXtTiny" else 0.35) * cost.macs(model)
