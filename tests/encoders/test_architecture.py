"""Encoders as models: flat, of plain layers, with names that stay, trained, saved and exported."""

import dataclasses

import numpy as np
import pytest

import tfcompress
from tfcompress import encoders, export
from tfcompress._keras import keras, tf
from tfcompress.encoders import EncoderConfig
from tfcompress.graph import keras3
from tfcompress.graph.normal_form import is_normal, normalize

CONFIG = EncoderConfig(
    vocabulary=30, width=8, layers=2, heads=2, feed_forward=12, positions=18, padding_id=1
)
ROBERTA = dataclasses.replace(CONFIG, kind="roberta", token_types=1, epsilon=1e-5)
LENGTH = 16
DENSE = [
    f"layer_{layer}/{part}"
    for layer in (0, 1)
    for part in (
        "attention/query",
        "attention/key",
        "attention/value",
        "attention/output",
        "feed_forward/inner",
        "feed_forward/outer",
    )
]


def build(config=CONFIG, *, length=LENGTH, **settings):
    """With weights that are not near zero."""
    keras.utils.set_random_seed(0)
    model = encoders.build_encoder(config, length=length, **settings)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign_add(generator.normal(0, 0.3, weight.shape))
    return model


def sentences(model, *, count=3):
    generator = np.random.default_rng(1)
    shape = [count, model.input_shape[0][1]]
    return {
        "token_ids": generator.integers(0, 30, shape).astype(np.int32),
        "mask": (generator.random(shape) > 0.3).astype(np.int32),
    }


@pytest.fixture(scope="module")
def bert():
    return build()


def test_the_layers_and_their_names():
    model = build(pooler=True, token_types=True)
    assert model.input_names == ["token_ids", "mask", "token_types"]
    assert {tensor.dtype for tensor in model.inputs} == {tf.int32}
    assert model.output_shape == (None, 8)
    dense = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert set(dense) == {*DENSE, "pooler/dense"}
    kinds = {type(layer).__name__ for layer in model.layers} - {"Dense", "InputLayer"}
    assert kinds == {
        "Activation",
        "Add",
        "Dropout",
        "Embedding",
        "LayerNormalization",
        "MatMul",
        "Permute",
        "PositionIds",
        "Rescaling",
        "Reshape",
        "Slice",
        "Softmax",
    }


def test_sizes_are_those_of_bert():
    # Tables: (30 + 18) 8. A layer: 4 (8 8 + 8) + 2 8 12 + 12 + 8, and two normalizations of 16.
    layer = 4 * 72 + 2 * 96 + 20 + 32
    assert build().count_params() == 48 * 8 + 16 + 2 * layer
    # With token types 2 rows more; the pooler is one more matrix.
    larger = build(token_types=True, pooler=True)
    assert larger.count_params() == 50 * 8 + 16 + 2 * layer + 72


def test_hidden_states_and_attention_are_had_by_name(bert):
    names = (*encoders.hidden_state_names(CONFIG), *encoders.attention_names(CONFIG))
    assert names[2] == "layer_1/feed_forward/normalization"
    assert names[-1] == "layer_1/attention/probabilities"
    inputs = sentences(bert)
    *hidden, first, second = encoders.with_outputs(bert, names)(inputs)
    assert [tuple(state.shape) for state in hidden] == [(3, LENGTH, 8)] * 3
    np.testing.assert_array_equal(hidden[-1], bert(inputs))
    masked = inputs["mask"][:, None, None, :] == 0
    for attention in (first.numpy(), second.numpy()):
        assert attention.shape == (3, 2, LENGTH, LENGTH)
        np.testing.assert_allclose(attention.sum(-1), 1.0, rtol=1e-5)
        assert np.where(masked, attention, 0).max() == 0


def test_an_unknown_layer_is_refused(bert):
    with pytest.raises(ValueError, match=r"'bert'. Received: layer_9. Known: token_ids, "):
        encoders.with_outputs(bert, ["layer_9", "layer_0/attention/query"])
    with pytest.raises(ValueError, match="Received: none"):
        encoders.with_outputs(bert, [])


def test_masked_tokens_change_nothing(bert):
    inputs = sentences(bert)
    other = {**inputs, "token_ids": np.where(inputs["mask"] == 1, inputs["token_ids"], 29)}
    kept = inputs["mask"][..., None] == 1
    first, second = (np.where(kept, bert(given), 0) for given in (inputs, other))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_smaller_masked_score_masks_all_the_same(bert):
    inputs = sentences(bert)
    other = build(masked_score=-64)
    np.testing.assert_allclose(other(inputs), bert(inputs), atol=1e-5)
    bias = encoders.with_outputs(other, ["mask/bias"])(inputs).numpy()
    assert set(bias.ravel()) == {-64.0, 0.0}
    with pytest.raises(ValueError, match=r"masked_score must be below 0. Received: 64"):
        build(masked_score=64)


@pytest.mark.parametrize("config", [CONFIG, ROBERTA], ids=lambda config: config.kind)
def test_positions_tell_equal_tokens_apart(config):
    model = build(config, length=4)
    hidden = model({"token_ids": np.full([1, 4], 7), "mask": np.ones([1, 4])}).numpy()[0]
    assert np.abs(np.diff(hidden, axis=0)).max(axis=1).min() > 1e-2


@pytest.mark.parametrize(
    ("config", "length"), [(CONFIG, 0), (CONFIG, 19), (ROBERTA, 17)], ids=lambda v: str(v)[:9]
)
def test_a_length_beyond_the_table_of_positions_is_refused(config, length):
    match = rf"from 1 to {config.longest} tokens .* 18 positions. Received: {length}"
    with pytest.raises(ValueError, match=match):
        encoders.build_encoder(config, length=length)


