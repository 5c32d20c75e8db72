"""Every technique on every kind of layer: it treats what it can, names the rest and says why.

Each is used as a user would, on random numbers: what counts is which weights change, and how.
"""

from functools import cache

import numpy as np
import pytest

from tfcompress import registry
from tfcompress.graph import kernels
from tfcompress.techniques import VerificationError

TECHNIQUES = ("prune", "cluster", "distill", "factorize")
SETTINGS = {
    "prune": {"target_sparsity": 0.5, "schedule": "constant"},
    "cluster": {"clusters": 4},
    "distill": {},
    "factorize": {"energy": 0.5},
}
DEPTHWISE = {
    "prune": "depthwise: few weights, each with a large share of its channel",
    "cluster": "depthwise: few weights, a codebook would save next to nothing",
}


def convolutions():
    from tfcompress._keras import keras

    layers = keras.layers
    inputs = keras.Input([6, 6, 4])
    x = layers.Conv2D(8, 3, groups=2, padding="same", name="grouped")(inputs)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="transposed")(x)
    x = layers.SeparableConv2D(8, 3, name="separable")(x)
    x = layers.Reshape([10, 80])(x)
    x = layers.Conv1D(8, 3, name="sequence")(x)
    x = layers.SeparableConv1D(8, 3, name="separable_sequence")(x)
    x = layers.DepthwiseConv1D(3, name="depthwise_sequence")(x)
    x = layers.Reshape([4, 2, 2, 2])(x)
    x = layers.Conv3D(4, 2, padding="same", name="volume")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))


def recurrent():
    from tfcompress._keras import keras

    layers = keras.layers
    inputs = keras.Input([4], dtype="int32")
    x = layers.Embedding(20, 8, name="embedding")(inputs)
    both_ways = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True), name="both_ways")
    x = both_ways(x)
    x = layers.TimeDistributed(layers.Dense(8), name="each_step")(x)
    x = layers.LSTM(8, name="lstm")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def attention():
    from tfcompress._keras import keras

    layers = keras.layers
    inputs = keras.Input([6, 8])
    x = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), name="einsum")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def shared_layer_two_inputs():
    from tfcompress._keras import keras

    layers = keras.layers
    first, second = keras.Input([8], name="first"), keras.Input([6], name="second")
    shared = layers.Dense(8, name="shared")
    x = layers.Add()([shared(first), shared(shared(layers.Dense(8, name="own")(second)))])
    return keras.Model([first, second], layers.Dense(3, name="logits")(x))


def models_within():
    """Two blocks and a sequence, whose layers have the same names."""
    from tfcompress._keras import keras

    layers = keras.layers

    def block(name):
        inputs = keras.Input([5, 5, 4])
        x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
        return keras.Model(inputs, layers.BatchNormalization(name="norm")(x), name=name)

    inputs = keras.Input([5, 5, 4])
    x = layers.Concatenate()([block("left")(inputs), block("right")(inputs)])
    x = keras.Sequential([layers.Conv2D(4, 3, name="conv"), layers.ReLU()], name="tail")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def partly_frozen():
    from tfcompress._keras import keras

    layers = keras.layers
    inputs = keras.Input([8])
    x = layers.Dense(8, name="frozen", trainable=False)(inputs)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


# For each model, what prune and cluster pass over; DEPTHWISE stands for their own words.
MODELS = {
    convolutions: {
        "separable/depthwise_kernel": DEPTHWISE,
        "separable_sequence/depthwise_kernel": DEPTHWISE,
        "depthwise_sequence": DEPTHWISE,
    },
    recurrent: {"embedding": kernels.NO_KERNEL},
    attention: {"norm": kernels.NO_KERNEL},
    shared_layer_two_inputs: {},
    models_within: {"norm": kernels.NO_KERNEL, "right_norm": kernels.NO_KERNEL},
    partly_frozen: {"frozen": kernels.FROZEN},
}

# What factorize passes over besides: the layers of these kinds.
WHOLE = ("Conv2DTranspose", "SeparableConv2D", "Conv1D", "SeparableConv1D", "Conv3D")
WHOLE += ("Bidirectional", "TimeDistributed", "LSTM", "MultiHeadAttention", "EinsumDense")

technique = pytest.mark.parametrize("name", TECHNIQUES)
model_kind = pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)


def built(build, *, seed=0):
    from tfcompress._keras import keras

    keras.utils.set_random_seed(seed)
    return build()


def examples(model, *, count=8):
    generator = np.random.default_rng(0)
    inputs = [
        generator.integers(0, 20, [count, *tensor.shape[1:]]).astype(np.int32)
        if tensor.dtype.is_integer
        else generator.normal(size=[count, *tensor.shape[1:]]).astype(np.float32)
        for tensor in model.inputs
    ]
    labels = np.eye(3, dtype=np.float32)[generator.integers(0, 3, count)]
    return (inputs if len(inputs) > 1 else inputs[0]), labels


