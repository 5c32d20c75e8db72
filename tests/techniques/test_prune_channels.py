"""Channel pruning: which channels go, how far, and what is refused."""

import dataclasses

import numpy as np
import pytest

from tfcompress import compose
from tfcompress.graph import cost
from tfcompress.graph.channels import Group
from tfcompress.recipe import parse
from tfcompress.techniques import VerificationError, prune_channels
from tfcompress.techniques._channel_choice import UnreachableError, chosen
from tfcompress.techniques.prune_channels import ChannelPruningConfig


def network(kernel=None):
    """Two convolutions of eight 1x1 filters, the first one's given."""
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([4, 4, 2])
    x = layers.Conv2D(8, 1, use_bias=False, name="first")(inputs)
    x = layers.BatchNormalization(name="first_bn")(x)
    x = layers.Conv2D(8, 1, use_bias=False, name="second")(layers.ReLU()(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    if kernel is not None:
        model.get_layer("first").set_weights([np.asarray(kernel, np.float32).reshape(1, 1, 2, 8)])
    return model


def wrapped(model, **settings):
    config = ChannelPruningConfig(**settings)
    return prune_channels.wrap(model, config, steps_per_epoch=1, epochs=1)


RISING = [[3, 1, 4, 8, 5, 2, 7, 6], [0] * 8]


@pytest.mark.parametrize("importance", ["l1", "l2"])
def test_the_channels_of_the_smallest_weights_go(importance):
    model = network(RISING)
    found = wrapped(model, target=0.3, importance=importance, round_to=1, skip="second")
    kept = found.get_layer("first").get_weights()[0].ravel()
    size = len(kept) // 2
    # Each of the 8 channels costs 2 + 8 products at each of 16 places.
    assert kept[:size].tolist() == [value for value in RISING[0] if value > 8 - size]
    assert cost.macs(model) == 16 * (2 * 8 + 8 * 8) + 24
    assert cost.macs(found) == 16 * size * (2 + 8) + 24
    assert size == 5


def test_the_channels_of_the_smallest_scales_go():
    model = network()
    gamma, *others = model.get_layer("first_bn").get_weights()
    gamma[:] = [3, -1, 4, -8, 5, 2, 7, 6]
    model.get_layer("first_bn").set_weights([gamma, *others])
    found = wrapped(model, target=0.4, importance="bn_scale", round_to=4)
    assert found.get_layer("first_bn").get_weights()[0].tolist() == [-8, 5, 7, 6]
    # The second convolution has no batch normalization that could say anything of it.
    assert found.get_layer("second").filters == 8


def test_the_channels_that_the_loss_does_not_feel_go():
    model = network()
    kernel = model.get_layer("second").get_weights()[0]
    # Nobody looks at what channels 1, 2 and 6 of the first convolution give.
    kernel[:, :, [1, 2, 6]] = 0
    model.get_layer("second").set_weights([kernel])
    before = model.get_layer("first").get_weights()[0]
    generator = np.random.default_rng(0)
    examples = generator.normal(size=[40, 4, 4, 2]).astype(np.float32), np.arange(40) % 3
    found = wrapped(
        model, target=0.3, importance="taylor", round_to=1, examples=examples, skip="second"
    )
    np.testing.assert_array_equal(
        found.get_layer("first").get_weights()[0], before[..., [0, 3, 4, 5, 7]]
    )


def test_the_same_fraction_of_each_layer_goes_where_layers_are_ranked_alone():
    model = network(RISING)
    kernel = model.get_layer("second").get_weights()[0]
    model.get_layer("second").set_weights([kernel * [1, 1, 1, 1, 1, 1, 1, 100]])
    alone = wrapped(model, target=0.5, ranking="layer", round_to=1)
    assert alone.get_layer("first").filters == alone.get_layer("second").filters == 5
    together = wrapped(model, target=0.5, ranking="global", round_to=1)
    assert together.get_layer("first").filters != together.get_layer("second").filters


def encoder(**settings):
    """One layer of two heads, 4 wide, and six units; and ids of tokens with their classes."""
    from tfcompress import encoders
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    sizes = {"vocabulary": 20, "width": 8, "layers": 1, "heads": 2, "feed_forward": 6}
    config = encoders.EncoderConfig(**sizes, positions=5, **settings)
    encoder = encoders.build_encoder(config, length=5, mask_input=False)
    pooled = keras.layers.GlobalAveragePooling1D()(encoder.output)
    model = keras.Model(encoder.input, keras.layers.Dense(2, name="logits")(pooled))
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign_add(generator.normal(0, 0.3, weight.shape))
    ids = generator.integers(1, 20, [8, 5]).astype(np.int32)
    return model, (ids, (ids[:, 0] % 2).astype(np.int64))


def test_a_head_matters_as_the_gate_on_what_it_gives_does():
    """Michel et al. 2019: the derivative of the loss by a factor of 1 that is put there."""
    from tfcompress._keras import keras, tf
    from tfcompress.graph.channel_following import channel_graph
    from tfcompress.techniques._channel_importance import importance

    model, examples = encoder()
    graph = channel_graph(model)
    gates = tf.Variable(tf.ones([8]))
    joined = model.get_layer("layer_0/attention/output")

    def loss():
        own = keras.Model(
            model.inputs, [joined.input, model.get_layer("embeddings/normalization").output]
        )
        context, hidden = own(examples[0])
        names = ["layer_0/attention/sum", "layer_0/attention/normalization"]
        add, normalize = (model.get_layer(name) for name in names)
        attended = normalize(add([hidden, joined(context * gates)]))
        inner, activation, outer = (
            model.get_layer(f"layer_0/feed_forward/{name}")
            for name in ("inner", "activation", "outer")
        )
        added = model.get_layer("layer_0/feed_forward/sum")(
            [attended, outer(activation(inner(attended)))]
        )
        outputs = model.get_layer("layer_0/feed_forward/normalization")(added)
        logits = model.get_layer("logits")(tf.reduce_mean(outputs, axis=1))
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(examples[1], logits)

    with tf.GradientTape() as tape:
        lost = loss()
    by_gate = tape.gradient(lost, gates).numpy().reshape(2, 4).sum(axis=1) ** 2
    heads = next(group for group in graph.groups if not group.reason)
    found = importance(model, graph, "taylor", examples=examples)[heads.units]
    np.testing.assert_allclose(found, by_gate, rtol=1e-3)


def test_heads_go_whole_and_the_report_counts_them():
    model, examples = encoder()
    settings = {"importance": "taylor", "round_to": 4, "examples": examples}
    config = ChannelPruningConfig(0.4, **settings)
    found = prune_channels.wrap(model, config, steps_per_epoch=1, epochs=1)
    prune_channels.verify(found, config, before=model)
    details = {
        layer.name.removeprefix("layer_0/"): layer.detail
        for layer in prune_channels.report(model, found, config).layers
    }
    heads = [details[f"attention/{name}"] for name in ("query", "key", "value", "output")]
    assert heads == ["1 of 2 heads"] * 3 + ["takes 1 of 2 heads"]
    assert details["feed_forward/inner"] == "4 of 6 channels"


def test_a_unit_is_weighed_against_what_it_costs():
    from tfcompress.graph.channel_following import channel_graph
    from tfcompress.graph.channel_removal import without
    from tfcompress.techniques._channel_importance import importance

    model, examples = encoder()
    graph, whole = channel_graph(model), cost.macs(model)
    saved = {}
    for group in graph.groups:
        for unit in [] if group.reason else group.units:
            removed = np.arange(graph.count) == unit
            saved[int(unit)] = whole - cost.macs(without(model, graph, removed))
    # The products of a head are at least those of its 4 columns or rows in four layers of width 8.
    assert sorted(saved.values()) == [5 * 2 * 8] * 6 + [max(saved.values())] * 2
    assert max(saved.values()) >= 5 * 4 * 4 * 8
    rated = importance(model, graph, "taylor", examples=examples)
    order = sorted(saved, key=lambda unit: rated[unit] / saved[unit])
    settings = {"importance": "taylor", "round_to": 1, "examples": examples}
    for target in (0.05, 0.1, 0.15):
        config = ChannelPruningConfig(target, ranking="per_cost", **settings)
        gone = prune_channels.choose(model, config)
        assert sorted(gone) == sorted(order[: len(gone)])
        assert sum(saved[unit] for unit in gone) >= target * whole


def test_channel_counts_are_multiples():
    found = wrapped(network(RISING), target=0.3, round_to=4)
    assert {found.get_layer(name).filters for name in ("first", "second")} <= {4, 8}


def test_parameters_can_be_the_measure():
    model = network(RISING)
    found = wrapped(model, target=0.5, of="parameters", round_to=1)
    assert cost.parameters(found) <= 0.5 * cost.parameters(model)


def test_a_latency_is_asked_for_and_reached():
    asked = []

    def filters(model):
        asked.append(model.get_layer("first").filters)
        return float(asked[-1])

    found = wrapped(network(RISING), target=0.5, of="latency", latency=filters, round_to=1)
    assert found.get_layer("first").filters <= 4
    assert asked[0] == 8
    assert len(asked) <= 8


def test_rounds_take_equal_factors():
    plan = compose.plan(parse("prune_channels(0.75, rounds=2, epochs=3)+qat"))
    assert [stage.technique for stage in plan.stages] == ["prune_channels"] * 2 + ["qat"]
    assert [stage.config.target for stage in plan.stages[:2]] == [0.5, 0.5]
    assert {stage.config.rounds for stage in plan.stages[:2]} == {1}
    assert [stage.epochs for stage in plan.stages] == [3, 3, None]
    assert compose.title(plan.stages) == "prune_channels-2+qat"
    assert compose.title(plan.stages[:1]) == "prune_channels"


@dataclasses.dataclass(frozen=True)
class Refused:
    settings: dict
    says: str


@pytest.mark.parametrize(
    "case",
    [
        Refused({"target": 0}, r"target must be in \(0, 1\). Received: 0"),
        Refused({"target": 50}, "For 50% pass 0.5"),
        Refused({"target": float("nan")}, "target must be in"),
        Refused({"of": "bytes"}, "macs"),
        Refused({"importance": "size"}, "bn_scale"),
        Refused({"ranking": "local"}, "global"),
        Refused({"ranking": "per_cost"}, "Received: importance=l2, .* Pass importance=taylor"),
        Refused({"round_to": 0}, "round_to must be at least 1"),
        Refused({"rounds": 0}, "rounds must be at least 1"),
        Refused({"least_kept": 0}, r"least_kept must be in \(0, 1\]"),
    ],
    ids=lambda case: "-".join(case.settings),
)
def test_settings_that_make_no_sense_are_refused(case):
    with pytest.raises(ValueError, match=case.says):
        ChannelPruningConfig(**case.settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target": 0.95}, r"cannot take 95% of the macs: .* is the least that is left"),
        ({"round_to": 16}, "is the least that is left"),
        ({"skip": "third"}, "skip=third fits no layer"),
        ({"skip": "*"}, "can treat no layer"),
        ({"importance": "taylor"}, "needs examples"),
        ({"of": "latency"}, "needs a function"),
    ],
)
def test_a_target_out_of_reach_is_refused_before_any_training(settings, says):
    with pytest.raises(ValueError, match=says):
        wrapped(network(RISING), **settings)


def _examples(*, classes=3, dtype=np.int64, shape=(8, 4, 4, 2)):
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return inputs, (np.arange(shape[0]) % classes).astype(dtype)


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (np.zeros([8, 4, 4, 2], np.float32), "must be a pair, inputs and targets. .*ndarray"),
        (_examples(shape=(0, 4, 4, 2)), "at least one example"),
        (_examples(shape=(8, 5, 5, 2)), r"inputs must hold .* \(4, 4, 2\)"),
        (([_examples()[0]], _examples()[1]), r"inputs must hold .* \(4, 4, 2\)"),
        (_examples(classes=4), r"integers \[8\] from 0 to 2, .*int64 \[8\] from 0 to 3"),
        ((_examples()[0].astype(np.float64), _examples()[1]), "must be float32"),
        (_examples(dtype=np.float32), r"finite numbers \[8, 3\]\. Received: float32 \[8\]"),
        ((_examples()[0], np.full([8, 3], np.nan, np.float32)), "finite numbers"),
    ],
)
def test_examples_that_do_not_fit_are_refused(examples, says):
    with pytest.raises(ValueError, match=says):
        wrapped(network(RISING), target=0.3, importance="taylor", examples=examples)