def test_models_of_two_lengths_share_weights(bert):
    short = build(length=5)
    short.set_weights(bert.get_weights())
    inputs = {name: values[:, :5] for name, values in sentences(bert).items()}
    padded = {name: np.pad(values, [(0, 0), (0, LENGTH - 5)]) for name, values in inputs.items()}
    np.testing.assert_allclose(short(inputs), bert(padded)[:, :5], atol=1e-5)


def test_dropout_is_in_training_alone_and_only_where_asked_for(bert):
    inputs = sentences(bert)
    np.testing.assert_array_equal(bert(inputs), bert(inputs))
    assert np.abs(bert(inputs, training=True) - bert(inputs)).max() > 0.1
    plain = build(dataclasses.replace(CONFIG, dropout=0.0, attention_dropout=0.0))
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in plain.layers)
    np.testing.assert_array_equal(plain(inputs), bert(inputs))


def test_every_weight_is_trained():
    # But for the keys' biases, which add the same to all scores of a query.
    model = build(dataclasses.replace(CONFIG, dropout=0.0, attention_dropout=0.0), pooler=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(sentences(model)) ** 2)
    gradients = tape.gradient(loss, model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        largest = float(tf.reduce_max(tf.abs(tf.convert_to_tensor(gradient))))
        assert largest > 1e-4 or weight.name.endswith("key/bias:0"), weight.name


@pytest.mark.parametrize("config", [CONFIG, ROBERTA], ids=lambda config: config.kind)
def test_it_is_in_normal_form(config):
    model = build(config, pooler=True)
    assert is_normal(model)
    normal = normalize(model)
    assert [layer.name for layer in normal.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(normal(sentences(model)), model(sentences(model)))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_it_is_saved_and_loaded(bert, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    bert.save(path)
    loaded = tfcompress.load_model(path)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in bert.layers]
    np.testing.assert_array_equal(loaded(sentences(bert)), bert(sentences(bert)))


@pytest.mark.parametrize("config", [CONFIG, ROBERTA], ids=lambda config: config.kind)
def test_it_becomes_a_model_of_keras_3(config):
    model = build(config)
    inputs = sentences(model)
    again = keras3.to_keras3(model)([inputs["token_ids"], inputs["mask"]])
    np.testing.assert_allclose(np.asarray(again), model(inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("technique", "treated"),
    [
        ("prune(0.5)", {*DENSE, "pooler/dense"}),
        ("cluster(16)", {*DENSE, "pooler/dense"}),
        # With more energy most ranks of such small matrices would save nothing.
        ("factorize(0.3)", {*DENSE, "pooler/dense"}),
    ],
)
def test_techniques_treat_every_dense_layer(technique, treated):
    coverage = tfcompress.coverage(build(pooler=True), techniques=[technique])
    assert {layer.name for layer in coverage.layers if not layer.skipped} == treated


@pytest.mark.parametrize("technique", ["prune", "cluster"])
def test_layers_are_left_out_by_their_names_and_patterns(technique):
    coverage = tfcompress.coverage(
        build(), techniques=[f"{technique}(skip=layer_0/attention/*|layer_*/feed_forward/inner)"]
    )
    treated = {layer.name for layer in coverage.layers if not layer.skipped}
    left = {"layer_0/feed_forward/outer", "layer_1/feed_forward/outer"}
    assert treated == left | {name for name in DENSE if name.startswith("layer_1/attention")}


def test_quantization_treats_dense_layers_and_tables():
    """What multiplies by no weights stays in float."""
    coverage = tfcompress.coverage(build(), techniques=["qat"])
    treated = {layer.name for layer in coverage.layers if not layer.skipped}
    assert treated == {*DENSE, "embeddings/words", "embeddings/positions"}


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("config", [CONFIG, ROBERTA], ids=lambda config: config.kind)
def test_a_file_of_it_gives_the_same(config, activation):
    model = build(dataclasses.replace(config, activation=activation))
    inputs = sentences(model)
    outputs, operators = run_as_file(model, inputs)
    # Sums in another order; the outputs are of the size of 3.
    np.testing.assert_allclose(outputs, model(inputs), atol=1e-5)
    counted = {name: operators.count(name) for name in set(operators)}
    # Of the two layers: six Dense each, two products each.
    assert counted["FULLY_CONNECTED"] == 12
    assert counted["BATCH_MATMUL"] == 4
    assert counted["SOFTMAX"] == 2
    assert counted.get("GELU", 0) == (0 if activation == "relu" else 2)
    assert ("CUMSUM" in counted) == (config.kind == "roberta")
    assert not [name for name in counted if name.startswith(("Flex", "CUSTOM"))]


def run_as_file(model, inputs):
    """Converts a model of several inputs as `export.convert` does one of a single input."""
    from ai_edge_litert.interpreter import Interpreter

    batch = len(inputs["mask"])
    specs = [tf.TensorSpec([batch, LENGTH], tf.int32, name=name) for name in model.input_names]
    call = tf.function(lambda *tensors: model(list(tensors), training=False))
    owner = tf.Module()
    owner.weights = model.weights
    concrete = call.get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], owner)
    interpreter = Interpreter(model_content=export._run_converter(converter, "float32"))
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        (name,) = (n for n in model.input_names if n in detail["name"])
        interpreter.set_tensor(detail["index"], inputs[name])
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    operators = [node["op_name"] for node in interpreter._get_ops_details()]
    return interpreter.get_tensor(output["index"]), operators
