"""Pruning: masks, schedules and patterns by hand."""

import itertools

import numpy as np
import pytest

from tfcompress import compose
from tfcompress.recipe import parse
from tfcompress.techniques import VerificationError, prune
from tfcompress.techniques.prune import PruningConfig


def dense_model(values, *, name="dense"):
    """A Dense layer without bias that holds `values` [inputs, outputs]."""
    from tfcompress._keras import keras

    values = np.asarray(values, np.float32)
    inputs = keras.Input([values.shape[0]])
    layer = keras.layers.Dense(values.shape[1], use_bias=False, name=name)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([values])
    return model


def pruned(model, config, *, steps=1, epochs=1, rate=0.0, also=()):
    """The model after plain gradient descent at `rate`; at 0 nothing but pruning acts."""
    from tfcompress._keras import keras

    wrapped = prune.wrap(model, config, steps_per_epoch=steps, epochs=epochs)
    wrapped.compile(keras.optimizers.SGD(rate), "mse")
    inputs = np.random.default_rng(0).normal(size=(steps, *model.input_shape[1:]))
    targets = np.ones([steps, *model.output_shape[1:]])
    wrapped.fit(
        inputs.astype(np.float32),
        targets.astype(np.float32),
        batch_size=1,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*prune.callbacks(config), *also],
    )
    return prune.strip(wrapped)


def kernel(model):
    return model.get_weights()[0]


def test_the_smallest_weights_go():
    found = pruned(dense_model([[1, -5, 0.5], [-0.1, 3, 2]]), PruningConfig(0.5))
    assert kernel(found).tolist() == [[0, -5, 0], [0, 3, 2]]


def test_a_part_of_a_weight_is_rounded_down():
    # 0.4 of 6 weights are 2.4.
    found = pruned(dense_model([[1, -5, 0.5], [-0.1, 3, 2]]), PruningConfig(0.4))
    assert kernel(found).tolist() == [[1, -5, 0], [0, 3, 2]]


def test_two_of_four_along_the_inputs():
    values = [[1, 8], [2, -7], [-4, 6], [3, 5], [0.1, 1], [0.2, 1], [0.3, 1], [0.4, 1]]
    found = kernel(pruned(dense_model(values), PruningConfig(pattern="2:4")))
    assert found[:, 0].tolist() == pytest.approx([0, 0, -4, 3, 0, 0, 0.3, 0.4])
    # Of equals, the first are kept.
    assert found[:, 1].tolist() == [8, -7, 0, 0, 1, 1, 0, 0]


def test_one_of_four():
    found = pruned(dense_model([[1], [2], [-4], [3]]), PruningConfig(pattern="1:4"))
    assert kernel(found).ravel().tolist() == [0, 0, -4, 0]


def test_whole_blocks_go_by_their_mean():
    values = np.array([[9, 1], [0, 1], [0, 1], [0, 1], [1, 1], [1, 3], [1, 3], [1, 3]])
    # Means of the 4x1 blocks: 2.25 and 1 above, 1 and 2.5 below.
    found = kernel(pruned(dense_model(values), PruningConfig(0.5, pattern="4x1")))
    assert found[:, 0].tolist() == [9, 0, 0, 0, 0, 0, 0, 0]
    assert found[:, 1].tolist() == [0, 0, 0, 0, 1, 3, 3, 3]


def test_convolutions_in_groups_of_input_channels():
    from tfcompress._keras import keras

    inputs = keras.Input([4, 4, 4])
    layer = keras.layers.Conv2D(2, 3, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    model.set_weights([np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32)])
    found = kernel(pruned(model, PruningConfig(pattern="2:4")))
    assert (found != 0).sum(axis=2).tolist() == np.full([3, 3, 2], 2).tolist()
    magnitude = np.abs(model.get_weights()[0])
    assert (np.where(found == 0, magnitude, 0).max(2) < np.sort(magnitude, 2)[:, :, 2]).all()


