"""Techniques on models that compute in half precision and keep their weights in float32."""

from functools import cache

import numpy as np
import pytest

from tfcompress import placement, registry
from tfcompress.graph.kernels import distinct, kernels

TECHNIQUES = ("prune", "cluster", "distill", "factorize", "prune_channels")
"""Those that train in half precision; `ptq` and `qat` always compute in float32."""
SETTINGS = {
    "prune": {"target_sparsity": 0.5, "schedule": "constant"},
    "cluster": {"clusters": 4},
    "distill": {"features": 1.0, "attention": 1.0},
    "factorize": {"energy": 0.7},
    "prune_channels": {"target": 0.3, "importance": "taylor", "round_to": 1},
}
HALF = ("mixed_float16", "mixed_bfloat16")
# bfloat16 has 8 bits of fraction, float16 has 11; over twelve steps.
TOLERANCE = {"mixed_float16": 0.01, "mixed_bfloat16": 0.05}

technique = pytest.mark.parametrize("name", TECHNIQUES)
precision = pytest.mark.parametrize("precision", HALF)


def network():
    from tfcompress._keras import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input([8, 8, 1])
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def examples(count=48):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, count)
    images = generator.normal(0, 0.7, (count, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += 1
    return images, np.eye(4, dtype=np.float32)[labels]


def supplied(name, model):
    """What a run would give to a technique."""
    images, labels = examples()
    given = {"distill": {"teacher": model}}
    given["prune_channels"] = {"examples": (images, labels.argmax(axis=1))}
    return given.get(name, {})


def fitted(name, precision, *, optimizer=None, start=None, epochs=2):
    """What a technique leaves of the network, and the loss of each epoch."""
    from tfcompress._keras import keras

    module = registry.load("techniques", name)
    model = placement.placed(network(), strategy="none", precision=precision)
    config = module.CONFIG(**SETTINGS[name], **supplied(name, model))
    wrapped = module.wrap(model, config, steps_per_epoch=6, epochs=epochs)
    if start:
        wrapped.set_weights(start)
    start = wrapped.get_weights()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    wrapped.compile(optimizer or keras.optimizers.SGD(0.01), loss)
    images, labels = examples()
    history = wrapped.fit(
        images,
        labels,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        callbacks=module.callbacks(config),
        verbose=0,
    )
    stripped = module.strip(wrapped)
    module.verify(stripped, config, before=model)
    return stripped, history.history["loss"], start


@cache
def fitted_in_single(name):
    return fitted(name, "float32")


def untrained(name, weights):
    """The network in float32, as a technique makes it, with weights of one that was trained."""
    module = registry.load("techniques", name)
    config = module.CONFIG(**SETTINGS[name], **supplied(name, network()))
    model = module.strip(module.wrap(network(), config, steps_per_epoch=1, epochs=1))
    # A distillation's regressors come last.
    model.set_weights(weights[: len(model.weights)])
    return model


@technique
@precision
def test_half_precision_trains_nearly_as_single_does(name, precision):
    single, losses, start = fitted_in_single(name)
    half, half_losses, _ = fitted(name, precision, start=start)
    assert {weight.dtype.name for weight in half.weights} == {"float32"}
    assert half.get_layer("conv").compute_dtype == precision.removeprefix("mixed_")
    assert half_losses == pytest.approx(losses, rel=TOLERANCE[precision])
    for ours, theirs in zip(half.get_weights(), single.get_weights(), strict=True):
        # A pruned weight may be another one where two were nearly equal.
        assert np.mean(np.abs(ours - theirs) > TOLERANCE[precision]) < 0.02


@technique
def test_the_float32_model_has_the_weights_of_the_half_precision_one(name):
    """What is exported computes with the very weights that were trained."""
    half, _, _ = fitted(name, "mixed_float16", epochs=1)
    plain = untrained(name, half.get_weights())
    images, _ = examples()
    difference = plain.predict(images, verbose=0) - half.predict(images, verbose=0)
    assert plain.compute_dtype == "float32"
    assert 0 < np.abs(difference).max() < 0.02
    for kernel, other in zip(kernels(plain), kernels(half), strict=True):
        np.testing.assert_array_equal(kernel.numpy(), other.numpy())


@technique
def test_steps_that_overflow_change_nothing_but_the_structure(name):
    """The optimizer skips them; masks and groups stand nevertheless."""
    from tfcompress._keras import keras

    optimizer = keras.mixed_precision.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=2.0**100
    )
    model, losses, start = fitted(name, "mixed_float16", optimizer=optimizer, epochs=1)
    # Six steps, each of which halves the scale.
    assert float(optimizer.loss_scale) == 2.0**94
    assert np.isfinite(losses).all()
    before = untrained(name, start)
    for kernel, other in zip(kernels(model), kernels(before), strict=True):
        values, original = kernel.numpy(), other.numpy()
        if name == "prune":
            assert np.mean(values == 0) == 0.5
            np.testing.assert_array_equal(values[values != 0], original[values != 0])
            assert np.abs(original[values == 0]).max() < np.abs(values[values != 0]).min()
        else:
            np.testing.assert_array_equal(values, original)
            assert name != "cluster" or distinct(values) == 4


@pytest.mark.parametrize("scaled", [True, False])
def test_the_loss_of_a_distillation_is_scaled(scaled):
    """Gradients of 1e-9 are zero in float16, unless the loss is multiplied before."""
    from tfcompress._keras import keras, tf
    from tfcompress.techniques import distill

    keras.utils.set_random_seed(1)
    inputs = keras.Input([4])
    x = keras.layers.Dense(3, dtype="mixed_float16")(inputs)
    student = keras.Model(inputs, keras.layers.Activation("linear")(x))
    teacher = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    if scaled:
        student = placement.placed(student, strategy="none", precision="mixed_float16")
    config = distill.DistillationConfig(temperature=1.0, alpha=1e-9, teacher=teacher)
    model = distill.wrap(student, config, steps_per_epoch=1, epochs=1)
    model.compile(keras.optimizers.SGD(1e9), lambda labels, outputs: tf.reduce_sum(0 * outputs))
    images = np.eye(4, dtype=np.float32)
    ours, theirs = (tf.nn.softmax(each(images)).numpy() for each in (student, teacher))
    before = model.get_weights()[0]
    model.fit(images, np.zeros([4, 3]), batch_size=4, verbose=0)
    # The gradient of the divergence by the logits, for one-hot inputs that of the kernel.
    expected = before - (ours - theirs) / 4 * scaled
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=2e-3)
    assert np.abs(ours - theirs).max() > 0.05


