"""What goes with a channel, what keeps one, and that a model without it computes the same."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfcompress.graph import agreement, cost
from tfcompress.graph.channel_following import channel_graph
from tfcompress.graph.channel_removal import Remaining, without, zeroed


def ended(inputs, x, *, pool=True):
    from tfcompress._keras import keras

    x = keras.layers.GlobalAveragePooling2D()(x) if pool else x
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))


def residual(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    x = layers.BatchNormalization(name="first_bn")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(x)
    y = layers.Conv2D(6, 3, padding="same", name="second")(y)
    return ended(inputs, layers.ReLU()(layers.Add()([x, y])))


def concatenated(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, name="left")(inputs)
    y = layers.Conv2D(6, 3, name="right")(inputs)
    z = layers.BatchNormalization(name="joint_bn")(layers.Concatenate()([x, y]))
    return ended(inputs, layers.Conv2D(4, 1, name="mix")(layers.ReLU()(z)))


def depthwise(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="spatial")(x)
    x = layers.BatchNormalization(name="spatial_bn")(layers.ZeroPadding2D()(x))
    return ended(inputs, layers.Conv2D(5, 1, name="mix")(layers.MaxPooling2D()(x)))


def separable(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 1, activation="sigmoid", name="first")(inputs)
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="separable")(x)
    return ended(inputs, layers.PReLU(shared_axes=[1, 2], name="prelu")(x))


def grouped(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(8, 1, name="first")(inputs)
    x = layers.Conv2D(12, 3, groups=4, name="grouped")(x)
    return ended(inputs, layers.Conv2D(4, 1, name="mix")(layers.ReLU()(x)))


def gated(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(6, 3, activation="swish", name="first")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(gate)
    return ended(inputs, layers.Multiply()([x, gate]))


def flattened(keras):
    layers = keras.layers
    inputs = keras.Input([4, 4, 3])
    x = layers.Conv2D(5, 3, name="first")(inputs)
    x = layers.Dense(6, activation="tanh", name="hidden")(layers.Flatten()(x))
    return ended(inputs, x, pool=False)


def reshaped(keras):
    layers = keras.layers
    inputs = keras.Input([4, 4, 3])
    x = layers.Conv2D(6, 1, name="first")(inputs)
    x = layers.Reshape([16, 6])(x)
    x = layers.Conv1D(4, 3, name="sequence")(layers.Permute([1, 2])(x))
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dense(6, name="hidden")(layers.Reshape([1, 1, 4])(x))
    return ended(inputs, x)


def sliced(keras):
    from tfcompress.graph._layers import Slice

    layers = keras.layers
    inputs = keras.Input([6, 6, 3])
    x = layers.Conv2D(8, 1, name="first")(inputs)
    left = Slice([[None, None, None], [None, None, None], [0, 3, None]], name="left")(x)
    right = Slice([[None, None, None], [None, None, None], [3, None, 1]], name="right")(x)
    x = layers.Conv2D(4, 3, name="of_left")(left)
    y = layers.Conv2D(4, 3, name="of_right")(right)
    return ended(inputs, layers.Subtract()([x, y]))


def transposed(keras):
    layers = keras.layers
    inputs = keras.Input([4, 4, 3])
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = layers.Conv2DTranspose(6, 2, strides=2, name="larger")(x)
    x = layers.UpSampling2D()(layers.LeakyReLU()(x))
    return ended(inputs, layers.Conv2D(4, 1, name="mix")(x))


def used_twice(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    shared = layers.Conv2D(6, 3, padding="same", name="shared")
    return ended(inputs, shared(layers.ReLU()(shared(x))))


def scaled(keras):
    from tfcompress.graph._layers import ChannelScale, HardSigmoid, HardSwish

    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = ChannelScale(0.5, name="scale")(layers.Conv2D(6, 3, name="first")(inputs))
    x = layers.Multiply()([HardSwish()(x), HardSigmoid()(x)])
    return ended(inputs, layers.Rescaling(0.5)(x))


def shuffled(keras):
    layers = keras.layers
    inputs = keras.Input([4, 4, 3])
    x = layers.Conv2D(8, 1, name="first")(inputs)
    x = layers.Permute([1, 2, 4, 3])(layers.Reshape([4, 4, 2, 4], name="split")(x))
    return ended(inputs, layers.Reshape([4, 4, 8])(x))


def attention(keras, query, key, value, *, width):
    """Of [heads, tokens, head width] each: [tokens, width], with padding told from tokens."""
    from tfcompress.graph._layers import MatMul

    layers = keras.layers
    scores = MatMul(transpose_b=True, name="scores")([layers.Rescaling(0.1)(query), key])
    # What padding adds is the same for every head and every query.
    bias = layers.Rescaling(-4.0, 4.0)(keras.Input([1, 1, 5], name="mask"))
    shares = layers.Softmax(name="shares")(layers.Add()([scores, bias]))
    context = MatMul(name="context")([layers.Dropout(0.1)(shares), value])
    joined = layers.Reshape([-1, width])(layers.Permute([2, 1, 3])(context))
    outputs = layers.Dense(6, name="output")(joined)
    return bias, layers.Dense(3, name="logits")(layers.GlobalAveragePooling1D()(outputs))


def of_heads(keras, x, name, *, heads=3, normalized=False):
    layers = keras.layers
    x = layers.Reshape([-1, heads, 4], name=f"{name}_split")(layers.Dense(12, name=name)(x))
    x = layers.LayerNormalization(name=f"{name}_norm")(x) if normalized else x
    return layers.Permute([2, 1, 3])(x)


def heads(keras):
    inputs = keras.Input([5, 6])
    # The norms of query and key are over the width of a head.
    query = of_heads(keras, inputs, "query", normalized=True)
    key = of_heads(keras, inputs, "key", normalized=True)
    bias, logits = attention(keras, query, key, of_heads(keras, inputs, "value"), width=12)
    return keras.Model([inputs, bias._keras_history.layer.input], logits)


def heads_of_one_layer(keras):
    """Query, key and value from one product, as many vision transformers have them."""
    from tfcompress.graph._layers import Slice

    layers = keras.layers
    inputs = keras.Input([5, 6])
    x = layers.Reshape([-1, 3, 3, 4])(layers.Dense(36, name="all")(inputs))
    x = layers.Permute([2, 3, 1, 4])(x)
    bias, logits = attention(keras, *(Slice([part])(x) for part in range(3)), width=12)
    return keras.Model([inputs, bias._keras_history.layer.input], logits)


def non_local(keras):
    """Attention among the pixels of an image: one head, of which channels go."""
    from tfcompress.graph._layers import MatMul

    layers = keras.layers
    inputs = keras.Input([4, 4, 3])
    x = layers.Conv2D(6, 1, name="first")(inputs)
    theta, phi, g = (layers.Conv2D(4, 1, name=name)(x) for name in ("theta", "phi", "g"))
    theta, phi, g = (layers.Reshape([16, 4])(part) for part in (theta, phi, g))
    shares = layers.Activation("softmax")(MatMul(transpose_b=True)([theta, phi]))
    y = layers.Reshape([4, 4, 4])(MatMul()([shares, g]))
    return ended(inputs, layers.Add()([x, layers.Conv2D(6, 1, name="second")(y)]))


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the sizes of the groups that may shrink, by the layers that make them."""

    build: Callable[[Any], Any]
    groups: dict[tuple[str, ...], int]