@pytest.mark.parametrize("schedule", prune.SCHEDULES)
@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (16, 1), (16, 3), (1, 3)])
@pytest.mark.parametrize(("begin", "end"), [(0.0, 0.5), (0.0, 1.0), (0.5, 1.0), (0.3, 0.4)])
def test_every_schedule_reaches_its_target(schedule, steps, epochs, begin, end):
    """And does so by the end of the epoch from which the run may choose its weights."""
    from tfcompress._keras import keras

    class Sparsity(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            after_epoch.append(np.mean(kernel(self.model) == 0))

    after_epoch = []
    config = PruningConfig(0.8, schedule=schedule, begin=begin, end=end)
    values = np.random.default_rng(1).normal(size=(10, 10))
    found = pruned(dense_model(values), config, steps=steps, epochs=epochs, also=[Sparsity()])
    prune.verify(found, config)
    stages = compose.plan(
        parse(f"prune(0.8, schedule={schedule}, begin={begin}, end={end})")
    ).stages
    eligible = compose.first_eligible_epoch(stages, epochs=epochs)
    assert after_epoch[eligible:] == [0.8] * (epochs - eligible)


def test_sparsity_follows_the_cubic_formula():
    from tfcompress._keras import keras

    class Sparsity(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            found.append(float(np.mean(kernel(self.model) == 0)))

    found = []
    config = PruningConfig(0.8, initial_sparsity=0.2, begin=0.25, end=0.75)
    values = np.random.default_rng(1).normal(size=(100, 100))
    pruned(dense_model(values), config, steps=8, epochs=2, also=[Sparsity()])
    # 16 steps: from step 4 (0-based) to step 11, then held.
    expected = [0.0] * 4
    expected += [0.8 + (0.2 - 0.8) * (1 - (step - 4) / 7) ** 3 for step in range(4, 12)]
    expected += [0.8] * 4
    assert found == pytest.approx(expected, abs=1e-4)


def test_updates_are_no_more_than_asked_for():
    config = PruningConfig(0.8, end=1.0, updates=3)
    schedule = prune_schedule(config, steps=100)
    due = [step for step in range(100) if bool(schedule(step)[0])]
    assert len(due) == 4
    assert due[0] == 0
    assert float(schedule(due[-1])[1]) == pytest.approx(0.8)


def prune_schedule(config, *, steps):
    from tfcompress.techniques._pruning_masks import build_schedule

    return build_schedule(config, config.target_sparsity, steps=steps)


def test_zeros_stay_zero_while_the_rest_learns():
    """Neither those that the kernel came with nor those that the first epoch made come back."""
    from tfcompress._keras import keras

    class Zeros(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            zeros.append(kernel(self.model) == 0)

    zeros = []
    values = np.random.default_rng(1).normal(size=(10, 10)).astype(np.float32)
    values[:3] = 0
    config = PruningConfig(0.6, end=1.0)
    found = pruned(dense_model(values), config, steps=8, epochs=2, rate=0.1, also=[Zeros()])
    assert (zeros[0][:3]).all()
    for before, after in itertools.pairwise(zeros):
        assert (after | ~before).all()
    assert np.mean(kernel(found) == 0) == 0.6
    assert (kernel(found)[kernel(found) != 0] != values[kernel(found) != 0]).all()


def test_a_kernel_of_zeros_can_learn():
    found = pruned(dense_model(np.zeros([4, 4])), PruningConfig(0.5), steps=4, rate=0.1)
    assert 0 < np.mean(kernel(found) != 0) <= 0.5


def two_layers():
    from tfcompress._keras import keras

    inputs = keras.Input([8, 8, 3])
    x = keras.layers.Conv2D(8, 3, name="block_1")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="block_2")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(6, name="logits")(x))


@pytest.mark.parametrize(
    ("config", "reasons"),
    [
        (PruningConfig(0.5), {"block_2": "depthwise", "norm": "no kernel"}),
        (
            PruningConfig(0.5, skip="block_*"),
            {"block_1": "named in skip=block_*", "block_2": "named", "norm": "no kernel"},
        ),
        (
            PruningConfig(0.5, skip="logits|nor*"),
            {"logits": "named in skip=logits|nor*", "block_2": "depthwise", "norm": "no kernel"},
        ),
        (
            PruningConfig(pattern="2:4"),
            {"block_1": "3 input channels are no multiple of 4", "block_2": "", "norm": ""},
        ),
        (
            PruningConfig(0.5, pattern="4x1"),
            {"block_1": "block patterns are for kernels of two axes", "block_2": "", "norm": ""},
        ),
    ],
)
def test_what_is_skipped_stays_and_is_reported(config, reasons):
    model = two_layers()
    found = pruned(model, config)
    report = prune.report(model, found, config)
    assert {layer.name for layer in report.layers if not layer.treated} == set(reasons)
    for layer in report.layers:
        assert reasons.get(layer.name, "") in layer.reason
        weights = found.get_layer(layer.name).get_weights()[0]
        if layer.treated:
            assert layer.sparsity == np.mean(weights == 0) >= 0.5
        else:
            np.testing.assert_array_equal(weights, model.get_layer(layer.name).get_weights()[0])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PruningConfig(0.5, skip="*"), "named in skip"),
        (PruningConfig(pattern="2:5"), "no multiple of 5"),
        (PruningConfig(0.5, pattern="7x1"), "no multiple of the block 7x1"),
    ],
)
def test_a_model_without_anything_to_prune_is_refused(config, says):
    with pytest.raises(ValueError, match=f"can treat no layer.*{says}"):
        prune.wrap(two_layers(), config, steps_per_epoch=1, epochs=1)