@cache
def treated(build, name):
    """A model and what a technique leaves of it after two steps, with its module and config."""
    from tfcompress._keras import keras

    model = built(build)
    before = model.get_weights()
    module = registry.load("techniques", name)
    supplied = {"teacher": model} if name == "distill" else {}
    config = module.CONFIG(**SETTINGS[name], **supplied)
    wrapped = module.wrap(model, config, steps_per_epoch=2, epochs=1)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    # Eagerly, since tracing a recurrent layer takes seconds; the other tests trace.
    wrapped.compile(keras.optimizers.SGD(0.05), loss, run_eagerly=True)
    inputs, labels = examples(model)
    wrapped.fit(inputs, labels, batch_size=4, callbacks=module.callbacks(config), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return model, module.strip(wrapped), module, config


def expected_skips(build, name):
    if name == "distill":
        return {"frozen": kernels.FROZEN} if build is partly_frozen else {}
    if name == "factorize":
        return whole_layers(build)
    return {layer: why[name] if why is DEPTHWISE else why for layer, why in MODELS[build].items()}


def whole_layers(build):
    kinds = {
        layer: type(own).__name__ for layer, own in kernels.weighted_layers(built(build)).items()
    }
    reasons = {
        layer: f"{kind}: only Dense, Conv2D and Embedding are split"
        for layer, kind in kinds.items()
        if kind in WHOLE
    }
    reasons |= {layer: why for layer, why in MODELS[build].items() if why is not DEPTHWISE}
    if build is convolutions:
        reasons["grouped"] = "grouped: its 2 groups share no inputs"
        reasons["depthwise_sequence"] = (
            "depthwise: each channel has a filter of its own, which no other one shares"
        )
    return reasons


@model_kind
@technique
def test_what_can_be_treated_is_and_the_rest_is_named(name, build):
    model, found, module, config = treated(build, name)
    module.verify(found, config)
    skipped = expected_skips(build, name)
    assert module.skipped(model, config) == skipped
    report = module.report(model, found, config)
    untreated = {layer.name: layer.reason for layer in report.layers if not layer.treated}
    assert untreated == {key: why for key, why in skipped.items() if "/" not in key}
    for layer in report.layers:
        parts = [key for key in skipped if key.startswith(f"{layer.name}/")]
        assert layer.reason == untreated.get(layer.name, "") or all(
            f"{part.partition('/')[2]}: {skipped[part]}" in layer.reason for part in parts
        )


@model_kind
@pytest.mark.parametrize("name", ["prune", "cluster"])
def test_no_kernel_is_changed_but_the_treated_ones(name, build):
    model, found, module, config = treated(build, name)
    skipped = module.skipped(model, config)
    compared = zip(kernels.kernels(model), kernels.kernels(found), strict=True)
    for before, after in compared:
        values, size = after.numpy(), after.numpy().size
        has_structure = (
            np.mean(values == 0) >= (size // 2) / size
            if name == "prune"
            else kernels.distinct(values) <= 4
        )
        passed_over = {after.name, f"{after.name}/{after.part}"} & set(skipped)
        assert has_structure == (not passed_over), after.name
        if after.frozen:
            np.testing.assert_array_equal(before.numpy(), values)
        else:
            assert not np.array_equal(before.numpy(), values)


def no_weights():
    from tfcompress._keras import keras

    inputs = keras.Input([4, 4, 2])
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))


def all_frozen():
    model = built(partly_frozen)
    model.trainable = False
    return model


def subclassed():
    from tfcompress._keras import keras

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model.build([None, 4])
    return model


def never_built():
    from tfcompress._keras import keras

    return keras.Sequential([keras.layers.Dense(3)])


def quantized():
    from tfcompress._keras import tfmot

    return tfmot.quantization.keras.quantize_model(built(partly_frozen))


@technique
@pytest.mark.parametrize(
    ("build", "says"),
    [
        (no_weights, "no layer"),
        (all_frozen, r"no layer.*frozen: trainable is False"),
        (subclassed, "subclassed model"),
        (never_built, "never built"),
        (quantized, "cannot start from a quantized model"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_model_with_nothing_to_treat_is_refused_with_the_reason(name, build, says):
    model = build()
    module = registry.load("techniques", name)
    teacher = {"teacher": built(partly_frozen)} if build is not no_weights else {"teacher": model}
    config = module.CONFIG(**SETTINGS[name], **(teacher if name == "distill" else {}))
    with pytest.raises(ValueError, match=says):
        module.wrap(model, config, steps_per_epoch=1, epochs=1)


@technique
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_the_copy_scales_its_loss_where_the_given_model_does(name, policy):
    """The process-wide policy may be another one by then."""
    from tfcompress._keras import keras

    keras.mixed_precision.set_global_policy(policy)
    try:
        model = built(partly_frozen)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    module = registry.load("techniques", name)
    supplied = {"teacher": model} if name == "distill" else {}
    config = module.CONFIG(**SETTINGS[name], **supplied)
    wrapped = module.wrap(model, config, steps_per_epoch=1, epochs=1)
    wrapped.compile(keras.optimizers.SGD(0.1), "mse")
    scales = isinstance(wrapped.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scales == (policy == "mixed_float16")


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("prune", convolutions),
        ("cluster", attention),
        ("distill", convolutions),
        ("factorize", models_within),
    ],
)
def test_the_effect_is_counted_in_the_file(name, build):
    """Also in three-dimensional convolutions, and where a layer has several kernels."""
    from tfcompress.export import convert

    model, found, module, config = treated(build, name)
    inputs, _ = examples(model)
    artifact = convert(found, "float32", calibration=inputs, metadata={})
    report = module.report(model, found, config)
    module.verify_artifact(artifact, report, config)
    kernel_sizes = {tensor.values.size for tensor in artifact.weights().values()}
    assert kernel_sizes == {kernel.numpy().size for kernel in kernels.kernels(found)}


def test_a_file_that_holds_more_than_the_student_is_found_out():
    from tfcompress._keras import keras
    from tfcompress.export import convert

    model, found, module, config = treated(shared_layer_two_inputs, "distill")
    inputs = keras.Input([8])
    teacher = keras.Model(inputs, keras.layers.Dense(40)(inputs))
    artifact = convert(teacher, "float32", calibration=np.ones([1, 8], np.float32), metadata={})
    # 8x8 + 8, 6x8 + 8 and 8x3 + 3 weights.
    with pytest.raises(VerificationError, match=r"320 weights in its kernels.* has 155"):
        module.verify_artifact(artifact, module.report(model, found, config), config)
