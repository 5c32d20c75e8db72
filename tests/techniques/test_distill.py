"""Distillation: the loss by hand, the teacher untouched, students of other shapes."""

import numpy as np
import pytest

from tfcompress.graph.outputs import final_activation
from tfcompress.techniques import distill, qat
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


def ending(activation):
    from tfcompress._keras import keras

    model = network(3, seed=1)
    return keras.Model(model.input, keras.layers.Activation(activation)(model.output))


def two_outputs():
    from tfcompress._keras import keras

    model = network(3, seed=1)
    return keras.Model(model.input, [model.output, model.get_layer("features").output])


def wrapped(student, config, *, rate=0.0, from_logits=True):
    from tfcompress._keras import keras

    model = distill.wrap(student, config, steps_per_epoch=1, epochs=1)
    model.compile(
        keras.optimizers.SGD(rate),
        keras.losses.CategoricalCrossentropy(from_logits=from_logits),
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


@pytest.mark.parametrize("teachers", [False, True], ids=["logits", "softmax"])
@pytest.mark.parametrize("students", [False, True], ids=["logits", "softmax"])
def test_a_softmax_at_the_end_is_seen_through(students, teachers):
    """Probabilities taken for logits would be compared after a second softmax."""
    from tfcompress._keras import keras

    def ended(model, softmax):
        if not softmax:
            return model
        return keras.Model(model.input, keras.layers.Softmax()(model.output))

    student, teacher = network(3, seed=1), network(5, seed=2)
    ours = log_softmax(student(IMAGES).numpy())
    theirs = log_softmax(teacher(IMAGES).numpy())
    expected = (np.exp(theirs) * (theirs - ours)).sum(1).mean()
    config = DistillationConfig(temperature=1.0, alpha=1.0, teacher=ended(teacher, teachers))
    model = wrapped(ended(student, students), config, from_logits=not students)
    assert loss_of_one_step(model) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda layers, x: layers.Dense(2)(x), "linear"),
        (lambda layers, x: layers.Dense(2, activation="softmax")(x), "softmax"),
        (lambda layers, x: layers.Softmax()(layers.Dense(2)(x)), "softmax"),
        (
            lambda layers, x: layers.Activation("linear", dtype="float32")(
                layers.Reshape([2])(layers.Dense(2, activation="softmax")(x))
            ),
            "softmax",
        ),
        (lambda layers, x: layers.Activation("sigmoid")(layers.Dense(2)(x)), "sigmoid"),
        (lambda layers, x: layers.Dropout(0.1)(layers.Dense(2)(x)), "linear"),
    ],
    ids=["logits", "in the layer", "a layer", "behind a reshape", "sigmoid", "behind dropout"],
)
def test_the_activation_that_a_model_ends_in(build, expected):
    from tfcompress._keras import keras, tfmot

    inputs = keras.Input([4])
    model = keras.Model(inputs, build(keras.layers, inputs))
    assert final_activation(model) == expected
    outer = keras.Model(inputs, model(inputs))
    assert final_activation(outer) == expected
    if expected == "softmax":
        quantized = tfmot.quantization.keras.quantize_model(model)
        assert final_activation(quantized) == expected
    quantized = qat.wrap(model, qat.QATConfig(), steps_per_epoch=1, epochs=1)
    assert final_activation(quantized) == expected


def test_an_underflown_probability_gives_no_infinite_gradient():
    from tfcompress._keras import keras

    student, teacher = network(3, seed=1), network(5, seed=2)
    student = keras.Model(student.input, keras.layers.Softmax()(student.output))
    weights = student.get_weights()
    weights[-1][:] = [200.0, -200.0]
    student.set_weights(weights)
    config = DistillationConfig(alpha=1.0, teacher=teacher)
    model = wrapped(student, config, rate=0.1, from_logits=False)
    assert np.isfinite(loss_of_one_step(model))
    assert all(np.isfinite(values).all() for values in model.get_weights())


def test_each_example_counts_by_its_weight():
    student, teacher = network(3, seed=1), network(5, seed=2)
    config = DistillationConfig(alpha=0.5, features=1.0, attention=1.0, teacher=teacher)
    model = wrapped(student, config)
    each = [
        model.fit(IMAGES[i : i + 1], LABELS[i : i + 1], verbose=0).history["loss"][0]
        for i in range(2)
    ]
    weights = np.array([2.0, 0.5])
    found = model.fit(IMAGES, LABELS, sample_weight=weights, batch_size=2, verbose=0)
    # Keras divides the weighted sum by the count.
    expected = (2.0 * each[0] + 0.5 * each[1]) / 2
    assert found.history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_regularization_counts_in_full_whatever_the_labels_do():
    from tfcompress._keras import keras

    inputs = keras.Input([6, 6, 1])
    x = keras.layers.Flatten()(inputs)
    dense = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))
    student = keras.Model(inputs, dense(x))
    squares = 0.1 * np.sum(student.get_weights()[0] ** 2)
    config = DistillationConfig(alpha=1.0, teacher=student)
    assert loss_of_one_step(wrapped(student, config)) == pytest.approx(squares, rel=1e-4)