def test_a_pattern_that_is_broken_is_found_out():
    config = PruningConfig(pattern="2:4")
    values = [[1.0], [1], [1], [0], [0], [0], [0], [1]]
    with pytest.raises(VerificationError, match="keeps 3 weights in a group of 4, expected 2"):
        prune.verify(dense_model(values), config)


def test_too_few_zeros_are_found_out():
    with pytest.raises(VerificationError, match="has 1 zeros of 4 weights, expected at least 2"):
        prune.verify(dense_model([[1, 0], [1, 1]]), PruningConfig(0.5))


def test_a_file_with_fewer_zeros_than_the_model_is_found_out(digits):
    from tfcompress.export import convert

    config = PruningConfig(0.5)
    artifact = convert(digits.model, "float32", metadata=digits.metadata)
    zeroed = prune.wrap(digits.model, config, steps_per_epoch=1, epochs=1)
    zeroed.set_weights([np.zeros_like(weight) for weight in zeroed.get_weights()])
    report = prune.report(digits.model, zeroed, config)
    with pytest.raises(VerificationError, match="0 zero weights, the pruned layers have"):
        prune.verify_artifact(artifact, report, config)


def test_constant_schedule_may_begin_anywhere():
    assert PruningConfig(0.5, schedule="constant", begin=0.7).settles_at == 0.7


def test_a_pattern_runs_along_the_inputs_of_a_transposed_convolution():
    """Its kernel is [height, width, outputs, inputs]."""
    from tfcompress._keras import keras

    inputs = keras.Input([3, 3, 4])
    layer = keras.layers.Conv2DTranspose(2, 1, use_bias=False, name="up")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.array([[4, 1, 2, 3], [-1, -2, -3, -4]], np.float32).reshape(1, 1, 2, 4)])
    found = pruned(model, PruningConfig(pattern="2:4", schedule="constant"))
    assert kernel(found).reshape(2, 4).tolist() == [[4, 0, 0, 3], [0, 0, -3, -4]]


def test_a_pattern_is_refused_for_a_kernel_whose_inputs_lie_along_several_axes():
    from tfcompress._keras import keras

    inputs = keras.Input([3, 8])
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    reasons = prune.skipped(model, PruningConfig(pattern="2:4"))
    assert list(reasons) == ["attention"]
    assert (
        "shape (8, 2, 4): no single axis holds the inputs that 2:4 groups" in reasons["attention"]
    )


def test_a_frozen_layer_stays_dense():
    model = two_layers()
    model.get_layer("logits").trainable = False
    found = pruned(model, PruningConfig(0.5, schedule="constant"))
    np.testing.assert_array_equal(
        found.get_layer("logits").get_weights()[0], model.get_layer("logits").get_weights()[0]
    )
    assert prune.skipped(model, PruningConfig(0.5))["logits"].startswith("frozen: ")
    prune.verify(found, PruningConfig(0.5))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "config",
    [
        PruningConfig(0.75, schedule="constant"),
        PruningConfig(pattern="2:4", schedule="constant"),
        PruningConfig(0.5, pattern="2x2", schedule="constant"),
    ],
    ids=lambda config: config.pattern,
)
def test_kernels_of_half_precision_are_pruned_as_those_of_single(config, dtype):
    from tfcompress._keras import keras

    # Each value is one that bfloat16 holds.
    values = np.random.default_rng(0).permutation(np.arange(1.0, 65)).reshape(8, 8)
    expected = kernel(pruned(dense_model(values), config))
    inputs = keras.Input([8], dtype=dtype)
    layer = keras.layers.Dense(8, use_bias=False, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([values.astype(layer.kernel.dtype.as_numpy_dtype)])
    found = pruned(model, config)
    np.testing.assert_array_equal(kernel(found).astype(np.float32), expected)
    prune.verify(found, config)


def test_each_kernel_has_the_sparsity_that_it_was_given():
    from tfcompress._keras import keras

    inputs = keras.Input([4])
    outputs = inputs
    for name in ("first", "second", "third"):
        outputs = keras.layers.Dense(4, use_bias=False, name=name)(outputs)
    model = keras.Model(inputs, outputs)
    shares = {"first": 0.5, "second": 0.75, "third": 0.0}
    # Of 48 weights 20.
    config = PruningConfig(5 / 12, allocation="sensitivity", sparsities=shares)
    found = pruned(model, config, steps=4, epochs=2)
    zeros = {layer.name: np.mean(layer.get_weights()[0] == 0) for layer in found.layers[1:]}
    assert zeros == shares
    prune.verify(found, config)
    layers = {layer.name: layer for layer in prune.report(model, found, config).layers}
    assert layers["second"].detail == "75.0% by sensitivity"
    assert not layers["third"].treated
    assert "too sensitive" in layers["third"].reason
    more = PruningConfig(0.5, allocation="sensitivity", sparsities={**shares, "third": 0.25})
    with pytest.raises(VerificationError, match="third has 0 zeros of 16 weights"):
        prune.verify(found, more)


def test_the_two_kernels_of_a_layer_have_names_of_their_own():
    from tfcompress._keras import keras
    from tfcompress.graph.kernels import kernels

    inputs = keras.Input([4, 4, 2])
    model = keras.Model(inputs, keras.layers.SeparableConv2D(8, 3, name="both")(inputs))
    labels = [each.label for each in kernels(model)]
    assert labels == ["both/depthwise_kernel", "both/pointwise_kernel"]
    config = PruningConfig(0.5, allocation="sensitivity", sparsities={labels[1]: 0.5})
    found = pruned(model, config)
    assert [np.mean(weights == 0) for weights in found.get_weights()[:2]] == [0.0, 0.5]


def test_an_allocation_without_shares_is_refused_before_the_training():
    config = PruningConfig(0.5, allocation="sensitivity")
    with pytest.raises(ValueError, match="needs the sparsity of each layer"):
        prune.callbacks(config)
    with pytest.raises(VerificationError, match="nothing says how many zeros"):
        prune.verify(dense_model([[1, 2]]), config)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"allocation": "fair"}, "Unknown allocation of prune: 'fair'"),
        ({"allocation": "sensitivity", "pattern": "2:4"}, "every kernel the same sparsity"),
        ({"sparsities": {"a": 0.5}}, "go with allocation='sensitivity'"),
        ({"allocation": "sensitivity", "sparsities": {"a": 80}}, "Received: 80 for a"),
    ],
)
def test_allocations_that_make_no_sense(settings, says):
    with pytest.raises(ValueError, match=says):
        PruningConfig(**settings)