def test_classes_may_be_a_list():
    settings = {"target": 0.3, "importance": "taylor", "round_to": 1}
    inputs, classes = _examples()
    found = wrapped(network(RISING), **settings, examples=(inputs, classes.tolist()))
    plain = wrapped(network(RISING), **settings, examples=(inputs, classes))
    for one, other in zip(plain.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("ending", ["softmax", "linear"])
def test_the_loss_is_that_of_what_the_model_gives(ending, precision):
    from tfcompress._keras import keras

    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        own = network(RISING)
        outputs = keras.layers.Activation(ending, dtype="float32")(own.outputs[0])
        model = keras.Model(own.inputs, outputs)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    settings = {"target": 0.3, "importance": "taylor", "round_to": 1, "examples": _examples()}
    found, plain = wrapped(model, **settings), wrapped(network(RISING), **settings)
    for one, other in zip(plain.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_chosen_once_goes_again_without_being_rated():
    settings = {"target": 0.3, "importance": "taylor", "round_to": 1}
    model, config = network(RISING), ChannelPruningConfig(**settings, examples=_examples())
    chosen_units = prune_channels.choose(model, config)
    plain = wrapped(model, **settings, examples=_examples())
    kept = wrapped(model, **settings, removed=chosen_units)
    for one, other in zip(plain.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"does not have or must keep: \[0, 99\]"):
        wrapped(model, **settings, removed=(*chosen_units, 0, 99))


def test_what_a_criterion_says_nothing_of_is_reported():
    config = ChannelPruningConfig(0.3, importance="bn_scale")
    reasons = prune_channels.skipped(network(RISING), config)
    # What the second convolution gives stays; what it takes, the first one's channels, may go.
    assert "no batch normalization to be rated by" in reasons["logits"]
    assert not {"first", "second"} & set(reasons)


def test_every_layer_of_a_group_keeps_a_multiple():
    """A unit is four channels of one layer and three of another."""
    group = Group(np.arange(1, 5), channels=(3, 4), layers=("filters", "depthwise"))
    found = chosen(
        [group],
        np.arange(5.0),
        lambda kept: float(kept[1:].sum()),
        budget=3,
        per_layer=False,
        round_to=2,
        least_kept=0.1,
    )
    # Two of the four remain: six and eight channels. Three would be nine.
    assert found.tolist() == [False, True, True, False, False]


def test_the_share_that_stays_in_any_case_is_of_the_whole():
    config = ChannelPruningConfig(0.9, rounds=2, least_kept=0.49)
    assert [once.least_kept for once in prune_channels.rounds(config)] == [0.7, 0.7]


def test_too_small_a_loss_is_found_out():
    model = network(RISING)
    found = wrapped(model, target=0.3, round_to=1)
    prune_channels.verify(found, ChannelPruningConfig(0.3), before=model)
    with pytest.raises(VerificationError, match="macs of 1,304 before, expected at most 260"):
        prune_channels.verify(found, ChannelPruningConfig(0.8), before=model)
    with pytest.raises(ValueError, match="before=model_before"):
        prune_channels.verify(found, ChannelPruningConfig(0.3))


def test_the_report_says_what_stays_and_why():
    model = network(RISING)
    config = ChannelPruningConfig(0.3, round_to=1, skip="second")
    found = prune_channels.report(model, wrapped(model, target=0.3, round_to=1), config)
    layers = {layer.name: layer for layer in found.layers}
    assert layers["first"].treated
    assert layers["first_bn"].treated
    # Its own channels stay, but it takes fewer.
    assert layers["second"].treated
    assert not layers["logits"].treated
    assert layers["logits"].reason == "the model's output; named in skip=second"
    whole = prune_channels.wrap(model, config, steps_per_epoch=1, epochs=1)
    details = {
        layer.name: layer.detail for layer in prune_channels.report(model, whole, config).layers
    }
    assert details["first"] == details["first_bn"] == "5 of 8 channels"
    assert details["second"] == "takes 5 of 8 channels"
    assert details["logits"] == ""


# Units 1 to 6 cost what their number says; the first group's channels come in pairs.
GROUPS = (
    Group(np.array([1, 2, 3]), channels=(2,), layers=("a",)),
    Group(np.array([4, 5, 6]), channels=(1,), layers=("b",)),
)
IMPORTANCE = np.array([9, 0.5, 0.1, 0.9, 0.2, 0.3, 0.4])


def choose(budget, **settings):
    options = {"per_layer": False, "round_to": 1, "least_kept": 0.01, **settings}

    def price(kept):
        return float(np.arange(7)[kept].sum())

    return np.flatnonzero(chosen(GROUPS, IMPORTANCE, price, budget=budget, **options)).tolist()


@pytest.mark.parametrize(
    ("budget", "settings", "expected"),
    [
        (21, {}, []),
        (20, {}, [2]),
        (19, {}, [2]),
        (18, {}, [2, 4]),
        (10, {}, [2, 4, 5]),
        # Unit 6 would be next, but one of each group stays.
        (9, {}, [1, 2, 4, 5]),
        (18, {"per_layer": True}, [2, 4]),
        # Two channels at a time: one unit of the first group, two of the other, of which it has
        # three, so that 2 or all 3 remain.
        (18, {"round_to": 2}, [2, 4]),
        (15, {"least_kept": 0.6}, [2, 4]),
    ],
)
def test_the_fewest_of_the_least_important_go(budget, settings, expected):
    assert choose(budget, **settings) == expected


def test_a_budget_that_cannot_be_met_says_what_can():
    with pytest.raises(UnreachableError, match="9 of 21 is the least"):
        choose(8)


def test_values_weigh_alike_whatever_their_units():
    """The loss of a model that ends in units is that of what it had before them."""
    from tfcompress._keras import keras
    from tfcompress.graph.channel_following import channel_graph
    from tfcompress.techniques._channel_importance import importance

    inputs = np.random.default_rng(0).normal(size=[16, 4, 4, 2]).astype(np.float32)
    targets = np.random.default_rng(1).normal(size=[16, 2]).astype(np.float32)
    found = []
    for scale, offset in (([1.0, 1.0], [0.0, 0.0]), ([2.0, 1000.0], [3.0, -5.0])):
        keras.utils.set_random_seed(0)
        x = image = keras.Input([4, 4, 2])
        x = keras.layers.Conv2D(6, 3, activation="relu", name="first")(x)
        x = keras.layers.Dense(2)(keras.layers.Flatten()(x))
        model = keras.Model(image, keras.layers.Rescaling(scale, offset)(x))
        examples = inputs, (targets * scale + offset).astype(np.float32)
        found.append(importance(model, channel_graph(model), "taylor", examples=examples))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
