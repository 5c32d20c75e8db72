"""Distillation of text encoders: hidden states and attention by hand, and padding left out."""

import dataclasses

import numpy as np
import pytest

from tfcompress import encoders
from tfcompress._keras import keras
from tfcompress.encoders import EncoderConfig
from tfcompress.techniques import distill
from tfcompress.techniques.distill import DistillationConfig

CONFIG = EncoderConfig(
    vocabulary=30,
    width=8,
    layers=2,
    heads=2,
    feed_forward=12,
    positions=9,
    dropout=0.0,
    attention_dropout=0.0,
)
IDS = np.array([[2, 4, 5, 0, 0], [6, 7, 8, 9, 3], [3, 0, 0, 0, 0]], np.int32)
MASK = (IDS != 0).astype(np.float32)
LABELS = np.eye(2, dtype=np.float32)[[0, 1, 1]]


def classifier(*, seed, config=CONFIG, **sizes):
    """With weights that are not near zero."""
    keras.utils.set_random_seed(seed)
    config = dataclasses.replace(config, **sizes)
    encoder = encoders.build_encoder(config, length=5, pooler=True, mask_input=False)
    generator = np.random.default_rng(seed)
    for weight in encoder.weights:
        weight.assign_add(generator.normal(0, 0.3, weight.shape))
    return keras.Model(encoder.input, keras.layers.Dense(2, name="logits")(encoder.output))


def wrapped(student, config, *, rate=0.0):
    model = distill.wrap(student, config, steps_per_epoch=1, epochs=1)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    return model


def loss_of_one_step(model, **settings):
    history = model.fit(IDS, LABELS, batch_size=3, verbose=0, **settings).history
    return history["loss"][0]