def test_the_divergence_of_a_half_precision_student_is_taken_in_single():
    """Its logits are float16; a softened difference of 0.001 would be lost in them."""
    from tfcompress._keras import keras
    from tfcompress.techniques import distill

    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(1)
        inputs = keras.Input([4])
        student = keras.Model(inputs, keras.layers.Dense(3)(inputs))
        teacher = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    config = distill.DistillationConfig(temperature=4.0, alpha=1.0, teacher=teacher)
    model = distill.wrap(student, config, steps_per_epoch=1, epochs=1)
    model.compile(keras.optimizers.SGD(0.0), keras.losses.CategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[np.zeros(8, int)]

    def log_softmax(outputs):
        logits = outputs.numpy().astype(np.float64) / 4
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    assert student(images).dtype == "float16"
    ours, theirs = log_softmax(student(images)), log_softmax(teacher(images))
    expected = 16 * (np.exp(theirs) * (theirs - ours)).sum(1).mean()
    found = model.fit(images, labels, batch_size=8, verbose=0).history["loss"][0]
    assert found == pytest.approx(expected, rel=1e-4)


def test_batches_of_no_example_give_no_loss():
    """A device may get none of the last batch."""
    from tfcompress._keras import tf
    from tfcompress.techniques import _distiller

    empty = tf.zeros([0, 3])
    assert float(_distiller._mean(empty, None)) == 0
    assert float(_distiller._mean(empty, tf.zeros([0]))) == 0