def test_a_model_of_two_inputs_and_a_shared_layer_learns():
    from tfcompress._keras import keras

    first, second = keras.Input([6, 6, 1]), keras.Input([6, 6, 1])
    shared = keras.layers.Conv2D(3, 3, name="features")
    x = keras.layers.Flatten()(keras.layers.Add()([shared(first), shared(second)]))
    model = keras.Model([first, second], keras.layers.Dense(2, name="logits")(x))
    config = DistillationConfig(features=1.0, attention=1.0, teacher=model)
    found = wrapped(model, config, rate=0.01)
    history = found.fit([IMAGES, IMAGES], LABELS, batch_size=2, epochs=2, verbose=0).history
    assert len(found.regressors) == 1
    assert history["loss"][1] < history["loss"][0]


def test_features_by_hand():
    student, teacher = network(3, seed=1), network(5, seed=2)
    config = DistillationConfig(alpha=0.0, features=2.0, teacher=teacher)
    model = wrapped(student, config)
    (regressor,) = model.regressors
    kernel, bias = np.random.default_rng(1).normal(size=(3, 5)), np.arange(5.0)
    regressor.set_weights([kernel, bias])
    error = np.mean((features(student) @ kernel + bias - features(teacher)) ** 2)
    assert loss_of_one_step(model) == pytest.approx(hard_loss(student) + 2 * error, rel=1e-4)


def test_a_regressor_between_as_many_channels_begins_as_the_identity():
    student, teacher = network(4, seed=1), network(4, seed=2)
    model = wrapped(student, DistillationConfig(alpha=0.0, features=2.0, teacher=teacher))
    error = np.mean((features(student) - features(teacher)) ** 2)
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
    assert shapes[4:] == [(3, 5), (5,)]
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
        (lambda: two_outputs(), {"teacher": None}, "teacher is missing"),
        (lambda: two_outputs(), {"teacher": lambda: two_outputs()}, "one output. Received: 2"),
        (lambda: ending("sigmoid"), {}, "student with 2 outputs that end in sigmoid"),
        (
            lambda: network(3, seed=1),
            {"teacher": lambda: ending("sigmoid")},
            "teacher with 2 outputs that end in sigmoid",
        ),
        (
            lambda: network(3, seed=1, classes=1),
            {"teacher": lambda: network(5, seed=2, classes=1)},
            "at least 2 classes.*student with 1 outputs",
        ),
    ],
)
def test_what_does_not_fit_is_refused(student, config, says):
    teacher = config.get("teacher", lambda: network(5, seed=2))
    config = DistillationConfig(teacher=teacher and teacher())
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


def test_outputs_that_are_at_hand_teach_what_the_teacher_teaches():
    from tfcompress._keras import tf

    student, teacher = network(3, seed=1), network(4, seed=2)
    asked = loss_of_one_step(wrapped(student, DistillationConfig(teacher=teacher)))
    # The teacher may see other images: only its outputs are used.
    elsewhere = network(4, seed=2, size=12)
    model = wrapped(student, DistillationConfig(teacher=elsewhere, views=1))
    batch = IMAGES, LABELS, teacher(IMAGES).numpy()
    found = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history["loss"][0]
    assert found == pytest.approx(asked, rel=1e-6)
    assert len(model.weights) == len(student.weights)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"views": -1}, "must be 0 or more"),
        ({"views": 2, "features": 1.0}, "keeps the teacher's outputs and nothing else"),
        ({"views": 2, "alpha": 0.0, "attention": 1.0}, "nothing else"),
        ({"student_image_size": 32, "student": "resnet8"}, "takes a student, and views"),
        ({"student_image_size": 32, "views": 2}, "takes a student, and views"),
    ],
)
def test_views_that_make_no_sense_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        DistillationConfig(**settings)


# Values instead of classes.


def test_values_by_hand():
    """Squared differences in standard deviations; the temperature says nothing."""
    from tfcompress._keras import keras

    student, teacher = network(3, seed=1), network(5, seed=2)
    config = DistillationConfig(alpha=0.8, teacher=teacher, value_scale=(2.0, 0.5))
    model = distill.wrap(student, config, steps_per_epoch=1, epochs=1)
    model.compile(keras.optimizers.SGD(0.0), "mean_absolute_error")
    ours, theirs = student(IMAGES).numpy(), teacher(IMAGES).numpy()
    expected = 0.2 * np.abs(ours - LABELS).mean()
    expected += 0.8 * np.square((ours - theirs) / [2.0, 0.5]).mean()
    assert loss_of_one_step(model) == pytest.approx(expected, rel=1e-5)


def test_one_value_is_enough_where_one_class_is_not():
    one = {"student": network(3, seed=1, classes=1), "teacher": network(5, seed=2, classes=1)}
    with pytest.raises(ValueError, match=r"at least 2 classes.*For values pass value_scale"):
        wrapped(one["student"], DistillationConfig(teacher=one["teacher"]))
    wrapped(one["student"], DistillationConfig(teacher=one["teacher"], value_scale=(3.0,)))


@pytest.mark.parametrize(
    ("scale", "says"),
    [((0.0, 1.0), "numbers above 0"), ((1.0,), "each of the student's 2 values. Received: 1")],
)
def test_scales_that_do_not_fit_the_values_are_refused(scale, says):
    with pytest.raises(ValueError, match=says):
        wrapped(
            network(3, seed=1), DistillationConfig(teacher=network(5, seed=2), value_scale=scale)
        )
