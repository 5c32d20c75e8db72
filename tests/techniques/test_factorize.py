"""Low-rank factorization: ranks, outputs and multiply-accumulates by hand."""

import dataclasses

import numpy as np
import pytest

from tfcompress.graph import cost
from tfcompress.graph.kernels import kernels
from tfcompress.techniques import NothingToGain, VerificationError, _factor_pairs, factorize
from tfcompress.techniques._low_rank import decompose
from tfcompress.techniques.factorize import FactorizationConfig


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def of_rank(rank, rows, columns, *, seed=0):
    """A matrix with `rank` singular values that are not zero."""
    return random(rows, rank, seed=seed) @ random(rank, columns, seed=seed + 1)


def wrapped(model, config):
    return factorize.wrap(model, config, steps_per_epoch=1, epochs=1)


def ranks(model):
    return {pair.name: pair.rank for pair in _factor_pairs.pairs(model)}


def outputs(model, *, seed=0):
    inputs = [random(3, *tensor.shape[1:], seed=seed).astype(np.float32) for tensor in model.inputs]
    return np.array(model(inputs if len(inputs) > 1 else inputs[0]))


# Layers.


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, the sides of its matrix, and what it costs at rank 2 and whole."""

    id: str
    make: object
    shape: tuple[int, ...]
    rows: int
    columns: int
    pair: int
    whole: int


def convolution(filters, size, **settings):
    def make():
        from tfcompress._keras import keras

        return keras.layers.Conv2D(filters, size, activation="relu", name="own", **settings)

    return make


def dense(units):
    def make():
        from tfcompress._keras import keras

        return keras.layers.Dense(units, activation="tanh", name="own")

    return make


CASES = (
    Case("dense", dense(12), (10,), 10, 12, 2 * (10 + 12), 120),
    Case("dense at each step", dense(12), (5, 10), 10, 12, 5 * 2 * (10 + 12), 5 * 120),
    Case("1x1", convolution(8, 1), (6, 5, 8), 8, 8, 30 * 2 * 16, 30 * 64),
    # Both strides are taken by the first: 3x3 positions.
    Case("1x1 stride 2", convolution(8, 1, strides=2), (6, 5, 8), 8, 8, 9 * 2 * 16, 9 * 64),
    Case(
        "3x3 same",
        convolution(6, 3, padding="same"),
        (7, 8, 4),
        12,
        18,
        56 * 2 * (12 + 18),
        56 * 12 * 18,
    ),
    # Vertical at 5x8 positions, horizontal at 5x6.
    Case("3x3 valid", convolution(6, 3), (7, 8, 4), 12, 18, 40 * 24 + 30 * 36, 30 * 12 * 18),
    # Vertical at 4x8, horizontal at 4x4.
    Case(
        "3x3 same stride 2",
        convolution(6, 3, strides=2, padding="same"),
        (7, 8, 4),
        12,
        18,
        32 * 24 + 16 * 36,
        16 * 12 * 18,
    ),
    # Vertical at 3x8, horizontal at 3x2.
    Case(
        "3x5 valid stride (2, 3)",
        convolution(6, (3, 5), strides=(2, 3)),
        (7, 8, 4),
        12,
        30,
        24 * 24 + 6 * 60,
        6 * 12 * 30,
    ),
    Case("1x7 same", convolution(6, (1, 7), padding="same"), (4, 9, 8), 8, 42, 36 * 100, 36 * 336),
    # One column: the first takes the horizontal stride too. 2x3 positions.
    Case("7x1 stride 3", convolution(6, (7, 1), strides=3), (10, 9, 4), 28, 6, 6 * 68, 6 * 168),
    # Vertical at 3x8, horizontal at 3x4.
    Case(
        "3x3 dilated",
        convolution(6, 3, dilation_rate=2),
        (7, 8, 4),
        12,
        18,
        24 * 24 + 12 * 36,
        12 * 216,
    ),
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def single(case, *, rank):
    """A model of one layer with a random bias, whose matrix has `rank`."""
    from tfcompress._keras import keras

    inputs = keras.Input(case.shape)
    layer = case.make()
    model = keras.Model(inputs, layer(inputs))
    (kernel,) = kernels(model)
    values = of_rank(rank, case.rows, case.columns)
    if len(kernel.variable.shape) == 4:
        height, width, ins, outs = kernel.variable.shape
        values = values.reshape(height, ins, width, outs).transpose(0, 2, 1, 3)
    layer.set_weights([values.astype(np.float32) / 10, random(layer.get_weights()[1].size)])
    return model


@every_case
def test_a_layer_of_rank_2_becomes_two_with_the_same_outputs(case):
    model = single(case, rank=2)
    found = wrapped(model, FactorizationConfig(energy=1.0))
    np.testing.assert_allclose(outputs(found), outputs(model), atol=1e-5)
    assert [layer.name for layer in found.layers[1:]] == ["own_low_rank", "own"]
    assert ranks(found) == {"own": 2}
    first, second = found.layers[1:]
    assert not first.use_bias
    assert first.activation.__name__ == "linear"
    assert second.activation is model.layers[1].activation
    np.testing.assert_array_equal(second.bias, model.layers[1].bias)
    assert (cost.macs(model), cost.macs(found)) == (case.whole, case.pair)
    config = FactorizationConfig(energy=1.0)
    factorize.verify(found, config)
    (layer,) = factorize.report(model, found, config).layers
    assert (layer.treated, layer.reason) == (True, "")
    assert layer.detail == f"rank 2 of {min(case.rows, case.columns)}"
    assert layer.kernel_parameters == 2 * (case.rows + case.columns)


@every_case
def test_a_layer_of_full_rank_is_the_same_in_two(case):
    """Though it never pays, so that it is passed over."""
    model = single(case, rank=min(case.rows, case.columns))
    full = min(case.rows, case.columns)
    (kernel,) = kernels(model)
    factors = decompose(_factor_pairs.matrix(kernel)).factors(full)
    found = _factor_pairs.split(model, {"own": factors})
    np.testing.assert_allclose(outputs(found), outputs(model), atol=1e-5)
    reason = f"rank {full} of {full} would save no multiply-accumulates"
    assert factorize.skipped(model, FactorizationConfig(energy=1.0)) == {"own": reason}
    with pytest.raises(NothingToGain, match=f"energy=1.*{reason}"):
        wrapped(model, FactorizationConfig(energy=1.0))


@every_case
def test_the_inputs_of_a_layer_are_those_of_its_first_part(case):
    """The mean square of what lies between the two layers is the energy of each term."""
    from tfcompress._keras import keras

    model = single(case, rank=min(case.rows, case.columns))
    images = random(5, *case.shape).astype(np.float32)
    found = _factor_pairs.inputs_of(model, ["own"], images)["own"]
    (kernel,) = kernels(model)
    decomposed = decompose(_factor_pairs.matrix(kernel), found)
    share = np.sqrt(np.linalg.norm(decomposed.left[:, :2], axis=0))
    made = _factor_pairs.split(model, {"own": decomposed.factors(2)})
    between = np.array(keras.Model(made.inputs, made.layers[1].output)(images)).reshape(-1, 2)
    np.testing.assert_allclose((between**2).mean(0) * share**2, decomposed.energies[:2], rtol=1e-3)


def test_data_awareness_keeps_what_the_images_show():
    """Half of the inputs never vary; by weights alone the best rank 4 is another one."""
    from tfcompress._keras import keras

    inputs = keras.Input([16])
    layer = keras.layers.Dense(16, name="own")
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(layer(inputs)))
    images = random(64, 16).astype(np.float32)
    images[:, 4:] = 0
    settings = {"energy": 0.999, "calibration": images, "skip": "logits"}
    found = wrapped(model, FactorizationConfig(data_aware=True, **settings))
    assert ranks(found) == {"own": 4}
    np.testing.assert_allclose(np.array(found(images)), np.array(model(images)), atol=1e-4)
    with pytest.raises(NothingToGain):
        wrapped(model, FactorizationConfig(**settings))
    # The report goes by the model: it may be asked without the images.
    config = FactorizationConfig(energy=0.999, data_aware=True, skip="logits")
    first, _ = factorize.report(model, found, config).layers
    assert (first.treated, first.detail) == (True, "rank 4 of 16")


def test_a_report_without_the_images_names_what_the_model_kept_whole():
    """By the weights alone another layer would have stayed whole."""
    model = network()
    images = random(16, 8, 8, 3).astype(np.float32)
    images[..., 1:] = 0
    config = FactorizationConfig(target=0.1, data_aware=True)
    found = wrapped(model, dataclasses.replace(config, calibration=images))
    layers = factorize.report(model, found, config).layers
    assert {layer.name for layer in layers if layer.treated} == set(ranks(found))
    assert all(layer.treated or layer.reason for layer in layers)


def test_data_awareness_without_images_is_refused():
    with pytest.raises(ValueError, match="calibration is needed where data_aware is true"):
        wrapped(single(CASES[0], rank=2), FactorizationConfig(data_aware=True))


def test_images_of_another_shape_are_refused():
    config = FactorizationConfig(data_aware=True, calibration=np.ones([4, 3], np.float32))
    with pytest.raises(ValueError, match=r"FactorizationConfig.calibration must hold.*\(10,\)"):
        wrapped(single(CASES[0], rank=2), config)


# Models.


def network():
    """A stem, a pointwise convolution with normalization, a layer that is used twice, a head."""
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(16, 1, name="pointwise")(x)
    twice = layers.Conv2D(16, 3, padding="same", name="twice")
    x = layers.GlobalAveragePooling2D()(twice(twice(x)))
    return keras.Model(inputs, layers.Dense(10, name="logits")(x))


# By position: stem 432 weights at 64, depthwise 144 at 36, pointwise 256 and twice 2304 at 36 each.
MACS = 64 * 432 + 36 * 144 + 36 * 256 + 2 * 36 * 2304 + 160


@pytest.mark.parametrize("target", [0.05, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("round_to", [1, 4])
def test_a_target_is_met_closely(target, round_to):
    model, config = network(), FactorizationConfig(target=target, round_to=round_to)
    assert cost.macs(model) == MACS
    found = wrapped(model, config)
    removed = 1 - cost.macs(found) / MACS
    # A rank of `twice`, the largest layer, costs 72 * (48 + 48) multiply-accumulates.
    assert target <= removed < target + round_to * 72 * 96 / MACS
    assert all(rank % round_to == 0 for rank in ranks(found).values())
    factorize.verify(found, config)


def test_a_target_out_of_reach_is_refused_with_what_can_be_reached():
    # At rank 1: stem 64 * 57, pointwise 36 * 32, twice 72 * 96, logits 26.
    least = 64 * 57 + 36 * 144 + 36 * 32 + 72 * 96 + 26
    with pytest.raises(ValueError, match=f"at most {1 - least / MACS:.1%} of the model's {MACS:,}"):
        wrapped(network(), FactorizationConfig(target=0.95))


def test_a_target_needs_a_known_size():
    from tfcompress._keras import keras

    inputs = keras.Input([None, None, 3])
    model = keras.Model(inputs, keras.layers.Conv2D(16, 3, name="own")(inputs))
    with pytest.raises(ValueError, match="which is open"):
        wrapped(model, FactorizationConfig(target=0.2))
    # An energy does not: what counts is the cost of a position.
    found = wrapped(model, FactorizationConfig(energy=0.2))
    factorize.verify(found, FactorizationConfig(energy=0.2))
    assert found.input_shape == (None, None, None, 3)


def test_what_is_left_whole_keeps_its_weights_and_has_a_reason():
    model = network()
    model.get_layer("pointwise").trainable = False
    config = FactorizationConfig(energy=0.3, skip="lo*")
    found = wrapped(model, config)
    skipped = factorize.skipped(model, config)
    assert set(skipped) == {"norm", "depthwise", "pointwise", "logits"}
    assert skipped["logits"] == "named in skip=lo*"
    assert skipped["pointwise"].startswith("frozen: ")
    report = factorize.report(model, found, config)
    assert {x.name: x.reason for x in report.layers if not x.treated} == skipped
    for name in skipped:
        for old, new in zip(
            model.get_layer(name).get_weights(), found.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(old, new)
    assert set(ranks(found)) == {"stem", "twice"}


def kept_whole(kind):
    from tfcompress._keras import keras

    layers = keras.layers
    made = {
        "constraint": lambda: layers.Dense(8, kernel_constraint="max_norm", name="own"),
        "zeros": lambda: layers.Dense(8, kernel_initializer="zeros", name="own"),
        "nan": lambda: layers.Dense(
            8, kernel_initializer=keras.initializers.Constant(np.nan), name="own"
        ),
        "one output": lambda: layers.Dense(1, name="own"),
        "subclass": lambda: type("Own", (layers.Dense,), {})(8, name="own"),
    }[kind]
    inputs = keras.Input([8])
    return keras.Model(inputs, made()(inputs))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("constraint", "has a kernel constraint"),
        ("zeros", "all its weights are zero"),
        ("nan", "NaN or infinite"),
        ("one output", "rank 1 of 1 would save no multiply-accumulates"),
        ("subclass", "Own: only Dense, Conv2D and Embedding are split"),
    ],
)
def test_layers_that_cannot_be_split(kind, reason):
    model = kept_whole(kind)
    config = FactorizationConfig()
    assert reason in factorize.skipped(model, config)["own"]
    with pytest.raises(ValueError, match=reason) as error:
        wrapped(model, config)
    # No training could change that.
    assert not isinstance(error.value, NothingToGain)


def test_a_name_that_is_taken_gets_a_number():
    from tfcompress._keras import keras

    inputs = keras.Input([16])
    x = keras.layers.Dense(16, name="own")(inputs)
    x = keras.layers.Dense(2, name="own_low_rank")(x)
    config = FactorizationConfig(energy=0.3, skip="own_low_rank")
    model = keras.Model(inputs, x)
    found = wrapped(model, config)
    assert [layer.name for layer in found.layers[1:]] == ["own_low_rank_1", "own", "own_low_rank"]
    assert set(ranks(found)) == {"own"}
    factorize.verify(found, config)
    assert [layer.treated for layer in factorize.report(model, found, config).layers] == [
        True,
        False,
    ]


def test_the_same_weights_give_the_same_ranks():
    """A resumed run makes the model again before it loads its weights."""
    model = network()
    images = random(8, 8, 8, 3).astype(np.float32)
    for config in (
        FactorizationConfig(energy=0.6),
        FactorizationConfig(target=0.5),
        FactorizationConfig(target=0.5, data_aware=True, calibration=images),
    ):
        first, second = wrapped(model, config), wrapped(model, config)
        for old, new in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_allclose(old, new, atol=1e-6)


def test_half_precision_computes_in_it_and_has_the_same_ranks():
    from tfcompress import placement

    model, images = network(), random(8, 8, 8, 3).astype(np.float32)
    half = placement.placed(model, strategy="none", precision="mixed_float16")
    config = FactorizationConfig(target=0.5, data_aware=True, calibration=images)
    found, plain = wrapped(half, config), wrapped(model, config)
    assert found.get_layer("twice_low_rank").compute_dtype == "float16"
    for ours, theirs in zip(found.get_weights(), plain.get_weights(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"energy": 0.9, "target": 0.5},
            "one of energy, target and rank. Received: energy 0.9, tar",
        ),
        ({"rank": 8, "target": 0.5}, "Received: target 0.5, rank 8"),
        ({"rank": 0}, "rank must be at least 1. Received: 0"),
        ({"of": "bytes"}, "measure of factorize"),
        ({"energy": 0}, r"energy must be in \(0, 1\]"),
        ({"energy": 90}, "For 90% pass 0.9"),
        ({"target": 1.0}, r"target must be in \(0, 1\)"),
        ({"target": 50}, "For 50% pass 0.5"),
        ({"round_to": 0}, "round_to must be at least 1"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        FactorizationConfig(**settings)


def test_one_of_energy_target_and_rank_is_set():
    assert FactorizationConfig() == FactorizationConfig(energy=0.9)
    assert FactorizationConfig(target=0.5).energy is None
    assert FactorizationConfig(rank=8).energy is None


# What was claimed is counted.


def test_a_pair_that_costs_more_than_the_layer_is_found_out():
    model = single(CASES[0], rank=2)
    (kernel,) = kernels(model)
    factors = decompose(_factor_pairs.matrix(kernel)).factors(2)
    too_wide = [np.pad(f, [(0, 4 * (i == 1)), (0, 4 * (i == 0))]) for i, f in enumerate(factors)]
    found = _factor_pairs.split(model, {"own": tuple(too_wide)})
    # 6 * (10 + 12) are more than 120.
    with pytest.raises(VerificationError, match=r"rank 6 of 10, which costs 132 .* costs 120"):
        factorize.verify(found, FactorizationConfig())


def test_a_missed_target_is_found_out():
    found = wrapped(network(), FactorizationConfig(target=0.2))
    with pytest.raises(VerificationError, match=r"expected 50.0% fewer"):
        factorize.verify(found, FactorizationConfig(target=0.5))


def test_digits_are_recognized_at_two_thirds_of_the_cost(digits):
    """Fine-tuned for two epochs, in the int8 file: both kernels of each pair are there."""
    from tfcompress._keras import keras
    from tfcompress.export import convert

    config = FactorizationConfig(target=0.25)
    found = wrapped(digits.model, config)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found.compile(keras.optimizers.Adam(1e-3), loss)
    found.fit(digits.train_inputs, digits.train_labels, batch_size=64, epochs=2, verbose=0)
    factorize.verify(found, config)
    # 3x3x8 weights at 144 positions, 72 at 25, 128 at 25, 4000; the first of them at rank 1 becomes
    # 3 weights at 12 times 14 positions and 24 at 144.
    assert ranks(found) == {"conv": 1}
    rest = 25 * 72 + 25 * 128 + 4000
    assert cost.macs(digits.model) == 144 * 72 + rest
    assert cost.macs(found) == 168 * 3 + 144 * 24 + rest
    artifact = convert(
        found, "int8", calibration=digits.train_inputs[:64], metadata=digits.metadata
    )
    factorize.verify_artifact(artifact, factorize.report(digits.model, found, config), config)
    before = np.mean(digits.model.predict(digits.inputs, verbose=0).argmax(1) == digits.labels)
    assert np.mean(artifact.run(digits.inputs).argmax(1) == digits.labels) > before - 0.06


# Tables.


@pytest.fixture(scope="module")
def table_model():
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    tokens = keras.Input([5], dtype="int32")
    rows = keras.layers.Embedding(40, 12, name="words")(tokens)
    outputs = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(rows))
    model = keras.Model(tokens, outputs)
    model.get_layer("words").set_weights([of_rank(4, 40, 12)])
    return model


def test_a_table_of_rank_4_becomes_a_narrow_one_and_a_dense_layer(table_model):
    config = FactorizationConfig(energy=1.0, of="parameters", skip="logits")
    found = wrapped(table_model, config)
    narrow, wide = found.get_layer("words_low_rank"), found.get_layer("words")
    assert (narrow.input_dim, narrow.output_dim, wide.units, wide.use_bias) == (40, 4, 12, False)
    tokens = np.arange(40, dtype=np.int32).reshape(8, 5)
    np.testing.assert_allclose(found(tokens), table_model(tokens), atol=1e-4)
    # 40 * 12 weights against 4 * (40 + 12).
    assert cost.parameters(table_model) - cost.parameters(found) == 480 - 208
    factorize.verify(found, config)
    report = factorize.report(table_model, found, config)
    (words,) = (layer for layer in report.layers if layer.treated)
    assert words.detail == "rank 4 of 12, at 48 multiply-accumulates for each row read"
    assert words.kernel_parameters == 208


def test_a_table_has_no_multiply_accumulates_to_save(table_model):
    skipped = factorize.skipped(table_model, FactorizationConfig(energy=1.0))
    assert skipped["words"] == "no kernel"


@pytest.mark.parametrize("format", ["float32", "float16", "dynamic", "int8"])
def test_a_factorized_table_is_counted_in_the_file(table_model, format):
    from tfcompress import export

    config = FactorizationConfig(rank=4, of="parameters", skip="logits")
    found = wrapped(table_model, config)
    report = factorize.report(table_model, found, config)
    tokens = np.random.default_rng(0).integers(0, 40, [32, 5]).astype(np.int32)
    artifact = export.convert(found, format, calibration=tokens)
    factorize.verify_artifact(artifact, report, config)
    whole = export.convert(table_model, format, calibration=tokens)
    with pytest.raises(VerificationError, match="have together the 208 weights of layer words"):
        factorize.verify_artifact(whole, report, config)


def test_rows_that_texts_have_count_most(table_model):
    """Only two rows are read, so that rank 2 keeps them exactly."""
    seen = np.tile(np.array([[3, 17, 3, 3, 17]], np.int32), [4, 1])
    settings = {"rank": 2, "of": "parameters", "skip": "logits"}
    blind = wrapped(table_model, FactorizationConfig(**settings))
    config = FactorizationConfig(**settings, data_aware=True, calibration=seen)
    aware = wrapped(table_model, config)
    np.testing.assert_allclose(aware(seen), table_model(seen), atol=1e-4)
    assert np.abs(blind(seen) - table_model(seen)).max() > 0.1


def test_a_target_of_parameters_is_met_over_tables_and_kernels(table_model):
    config = FactorizationConfig(target=0.4, of="parameters")
    found = wrapped(table_model, config)
    assert cost.parameters(found) <= 0.6 * cost.parameters(table_model)
    factorize.verify(found, config)
    with pytest.raises(ValueError, match=r"low ranks can remove at most .* parameters"):
        wrapped(table_model, FactorizationConfig(target=0.99, of="parameters"))


def test_one_rank_serves_all_layers_that_it_makes_smaller(table_model):
    found = wrapped(table_model, FactorizationConfig(rank=3, of="parameters"))
    # logits: 60 * 3 weights, which rank 3 of 3 would not save.
    assert ranks(found) == {"words": 3}
