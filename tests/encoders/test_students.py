"""Smaller encoders: their sizes, and what they take over of a trained one."""

import itertools

import numpy as np
import pytest

from tfcompress import encoders
from tfcompress._keras import keras
from tfcompress.encoders import EncoderConfig

CONFIG = EncoderConfig(
    vocabulary=30, width=8, layers=3, heads=2, feed_forward=12, positions=18, padding_id=1
)
LENGTH = 5
IDS = np.array([[3, 4, 5, 1, 1], [6, 7, 8, 9, 2]], np.int32)
UPPER, LOWER = [1, 3, 4, 6], [0, 2, 5, 7]
"""Numbers of a token: those that a teacher of `built` reads, and the others."""


def built(config, *, seed=0):
    """With weights that are not near zero, and a head behind the pooler."""
    keras.utils.set_random_seed(seed)
    encoder = encoders.build_encoder(config, length=LENGTH, pooler=True, mask_input=False)
    generator = np.random.default_rng(seed)
    for weight in encoder.weights:
        weight.assign_add(generator.normal(0, 0.3, weight.shape))
    return keras.Model(encoder.input, keras.layers.Dense(2, name="logits")(encoder.output))


def test_a_narrower_encoder_has_whole_heads_of_the_same_width():
    found = encoders.smaller(CONFIG, layers=2, width=0.5)
    assert (found.layers, found.width, found.heads, found.feed_forward) == (2, 4, 1, 6)
    assert found.head_width == CONFIG.head_width
    assert (found.vocabulary, found.positions, found.padding_id) == (30, 18, 1)


def test_a_factor_may_be_as_exact_as_people_write_it():
    twelve = EncoderConfig(vocabulary=9, width=384, layers=6, heads=12, feed_forward=1_536)
    assert encoders.smaller(twelve, layers=6, width=0.333).heads == 4
    assert encoders.smaller(twelve, layers=6, width=0.333).feed_forward == 512


@pytest.mark.parametrize(
    ("layers", "width", "message"),
    [
        (4, 1.0, "from 1 to 3 layers, those of the larger one. Received: 4"),
        (0, 0.5, "from 1 to 3 layers"),
        (3, 1.0, "fewer layers than 3, or is narrower. Received: 3 layers, 1 times"),
        (2, 0.4, "Received: 0.4 times as many, 0.8. Choose from 0.5, 1"),
        (2, 1.5, "at most its 2"),
        (2, 0.004, "whole heads of the larger one's width, 4"),
    ],
)
def test_sizes_that_cannot_be_are_refused(layers, width, message):
    with pytest.raises(ValueError, match=message):
        encoders.smaller(CONFIG, layers=layers, width=width)


def test_each_layer_stands_for_the_last_of_its_group():
    for of in range(1, 13):
        for count in range(1, of + 1):
            kept = encoders.layers_kept(count, of=of)
            assert len(kept) == count
            assert kept[-1] == of - 1
            assert all(one < other for one, other in itertools.pairwise(kept))


def test_layers_are_told_by_their_names():
    assert encoders.layers_of(built(CONFIG)) == 3
    inputs = keras.Input([4])
    assert encoders.layers_of(keras.Model(inputs, keras.layers.Dense(2)(inputs))) == 0


def test_a_student_as_wide_begins_with_the_teachers_own_layers():
    teacher, student = built(CONFIG), built(encoders.smaller(CONFIG, layers=1), seed=1)
    encoders.take_over(student, teacher, head_width=4)
    assert encoders.layers_kept(1, of=3) == (2,)
    for layer in student.layers:
        source = teacher.get_layer(layer.name.replace("layer_0", "layer_2"))
        for ours, theirs in zip(layer.get_weights(), source.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_narrower_student_keeps_what_weighs_most():
    teacher = built(CONFIG)
    for layer in range(CONFIG.layers):
        for part in ("attention/query", "attention/key", "attention/value", "feed_forward/inner"):
            dense = teacher.get_layer(f"layer_{layer}/{part}")
            kernel, bias = dense.get_weights()
            kernel[LOWER] *= 0.1
            # The second head and the last numbers of the feed-forward part.
            kernel[:, : kernel.shape[1] // 2] *= 0.1
            dense.set_weights([kernel, bias])
    student = built(encoders.smaller(CONFIG, layers=3, width=0.5), seed=1)
    encoders.take_over(student, teacher, head_width=4)

    def weights(model, name):
        return model.get_layer(name).get_weights()

    kernel, bias = weights(teacher, "layer_1/attention/query")
    found = weights(student, "layer_1/attention/query")
    np.testing.assert_array_equal(found[0], kernel[UPPER][:, 4:])
    np.testing.assert_array_equal(found[1], bias[4:])
    kernel, bias = weights(teacher, "layer_1/attention/output")
    np.testing.assert_array_equal(
        weights(student, "layer_1/attention/output")[0], kernel[4:][:, UPPER]
    )
    np.testing.assert_array_equal(
        weights(student, "layer_2/feed_forward/outer")[0],
        weights(teacher, "layer_2/feed_forward/outer")[0][6:][:, UPPER],
    )
    for name in ("embeddings/words", "embeddings/positions"):
        np.testing.assert_array_equal(
            weights(student, name)[0], weights(teacher, name)[0][:, UPPER]
        )
    np.testing.assert_array_equal(
        weights(student, "logits")[0], weights(teacher, "logits")[0][UPPER]
    )
    pooler = weights(teacher, "pooler/dense")[0]
    np.testing.assert_array_equal(weights(student, "pooler/dense")[0], pooler[UPPER][:, UPPER])
    assert np.isfinite(student(IDS).numpy()).all()


def test_a_teacher_that_cannot_be_taken_over_is_refused():
    shallow = built(encoders.smaller(CONFIG, layers=1))
    with pytest.raises(ValueError, match=r"Received: 3 layers in the student, 1 in the teacher"):
        encoders.take_over(built(CONFIG), shallow, head_width=4)
    bare = encoders.build_encoder(CONFIG, length=LENGTH, mask_input=False)
    with pytest.raises(ValueError, match=r"Missing there: pooler/dense, logits"):
        encoders.take_over(shallow, bare, head_width=4)
