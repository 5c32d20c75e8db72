"""Distillation: the loss by hand, the teacher untouched, students of other shapes."""

import numpy as np
import pytest

from tfcompress.techniques import distill
from tfcompress.techniques.distill import DistillationConfig

LABELS = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
IMAGES = np.random.default_rng(0).uniform(0, 1, (2, 6, 6, 1)).astype(np.float32)


def network(channels, *, seed, classes=2, size=6):
    from tfcompress._keras import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input([size, size, 1])
    x = layers.Conv2D(channels, 3, activation="relu", name="features")(inputs)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def wrapped(student, config, *, rate=0.0):
    from tfcompress._keras import keras

    model = distill.wrap(student, config, steps_per_epoch=1, epochs=1)
    model.compile(
        keras.optimizers.SGD(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def loss_of_one_step(model):
    return model.fit(IMAGES, LABELS, batch_size=2, verbose=0).history["loss"][0]


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def features(model):
    from tfcompress._keras import keras

    return keras.Model(model.input, model.get_layer("features").output)(IMAGES).numpy()


def hard_loss(student):
    return -(LABELS * log_softmax(student.predict(IMAGES, verbose=0))).sum(1).mean()


@pytest.mark.parametrize(("temperature", "alpha"), [(4.0, 0.9), (1.0, 1.0), (2.0, 0.0)])
def test_soft_labels_by_hand(temperature, alpha):
    student, teacher = network(3, seed=1), network(5, seed=2)
    config = DistillationConfig(
        temperature=temperature, alpha=alpha, teacher=teacher, attention=0.0 if alpha else 1e-9
    )
    ours = log_softmax(student.predict(IMAGES, verbose=0) / temperature)
    theirs = log_softmax(teacher.predict(IMAGES, verbose=0) / temperature)
    divergence = (np.exp(theirs) * (theirs - ours)).sum(1).mean()
    expected = (1 - alpha) * hard_loss(student) + alpha * temperature**2 * divergence
    assert loss_of_one_step(wrapped(student, config)) == pytest.approx(expected, rel=1e-4)


def test_features_by_hand():
    student, teacher = network(3, seed=1), network(5, seed=2)
    config = DistillationConfig(alpha=0.0, features=2.0, teacher=teacher)
    model = wrapped(student, config)
    (regressor,) = model.regressors
    kernel, bias = np.random.default_rng(1).normal(size=(3, 5)), np.arange(5.0)
    regressor.set_weights([kernel.reshape(1, 1, 3, 5), bias])
    error = np.mean((features(student) @ kernel + bias - features(teacher)) ** 2)
    assert loss_of_one_step(model) == pytest.approx(hard_loss(student) + 2 * error, rel=1e-4)


def test_attention_by_hand():
    student, teacher = network(3, seed=1), network(5, seed=2)
    config = DistillationConfig(alpha=0.0, attention=3.0, teacher=teacher)

    def attention(values):
        energy = (values**2).sum(-1).reshape(2, -1)
        return energy / np.linalg.norm(energy, axis=1, keepdims=True)

    error = ((attention(features(student)) - attention(features(teacher))) ** 2).sum(1).mean()
    found = loss_of_one_step(wrapped(student, config))
    assert found == pytest.approx(hard_loss(student) + 3 * error, rel=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it():
    teacher = network(3, seed=1)
    config = DistillationConfig(alpha=1.0, teacher=teacher)
    assert loss_of_one_step(wrapped(teacher, config)) == pytest.approx(0, abs=1e-5)


def test_only_the_student_learns():
    student, teacher = network(3, seed=1), network(5, seed=2)
    before = [model.get_weights() for model in (student, teacher)]
    model = wrapped(student, DistillationConfig(features=1.0, teacher=teacher), rate=0.1)
    regressor = model.regressors[0].get_weights()[0]
    model.fit(IMAGES, LABELS, batch_size=2, verbose=0)
    for old, new in zip(before, (student, teacher), strict=True):
        for ours, theirs in zip(old, new.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    found = distill.strip(model)
    assert not np.array_equal(found.get_weights()[0], before[0][0])
    assert not np.array_equal(model.regressors[0].get_weights()[0], regressor)


def test_the_teacher_is_not_among_the_weights():
    student, teacher = network(3, seed=1), network(5, seed=2)
    model = wrapped(student, DistillationConfig(features=1.0, teacher=teacher))
    shapes = [weight.shape for weight in model.get_weights()]
    assert shapes[:4] == [weight.shape for weight in student.get_weights()]
    # The regressor from 3 to 5 channels, and nothing else.
    assert shapes[4:] == [(1, 1, 3, 5), (5,)]
    ids = {id(weight) for weight in teacher.weights}
    assert not ids & {id(weight) for weight in model.weights}


def test_stripping_leaves_a_plain_student():
    student, teacher = network(3, seed=1), network(5, seed=2)
    model = wrapped(student, DistillationConfig(teacher=teacher))
    found = distill.strip(model)
    assert type(found) is type(student)
    assert [layer.name for layer in found.layers] == [layer.name for layer in student.layers]
    np.testing.assert_array_equal(
        model.predict(IMAGES, verbose=0), found.predict(IMAGES, verbose=0)
    )
    distill.verify(found, DistillationConfig())


def test_evaluation_is_that_of_the_student_on_the_labels():
    student, teacher = network(3, seed=1), network(5, seed=2)
    model = wrapped(student, DistillationConfig(teacher=teacher))
    assert model.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(hard_loss(student))


@pytest.mark.parametrize(
    ("student", "config", "says"),
    [
        (lambda: network(3, seed=1), {"teacher": None}, "teacher is missing"),
        (
            lambda: network(3, seed=1, classes=3),
            {},
            r"same output_shape. Received: teacher \(None, 2\), student \(None, 3\)",
        ),
        (lambda: network(3, seed=1, size=7), {}, "same input_shape"),
    ],
)
def test_what_does_not_fit_is_refused(student, config, says):
    config = DistillationConfig(**{"teacher": network(5, seed=2), **config})
    with pytest.raises(ValueError, match=says):
        distill.wrap(student(), config, steps_per_epoch=1, epochs=1)


@pytest.mark.parametrize("loss", ["features", "attention"])
def test_networks_without_feature_maps_in_common_are_refused(loss):
    from tfcompress._keras import keras

    inputs = keras.Input([6, 6, 1])
    x = keras.layers.Conv2D(3, 5)(inputs)
    student = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    config = DistillationConfig(teacher=network(5, seed=2), **{loss: 1.0})
    with pytest.raises(ValueError, match="no feature maps of the same height and width"):
        distill.wrap(student, config, steps_per_epoch=1, epochs=1)