CASES = (
    Case(residual, {("first", "second"): 6, ("inner",): 4}),
    Case(concatenated, {("left",): 4, ("right",): 6, ("mix",): 4}),
    Case(depthwise, {("first",): 4, ("mix",): 5}),
    Case(separable, {("first",): 4, ("separable",): 6}),
    # Four groups of two channels in and three out.
    Case(grouped, {("first", "grouped"): 4, ("mix",): 4}),
    Case(gated, {("first", "excite"): 6, ("squeeze",): 4}),
    Case(flattened, {("first",): 5, ("hidden",): 6}),
    Case(reshaped, {("first",): 6, ("sequence",): 4, ("hidden",): 6}),
    # Channels 0 to 2 and 3 to 7 are in different places.
    Case(sliced, {("first",): 3, ("first", "right"): 5, ("of_left", "of_right"): 4}),
    Case(transposed, {("first",): 4, ("larger",): 6, ("mix",): 4}),
    Case(used_twice, {("first", "shared"): 6}),
    Case(scaled, {("first",): 6}),
    # Of what a reshape splits into two parts, one goes as a whole.
    Case(shuffled, {("first",): 2}),
    Case(heads, {("query", "key", "value"): 3, ("output",): 6}),
    Case(heads_of_one_layer, {("all",): 3, ("output",): 6}),
    Case(non_local, {("first", "second"): 6, ("phi", "theta"): 4, ("g",): 4}),
)
case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.build.__name__)


