"""What an encoder is: sizes in their ranges, and descriptions as they are published."""

import dataclasses

import pytest

from tfcompress import registry
from tfcompress.encoders import EncoderConfig, minilm_l6

SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
}
CONFIG = EncoderConfig(
    vocabulary=30, width=8, layers=2, heads=2, feed_forward=16, positions=12, token_types=2
)

# The description in the package of MiniLM-L6.
MINILM = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 384,
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
}


def described(**settings):
    return EncoderConfig.from_huggingface({"model_type": "bert", **SIZES, **settings})


def test_published_descriptions_are_read():
    assert EncoderConfig.from_huggingface(MINILM) == minilm_l6.CONFIG
    assert described() == CONFIG


def test_every_setting_reaches_its_field():
    settings = {
        "model_type": "roberta",
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-5,
        "pad_token_id": 4,
        "hidden_dropout_prob": 0.2,
        "attention_probs_dropout_prob": 0.3,
    }
    expected = dataclasses.replace(
        CONFIG,
        kind="roberta",
        activation="gelu_new",
        epsilon=1e-5,
        padding_id=4,
        dropout=0.2,
        attention_dropout=0.3,
    )
    assert described(**settings) == expected


def test_a_description_that_names_no_padding_has_that_of_its_kind():
    assert described().padding_id == 0
    assert described(model_type="roberta", pad_token_id=None).padding_id == 1


def test_positions_of_roberta_begin_after_the_padding():
    # Rows 0 and 1 stand for no token: 12 rows serve 10.
    assert dataclasses.replace(CONFIG, kind="roberta", padding_id=1).longest == 10
    assert dataclasses.replace(CONFIG, padding_id=1).longest == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "distilbert"}, r"model_type bert or roberta. Received: 'distilbert'"),
        ({"model_type": None}, r"Received: None"),
        ({"position_embedding_type": "relative_key"}, r"position_embedding_type='relative_key'"),
        ({"is_decoder": True}, r"is_decoder=True, which is not built here. Expected: False"),
        ({"add_cross_attention": True}, "add_cross_attention=True"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads="),
        ({"embedding_size": 4}, r"embedding_size=4, .* Expected: 8"),
        ({"hidden_act": ["gelu"]}, r"hidden_act must be a name. Received: \['gelu'\]"),
        ({"hidden_act": "swish"}, r"Unknown activation of an encoder: 'swish'. Known: gelu, gelu"),
        ({"vocab_size": "30"}, r"vocabulary must be an integer of at least 1. Received: '30'"),
        ({"num_hidden_layers": 0}, r"layers must be an integer of at least 1. Received: 0"),
        ({"hidden_size": 9}, r"width must be a multiple of heads. Received: 9 and 2"),
        ({"pad_token_id": 30}, r"padding_id must be below the vocabulary's 30. Received: 30"),
        ({"layer_norm_eps": 0}, r"epsilon must be in \(0, 1\). Received: 0"),
        ({"hidden_dropout_prob": 1.0}, r"EncoderConfig.dropout must be in \[0, 1\)"),
        ({"attention_probs_dropout_prob": None}, r"attention_dropout must be in"),
        (
            {"model_type": "roberta", "pad_token_id": 11},
            r"positions must be above padding_id \+ 1, 12, of a roberta encoder. Received: 12",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        described(**settings)


def test_missing_sizes_are_listed():
    given = {"model_type": "bert", **SIZES}
    del given["hidden_size"], given["type_vocab_size"]
    with pytest.raises(ValueError, match=r"bert encoder lacks hidden_size, type_vocab_size\."):
        EncoderConfig.from_huggingface(given)


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(registry.UnknownNameError, match=r"'albert'. Known: bert, roberta"):
        dataclasses.replace(CONFIG, kind="albert")
