"""Vocabulary trimming: rows and outputs by hand, and what stands in the file."""

import json

import numpy as np
import pytest

from tfcompress import backbones, compose, export, recipe, vocabulary
from tfcompress._keras import keras
from tfcompress.backbones import TextConfig
from tfcompress.goals import Classes
from tfcompress.techniques import VerificationError, factorize, trim_vocabulary
from tfcompress.techniques.trim_vocabulary import VocabularyTrimmingConfig
from tfcompress.vocabulary import TokenUsage

TEXTS = ["a good film", "the plot is bad", "a dull plot", "the film was good"]
LENGTH = 6


@pytest.fixture(scope="module")
def built(tiny_encoder):
    source = backbones.opened(TextConfig(f"encoder:{tiny_encoder}", sequence_length=LENGTH))
    goal = Classes(("down", "up"))
    return source, source.build_model(goal=goal, image_shape=(), seed=0, keep_head=False)


@pytest.fixture(scope="module")
def config(built):
    usage = TokenUsage.of(built[0].tokenizer, built[0].tokenize(TEXTS).ids)
    return VocabularyTrimmingConfig(usage=usage)


@pytest.fixture(scope="module")
def trimmed(built, config):
    return wrapped(built[1], config)


def wrapped(model, config):
    return trim_vocabulary.wrap(model, config, steps_per_epoch=1, epochs=1)


def ids(tokenizer):
    return tokenizer.token_ids(TEXTS, length=LENGTH).ids


def test_outputs_are_those_of_the_whole_model(built, config, trimmed):
    source, model = built
    tokenizer = trim_vocabulary.tokenizer(config)
    # Of 20 words: 4 special ones and good, bad, dull, a, the, film, plot, is, was.
    assert tokenizer.vocabulary == 13
    assert trimmed.get_layer("embeddings/words").input_dim == 13
    outputs = [trimmed(ids(tokenizer)).numpy(), model(ids(source.tokenizer)).numpy()]
    np.testing.assert_array_equal(*outputs)


def test_positions_beyond_the_length_are_gone(built, trimmed):
    assert built[1].get_layer("embeddings/positions").input_dim == 16
    assert trimmed.get_layer("embeddings/positions").input_dim == LENGTH


def test_positions_that_are_counted_from_padding_keep_what_is_below(config):
    from tfcompress.graph import _layers

    tokens = keras.Input([LENGTH], dtype="int32")
    places = _layers.PositionIds(1)(tokens)
    parts = [
        keras.layers.Embedding(20, 4, name="words")(tokens),
        keras.layers.Embedding(16, 4, name="positions")(places),
    ]
    model = keras.Model(tokens, keras.layers.Add()(parts))
    # Row 0, row 1 for padding, rows 2 to 7 for six tokens.
    assert wrapped(model, config).get_layer("positions").input_dim == 8


def test_every_layer_is_reported_and_counted(built, config, trimmed):
    model = built[1]
    report = trim_vocabulary.report(model, trimmed, config)
    treated = {layer.name: layer for layer in report.layers if layer.treated}
    assert {name: layer.detail for name, layer in treated.items()} == {
        "embeddings/words": "13 of 20 tokens",
        "embeddings/positions": "6 of 16 positions",
    }
    assert treated["embeddings/words"].kernel_parameters == 13 * 8
    assert {layer.name: layer.reason for layer in report.layers if not layer.treated} == (
        trim_vocabulary.skipped(model, config)
    )
    trim_vocabulary.verify(trimmed, config, before=model)
    with pytest.raises(VerificationError, match="embeddings/words, embeddings/positions has no"):
        trim_vocabulary.verify(model, config, before=model)
    with pytest.raises(ValueError, match="needs the model that wrap was given"):
        trim_vocabulary.verify(trimmed, config)


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_the_rows_are_counted_in_the_file(built, config, trimmed, format):
    source, model = built
    report = trim_vocabulary.report(model, trimmed, config)
    tokenizer = trim_vocabulary.tokenizer(config)
    ready = tokenizer.tokenization(LENGTH).for_calibration(ids(tokenizer))
    artifact = export.convert(trimmed, format, calibration=ready)
    trim_vocabulary.verify_artifact(artifact, report, config)
    if format == "float32":
        # A later stage may make the table narrower.
        narrow = factorize.FactorizationConfig(rank=3, of="parameters", skip="layer_*")
        narrower = factorize.wrap(trimmed, narrow, steps_per_epoch=1, epochs=1)
        artifact = export.convert(narrower, format)
        trim_vocabulary.verify_artifact(artifact, report, config)
    whole = export.convert(
        model, format, calibration=source.preprocessing(()).for_calibration(ids(source.tokenizer))
    )
    with pytest.raises(
        VerificationError,
        match="no table with the rows of the layer embeddings/words, 13 of 20 tokens",
    ):
        trim_vocabulary.verify_artifact(whole, report, config)


def test_what_cannot_be_trimmed_is_refused(built, config, quadrants, trimmed):
    with pytest.raises(ValueError, match=r"can treat no layer .* reads no ids of tokens"):
        wrapped(quadrants.model, config)
    with pytest.raises(ValueError, match=r"needs to know which tokens the texts have"):
        wrapped(built[1], VocabularyTrimmingConfig())
    with pytest.raises(ValueError, match=r"has 13 rows, .* 20 tokens: it belongs to another"):
        wrapped(trimmed, config)
    with pytest.raises(ValueError, match=r"least_count must be at least 1. Received: 0"):
        VocabularyTrimmingConfig(least_count=0)


def test_the_tokenizer_is_a_smaller_file(built, config):
    found = trim_vocabulary.tokenizer(config)
    assert len(found.content) < len(built[0].tokenizer.content)
    assert len(json.loads(found.content)["model"]["vocab"]) == found.vocabulary
    assert vocabulary.kept(config.usage, least_count=1) == (*range(5), 7, 9, 10, 11, 12, 13, 14, 15)


def test_a_teacher_reads_what_its_student_reads(built, config):
    stages = compose.plan(recipe.parse("distill+trim_vocabulary+prune")).stages
    given = {"usage": config.usage}
    teacher = compose.teacher(stages, built[1], supplied=given)
    seen = ids(compose.tokenizer(stages, supplied=given))
    expected = built[1](ids(built[0].tokenizer)).numpy()
    np.testing.assert_array_equal(teacher(seen).numpy(), expected)
    assert compose.teacher(stages[:1], built[1], supplied=given) is built[1]
    assert compose.tokenizer(stages[:1], supplied=given) is None