def random_model(build):
    """Built, with random weights everywhere, shifts and statistics included."""
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    model = build(keras)
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.2, 1, w.shape) for w in model.get_weights()])
    return model


def free(graph):
    return [group for group in graph.groups if not group.reason]


@case
def test_channels_are_grouped_by_what_they_meet(case):
    graph = channel_graph(random_model(case.build))
    sizes: dict[tuple[str, ...], list[int]] = {}
    for group in free(graph):
        sizes.setdefault(group.layers, []).append(len(group.units))
    if case.build is sliced:
        # Both parts are made by the same layer.
        assert sorted(sizes.pop(("first",))) == [3, 5]
        assert sizes == {("of_left", "of_right"): [4]}
    else:
        assert sizes == {layers: [size] for layers, size in case.groups.items()}
    kept = {group.layers: group.reason for group in graph.groups if group.reason}
    assert kept == {("logits",): "the model's output"}


@case
def test_a_model_without_channels_computes_what_it_does_with_them_zero(case):
    model = random_model(case.build)
    before = model.get_weights()
    graph = channel_graph(model)
    removed = np.zeros(graph.count, bool)
    for group in free(graph):
        removed[group.units[1::2]] = True
    smaller = without(model, graph, removed, check=False)
    inputs = agreement.random_inputs(model)
    expected = zeroed(model, graph, removed)(inputs).numpy()
    received = smaller(inputs).numpy()
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected - model(inputs).numpy()).max() > 1e-3
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for group in free(graph):
        for layer in group.layers:
            assert smaller.get_layer(layer).count_params() < model.get_layer(layer).count_params()


@case
def test_the_cost_is_counted_without_building(case):
    model = random_model(case.build)
    graph = channel_graph(model)
    kept = np.ones(graph.count, bool)
    for group in free(graph):
        kept[group.units[::2]] = False
    remaining = Remaining(model, graph)
    smaller = without(model, graph, ~kept)
    assert remaining.parameters(kept) == cost.parameters(smaller)
    assert remaining.macs(kept) == cost.macs(smaller)
    whole = np.ones(graph.count, bool)
    assert remaining.macs(whole) == cost.macs(model)
    assert remaining.parameters(whole) == cost.parameters(model)


def test_products_of_two_activations_are_part_of_the_cost():
    from tfcompress._keras import keras
    from tfcompress.graph._layers import MatMul

    layers = keras.layers
    inputs = keras.Input([5, 3])
    x = layers.Dense(6, name="first")(inputs)
    x = MatMul(name="context")([MatMul(transpose_b=True, name="scores")([x, x]), x])
    x = layers.Dense(4, name="mix")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    graph = channel_graph(model)
    kept = np.ones(graph.count, bool)
    (mix,) = (group for group in free(graph) if group.layers == ("mix",))
    kept[mix.units[:2]] = False
    remaining, smaller = Remaining(model, graph), without(model, graph, ~kept)
    # Scores and context: 5 by 6 by 5, and 5 by 5 by 6.
    assert cost.macs(smaller) == 5 * (3 * 6 + 6 * 2 + 2 * 3) + 2 * 150
    assert remaining.macs(kept) == cost.macs(smaller)


def normalized(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(4, 3, name="first")(inputs))
    return ended(inputs, x)


def shifted(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, activation="sigmoid", name="first")(inputs)
    return ended(inputs, layers.Conv2D(4, 1, name="second")(x))


