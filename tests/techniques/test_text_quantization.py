"""Text encoders in integers: kernels and tables in 8 bits, what lies between them in float."""

import dataclasses

import numpy as np
import pytest

from tfcompress import export
from tfcompress.techniques import ptq, qat
from tfcompress.techniques.ptq import PTQConfig
from tfcompress.techniques.qat import QATConfig
from tfcompress.tokenization import Tokenization

LENGTH, WORDS = 8, 20
CHEAP = {"rounding": "nearest", "ranges": "minmax"}


@pytest.fixture(scope="module")
def encoder():
    """A random BERT of one layer with a head on the mean over its tokens."""
    from tfcompress._keras import keras
    from tfcompress.backbones._texts import _mean
    from tfcompress.encoders import EncoderConfig, build_encoder

    config = EncoderConfig(
        vocabulary=WORDS, width=16, layers=1, heads=2, feed_forward=32, positions=LENGTH
    )
    encoder = build_encoder(config, length=LENGTH, masked_score=-64.0, mask_input=False)
    outputs = keras.layers.Dense(3, name="logits")(_mean(encoder))
    model = keras.Model(encoder.input, outputs)
    generator = np.random.default_rng(0)
    drawn = [w + generator.normal(0, 0.3, w.shape) for w in model.get_weights()]
    model.set_weights([w.astype(np.float32) for w in drawn])
    return model


@pytest.fixture(scope="module")
def token_ids():
    """Texts of one to eight tokens."""
    generator = np.random.default_rng(1)
    found = generator.integers(1, WORDS, [64, LENGTH]).astype(np.int32)
    for row, length in zip(found, generator.integers(1, LENGTH + 1, len(found)), strict=True):
        row[length:] = 0
    return found


@pytest.fixture(scope="module")
def quantized(encoder, token_ids):
    """The encoder with integer kernels, and its file."""
    model = ptq.quantize(encoder, PTQConfig(calibration=token_ids, **CHEAP))
    return model, export.convert(model, "int8")


def test_what_multiplies_by_no_weights_stays_in_float(encoder):
    skipped = ptq.skipped(encoder, PTQConfig())
    assert set(skipped) >= {
        "embeddings/normalization",
        "layer_0/attention/scores",
        "layer_0/attention/probabilities",
        "layer_0/attention/sum",
    }
    kernels = ("query", "key", "value", "output")
    assert not set(skipped) & {f"layer_0/attention/{name}" for name in kernels}
    assert "embeddings/words" not in skipped
    assert all("multiplies by no weights" in why for why in skipped.values())


def test_the_file_computes_what_the_model_does(quantized, encoder, token_ids):
    model, artifact = quantized
    found, expected = artifact.run(token_ids), export.inference(model)(token_ids)
    step = artifact.session().output_details.scale
    assert np.abs(found - expected).max() <= 2.01 * step
    truth = export.inference(encoder)(token_ids)
    assert np.mean((expected - truth) ** 2) < 0.01 * truth.var()


def test_every_kernel_and_table_of_the_file_is_of_8_bits(quantized):
    _, artifact = quantized
    assert {weight.values.dtype for weight in artifact.weights().values()} == {np.dtype(np.int8)}
    names = [operator.name for operator in artifact.operators if operator.integer]
    # Of the layer six and the head.
    assert names.count("CONV_2D") + names.count("FULLY_CONNECTED") == 7
    assert names.count("GATHER") == 2
    assert not {"BATCH_MATMUL", "GELU", "SOFTMAX"} & set(names)


def test_what_stays_in_float_is_computed_so_by_the_file(quantized):
    _, artifact = quantized
    floats = [operator.name for operator in artifact.operators if not operator.integer]
    # Scores, what is attended to, and the mean over the tokens.
    assert floats.count("BATCH_MATMUL") == 3
    assert floats.count("SOFTMAX") == 2
    assert floats.count("RSQRT") == 3


def test_a_residual_sum_takes_what_is_not_rounded(quantized):
    """The normalized tensor is rounded for the Dense layers that take it, and for them alone."""
    model, _ = quantized
    taken = model.get_layer("layer_0/attention/sum").input[0]
    assert type(taken._keras_history.layer).__name__ in ("LayerNormalization", "Dropout")


