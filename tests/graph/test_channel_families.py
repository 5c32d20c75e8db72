"""The smallest network of each family of tf_keras.applications, without half of its channels.

Encoders of texts too, without half of their heads and units. TFCOMPRESS_ALL_FAMILIES=1 runs all
families, in minutes.
"""

import os

import numpy as np
import pytest

from tfcompress import encoders
from tfcompress._keras import keras
from tfcompress.encoders import EncoderConfig
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
    removed = halved(graph)
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    smaller = the_same_without(model, graph, removed, inputs)
    assert cost.macs(smaller) < (0.6 if name == "ConvNeXtTiny" else 0.35) * cost.macs(model)


def halved(graph):
    """Every other unit of each group that may shrink."""
    removed = np.zeros(graph.count, bool)
    for group in graph.groups:
        if not group.reason:
            removed[group.units[::2][: len(group.units) - 1]] = True
    return removed


def the_same_without(model, graph, removed, inputs):
    """The smaller model, which computes what the given one does with these units zero."""
    smaller = without(model, graph, removed, check=False)
    expected = zeroed(model, graph, removed)(inputs, training=False)
    assert agreement.difference(expected, smaller(inputs, training=False)) <= 1e-5
    assert agreement.difference(model(inputs, training=False), expected) > 1e-3
    return smaller


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_an_encoder_computes_the_same_without_heads_and_units_that_are_zero(kind):
    keras.utils.set_random_seed(0)
    config = EncoderConfig(
        kind=kind,
        vocabulary=30,
        width=24,
        layers=2,
        heads=4,
        feed_forward=10,
        positions=12,
        activation="gelu" if kind == "bert" else "gelu_new",
        padding_id=1,
    )
    encoder = encoders.build_encoder(config, length=8, pooler=kind == "bert", mask_input=False)
    pooled = encoder.output
    if kind == "roberta":
        pooled = keras.layers.GlobalAveragePooling1D()(pooled)
    logits = keras.layers.Dense(3, name="logits")(pooled)
    model = normalize(keras.Model(encoder.input, logits), check=False)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign_add(generator.normal(0, 0.3, weight.shape))
    graph = channel_graph(model)
    free = {group.layers: group for group in graph.groups if not group.reason}
    pooler = [("pooler/dense",)] * (kind == "bert")
    assert (
        list(free)
        == [
            part
            for layer in ("layer_0", "layer_1")
            for part in (
                tuple(f"{layer}/attention/{name}" for name in ("query", "key", "value")),
                (f"{layer}/feed_forward/inner",),
            )
        ]
        + pooler
    )
    heads = next(iter(free.values()))
    assert (len(heads.units), heads.channels) == (4, (6,))
    # Whatever is added to the hidden states is normalized with them.
    assert graph.left_alone("layer_0/attention/normalization") == (
        "layer_0/attention/normalization (LayerNormalization) normalizes over the channels"
    )
    ids = generator.integers(1, 30, [3, 8]).astype(np.int32)
    ids[1, 3:] = 1
    smaller = the_same_without(model, graph, halved(graph), ids)
    assert smaller.get_layer("layer_0/attention/query_split").target_shape == (-1, 2, 6)
    assert smaller.get_layer("layer_1/feed_forward/outer").kernel.shape == (5, 24)