def shifted_and_only_centred(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, activation="sigmoid", name="first")(inputs)
    x = layers.BatchNormalization(scale=False, name="centred")(x)
    return ended(inputs, layers.Conv2D(4, 1, name="second")(x))


def added_to_input(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(3, 3, padding="same", name="first")(inputs)
    return ended(inputs, layers.Add(name="sum")([inputs, x]))


def frozen(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, trainable=False, name="first")(inputs)
    return ended(inputs, layers.Conv2D(4, 1, name="second")(x))


def attended(keras):
    layers = keras.layers
    inputs = keras.Input([8, 4])
    x = layers.Dense(4, name="first")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def spread(keras):
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, name="first")(inputs)
    x = layers.Add(name="sum")([x, layers.Conv2D(1, 3, name="one")(inputs)])
    return ended(inputs, layers.Conv2D(4, 1, name="second")(x))


def one_key_for_all(keras):
    layers = keras.layers
    inputs = keras.Input([5, 6])
    key, value = (
        layers.Reshape([1, 5, 4])(layers.Dense(4, name=name)(inputs)) for name in ("key", "value")
    )
    bias, logits = attention(keras, of_heads(keras, inputs, "query"), key, value, width=12)
    return keras.Model([inputs, bias._keras_history.layer.input], logits)


def channels_first(keras):
    layers = keras.layers
    inputs = keras.Input([3, 8, 8])
    x = layers.Conv2D(4, 3, data_format="channels_first", name="first")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("build", "layer", "says"),
    [
        (normalized, "first", r"norm \(LayerNormalization\) normalizes over the channels"),
        (shifted, "first", r"not zero where second \(Conv2D\) is"),
        (shifted_and_only_centred, "first", r"not zero where second \(Conv2D\) is"),
        (added_to_input, "first", r"sum \(Add\) joins them with channels that must stay"),
        (frozen, "first", "frozen"),
        (attended, "first", r"attention \(MultiHeadAttention\) mixes channels in its own way"),
        (spread, "first", r"not zero where second \(Conv2D\) is"),
        (spread, "one", r"sum \(Add\) spreads it over all channels"),
        (one_key_for_all, "key", r"scores \(MatMul\) multiplies them with channels that must stay"),
        (one_key_for_all, "value", r"context \(MatMul\) mixes channels in its own way"),
        # Without a query, a head still gives the mean of the values, which are not its own.
        (one_key_for_all, "query", r"context \(MatMul\) mixes channels in its own way"),
        (channels_first, "first", "cannot be followed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_channels_that_must_stay_say_why(build, layer, says):
    graph = channel_graph(random_model(build))
    assert not [group for group in free(graph) if layer in group.layers]
    reasons = [group.reason for group in graph.groups if layer in group.layers]
    assert all(re.search(says, reason) for reason in reasons or [graph.left_alone(layer)])


@pytest.mark.parametrize("build", [heads, heads_of_one_layer, non_local])
def test_units_of_attention_are_known_as_heads(build):
    graph = channel_graph(random_model(build))
    found = [set(group.units.tolist()) <= graph.heads for group in free(graph)]
    assert found == [build is not non_local] + [False] * (len(found) - 1)


def test_named_layers_keep_their_channels():
    graph = channel_graph(random_model(residual), keep="inn*")
    assert [group.layers for group in free(graph)] == [("first", "second")]
    reasons = {group.layers: group.reason for group in graph.groups}
    assert reasons[("inner",)] == "named in skip=inn*"


def test_what_must_stay_cannot_be_removed():
    model = random_model(residual)
    graph = channel_graph(model)
    removed = np.zeros(graph.count, bool)
    removed[graph.groups[-1].units[:1]] = True
    with pytest.raises(ValueError, match="must stay: the model's output"):
        without(model, graph, removed)
    removed[:] = False
    removed[free(graph)[0].units] = True
    with pytest.raises(ValueError, match="none of its 6 channels"):
        without(model, graph, removed)
    with pytest.raises(ValueError, match=r"bool \[\d+\].*Received: bool \[1\]"):
        without(model, graph, removed[:1])