@pytest.mark.parametrize("target", [0.53, 0.57688, 0.7])
def test_a_whole_number_of_weights_is_reached_whatever_float32_makes_of_it(target):
    """0.53 of 25,000 weights are 13,250; 0.53 in float32 is a little less."""
    values = np.random.default_rng(0).normal(size=(500, 50))
    found = pruned(dense_model(values), PruningConfig(target), steps=3, epochs=2)
    assert (kernel(found) == 0).sum() == round(target * 25_000)
    prune.verify(found, PruningConfig(target))


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"dens": 0.5}, "what the model does not have: dens. Kernels: dense"),
        ({"dense": 0.3}, r"make 0\.3 of all pruned weights zero, not target_sparsity 0\.5"),
    ],
)
def test_shares_that_do_not_fit_the_model_are_refused(shares, says):
    config = PruningConfig(0.5, allocation="sensitivity", sparsities=shares)
    with pytest.raises(ValueError, match=says):
        prune.wrap(dense_model([[1, 2]]), config, steps_per_epoch=1, epochs=1)


def test_the_kernels_that_are_pruned_have_names():
    from tfcompress._keras import keras

    inputs = keras.Input([4, 4, 2])
    outputs = keras.layers.SeparableConv2D(8, 3, name="both")(inputs)
    outputs = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(outputs))
    model = keras.Model(inputs, outputs)
    assert prune.treated(model, PruningConfig(0.5)) == ["both/pointwise_kernel", "logits"]
    assert prune.treated(model, PruningConfig(0.5, skip="logits")) == ["both/pointwise_kernel"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PruningConfig(0.5), [[0, -5, 0], [0, 3, 2]]),
        (PruningConfig(0.4), [[1, -5, 0], [0, 3, 2]]),
        # The schedule says nothing where there is no training.
        (PruningConfig(0.5, begin=0.5, end=1.0), [[0, -5, 0], [0, 3, 2]]),
        (PruningConfig(pattern="2x1"), [[0, -5, 0.5], [0, 3, 2]]),
    ],
    ids=["half", "rounded", "late", "blocks"],
)
def test_pruning_at_once(config, expected):
    """In 2x1 blocks of mean 0.55, 4 and 1.25, one of the three goes."""
    model = prune.wrap(
        dense_model([[1, -5, 0.5], [-0.1, 3, 2]]), config, steps_per_epoch=1, epochs=1
    )
    prune.at_once(model, config)
    assert kernel(model).tolist() == expected
    prune.verify(model, config)


def test_pruning_at_once_keeps_zeros_and_skipped_layers():
    model = dense_model([[0, -5, 0.5], [0, 3, 2]])
    prune.at_once(model, PruningConfig(0.5))
    assert kernel(model).tolist() == [[0, -5, 0], [0, 3, 2]]
    model = dense_model([[1, 2]], name="first")
    prune.at_once(model, PruningConfig(0.5, skip="first"))
    assert kernel(model).tolist() == [[1, 2]]