def hard_loss(student):
    logits = student(IDS).numpy()
    return -(LABELS * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()


def given(model, name):
    return encoders.with_outputs(model, [name])(IDS).numpy()


def over_tokens(errors):
    """The mean over the tokens of each text, then over the texts."""
    return ((errors * MASK).sum(1) / MASK.sum(1)).mean()


def test_hidden_states_by_hand():
    teacher, student = classifier(seed=1), classifier(seed=2, layers=1, width=4, heads=1)
    model = wrapped(student, DistillationConfig(alpha=0.0, features=2.0, teacher=teacher))
    generator = np.random.default_rng(0)
    kernels = [generator.normal(size=(4, 8)) for _ in model.regressors]
    for regressor, kernel in zip(model.regressors, kernels, strict=True):
        regressor.set_weights([kernel, np.ones(8)])
    expected = hard_loss(student)
    names = (
        ("embeddings/normalization", "embeddings/normalization"),
        (
            "layer_0/feed_forward/normalization",
            "layer_1/feed_forward/normalization",
        ),
    )
    for kernel, (own, other) in zip(kernels, names, strict=True):
        error = np.square(given(student, own) @ kernel + 1 - given(teacher, other)).mean(-1)
        expected += 2 * over_tokens(error)
    assert loss_of_one_step(model) == pytest.approx(expected, rel=1e-4)


def softmax(scores):
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def divergence(ours, theirs):
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(theirs > 0, theirs * np.log(theirs / ours), 0.0)
    return terms.sum(-1)


def test_attention_by_hand():
    teacher, student = classifier(seed=1), classifier(seed=2, layers=1, width=4, heads=2)
    model = wrapped(student, DistillationConfig(alpha=0.0, attention=3.0, teacher=teacher))
    assert not model.regressors
    ours = given(student, "layer_0/attention/probabilities")
    theirs = given(teacher, "layer_1/attention/probabilities")
    error = over_tokens(divergence(ours, theirs).mean(1))
    expected = hard_loss(student) + 3 * error
    assert loss_of_one_step(model) == pytest.approx(expected, rel=1e-4)


def test_heads_are_joined_where_their_numbers_differ():
    teacher = classifier(seed=1, width=12, heads=6)
    student = classifier(seed=2, layers=1, width=8, heads=4)
    model = wrapped(student, DistillationConfig(alpha=0.0, attention=1.0, teacher=teacher))

    def joined(queries, keys, width):
        """Of two groups, as one head of their joint width each."""
        queries, keys = (x.reshape(3, 5, 2, width).transpose(0, 2, 1, 3) for x in (queries, keys))
        scores = queries @ keys.transpose(0, 1, 3, 2) / np.sqrt(width)
        return softmax(np.where(MASK[:, None, None] > 0, scores, -1e9))

    ours, theirs = (
        joined(given(model, f"{layer}/query"), given(model, f"{layer}/key"), width)
        for model, layer, width in (
            (student, "layer_0/attention", 4),
            (teacher, "layer_1/attention", 6),
        )
    )
    expected = hard_loss(student) + over_tokens(divergence(ours, theirs).mean(1))
    assert loss_of_one_step(model) == pytest.approx(expected, rel=1e-4)


def test_what_stands_at_padding_does_not_count():
    """Rows of the table of positions that only padding has."""
    teacher, other = classifier(seed=1), classifier(seed=1)
    for model in (teacher, other):
        model.get_layer("embeddings/positions").trainable = True
    table = other.get_layer("embeddings/positions")
    rows = table.get_weights()[0]
    rows[3:] += 5.0
    table.set_weights([rows])
    student = classifier(seed=2, layers=1)
    short = np.where(np.arange(5) < 3, IDS, 0)
    losses = []
    for taught in (teacher, other):
        config = DistillationConfig(alpha=0.5, features=1.0, attention=1.0, teacher=taught)
        model = wrapped(student, config)
        losses.append(model.fit(short, LABELS, batch_size=3, verbose=0).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] > 0.5


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it():
    teacher = classifier(seed=1)
    config = DistillationConfig(alpha=1.0, features=1.0, attention=1.0, teacher=teacher)
    assert loss_of_one_step(wrapped(teacher, config)) == pytest.approx(0, abs=1e-5)


def test_each_text_counts_by_its_weight():
    teacher, student = classifier(seed=1), classifier(seed=2, layers=1)
    config = DistillationConfig(alpha=0.5, features=1.0, attention=1.0, teacher=teacher)
    model = wrapped(student, config)
    each = [
        model.fit(IDS[i : i + 1], LABELS[i : i + 1], verbose=0).history["loss"][0] for i in range(3)
    ]
    weights = np.array([2.0, 0.5, 1.0])
    expected = (weights * each).sum() / 3
    assert loss_of_one_step(model, sample_weight=weights) == pytest.approx(expected, rel=1e-4)


def test_a_student_of_fewer_layers_learns_in_a_fit_of_its_own():
    """As a user does it, with no recipe: build, take over, wrap, fit, strip."""
    teacher = classifier(seed=1)
    student = classifier(seed=2, config=encoders.smaller(CONFIG, layers=1))
    encoders.take_over(student, teacher, head_width=CONFIG.head_width)
    before = teacher.get_weights()
    config = DistillationConfig(alpha=1.0, features=1.0, attention=1.0, teacher=teacher)
    model = distill.wrap(student, config, steps_per_epoch=1, epochs=60)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    losses = model.fit(IDS, LABELS, batch_size=3, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    for ours, theirs in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found = distill.strip(model)
    assert [layer.name for layer in found.layers] == [layer.name for layer in student.layers]
    distill.verify(found, config)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (2, 1, "Received: 2 layers of an encoder in the student, 1 in the teacher"),
        (1, 0, "Received: 1 layers of an encoder in the student, 0 in the teacher"),
        (0, 1, "Received: 0 layers of an encoder in the student, 1 in the teacher"),
    ],
)
def test_layers_that_have_none_to_be_held_against_are_refused(student, teacher, message):
    models = [
        classifier(seed=1, layers=layers) if layers else words() for layers in (student, teacher)
    ]
    config = DistillationConfig(attention=1.0, teacher=models[1])
    with pytest.raises(ValueError, match=message):
        distill.wrap(models[0], config, steps_per_epoch=1, epochs=1)


def words():
    """No encoder: the mean of the words alone."""
    inputs = keras.Input([5], dtype="int32")
    outputs = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(30, 4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(outputs))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student_layers": 3}, "take a student. Received: student_width 1, student_layers 3"),
        ({"student_width": 0.5}, "take a student. Received: student_width 0.5"),
        ({"student": "resnet8", "student_layers": 2}, "0 for every student but encoder"),
        ({"student": "encoder", "student_layers": -1}, "must be 0 or more"),
        ({"student": "encoder"}, "in which it is smaller"),
        (
            {"student": "encoder", "student_layers": 1, "views": 2, "student_image_size": 8},
            "no size of images",
        ),
    ],
)
def test_settings_of_a_student_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillationConfig(**settings)