def test_a_row_that_no_text_has_is_within_the_tables_range(encoder, token_ids):
    without = np.where(token_ids == WORDS - 1, 1, token_ids)
    model = ptq.quantize(encoder, PTQConfig(calibration=without, **CHEAP))
    rows = np.full([1, LENGTH], WORDS - 1, np.int32)
    table = model.get_layer("quant_embeddings/words")
    step = np.abs(table.layer.embeddings.numpy()).max() / 127
    error = np.abs(table(rows, training=False) - table.layer.embeddings.numpy()[WORDS - 1])
    assert error.max() <= step / 2 * 1.001


def test_all_operators_may_be_integers(encoder, token_ids):
    config = PTQConfig(calibration=token_ids, operators="all", **CHEAP)
    assert set(ptq.skipped(encoder, config)) == {"mask/bias"}
    artifact = export.convert(ptq.quantize(encoder, config), "int8")
    floats = {operator.name for operator in artifact.operators if not operator.integer}
    assert floats <= {"CAST", "MUL", "ADD", "RESHAPE", "QUANTIZE", "SOFTMAX"}


def test_a_scale_of_queries_is_one_of_their_weights(encoder, token_ids):
    model = qat.wrap(encoder, QATConfig(), steps_per_epoch=1, epochs=1)
    assert "layer_0/attention/query_scaled" not in [layer.name for layer in model.layers]
    kernel = model.get_layer("quant_layer_0/attention/query").kernel.numpy()
    before = encoder.get_layer("layer_0/attention/query").kernel.numpy()
    np.testing.assert_allclose(kernel[0, 0], before / np.sqrt(8), rtol=1e-6)


def test_training_keeps_file_and_model_together(encoder, token_ids):
    config = QATConfig(calibration=token_ids)
    model = qat.wrap(encoder, config, steps_per_epoch=2, epochs=1)
    before = model.get_layer("quant_embeddings/words").layer.embeddings.numpy()
    model.compile("adam", "mse")
    model.fit(token_ids, np.ones([64, 3], np.float32), verbose=0)
    assert np.abs(model.get_layer("quant_embeddings/words").layer.embeddings - before).max() > 0
    model = qat.strip(model)
    qat.verify(model, config)
    artifact = export.convert(model, "int8")
    difference = artifact.run(token_ids) - export.inference(model)(token_ids)
    assert np.abs(difference).max() <= 2.01 * artifact.session().output_details.scale
    qat.verify_artifact(artifact, qat.report(encoder, model, config), config)


def test_calibration_is_of_ids_of_tokens(encoder, token_ids):
    config = PTQConfig(calibration=token_ids.astype(np.int64))
    with pytest.raises(ValueError, match=r"must be int32, .* int64"):
        ptq.quantize(encoder, config)
    with pytest.raises(ValueError, match=r"Unknown operators of ptq: 'some'. Known: auto, all"):
        dataclasses.replace(config, operators="some")


# Where every tensor is rounded, one that lies on a border of two integers tips others, too.
@pytest.mark.parametrize(("operators", "steps"), [("kernels", 2.01), ("all", 4.01)])
def test_a_file_of_several_lengths_computes_what_the_model_does(
    encoder, token_ids, operators, steps
):
    config = PTQConfig(calibration=token_ids, operators=operators, **CHEAP)
    model = ptq.quantize(encoder, config)
    lengths = Tokenization(LENGTH, "0" * 64, vocabulary=WORDS, shorter=(4,))
    labels = ["a", "b", "c"]
    artifact = export.convert(model, "int8", metadata={"preprocessing": lengths, "labels": labels})
    short = np.where(np.arange(LENGTH) < 4, token_ids, 0)
    step = artifact.session().output_details.scale
    for given in (token_ids, short, short[:, :4]):
        difference = artifact.run(given) - export.inference(model)(given)
        assert np.abs(difference).max() <= steps * step
    assert np.abs(artifact.run(short) - artifact.run(short[:, :4])).max() <= steps * step


def test_few_weights_of_few_values_keep_them(encoder, token_ids):
    """After pruning, a small kernel may have hardly more weights than it has values."""
    from tfcompress._keras import keras

    model = keras.models.clone_model(encoder)
    model.set_weights(encoder.get_weights())
    head = model.get_layer("logits")
    kernel, bias = head.get_weights()
    kernel[:] = 0
    # Nine weights, of seven values.
    kernel.flat[: 9 * 5 : 5] = [1, 2, 3, 4, 5, 6, 7, 7, 6]
    head.set_weights([kernel, bias])
    wrapped = qat.wrap(model, QATConfig(calibration=token_ids), steps_per_epoch=1, epochs=1)
    kept = wrapped.get_layer("quant_logits").kernel.numpy()
    assert np.unique(kept[kept != 0]).size == 7
