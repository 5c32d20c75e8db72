"""Texts as ids of tokens: tokenizers of every published form, and those that are refused."""

import json

import numpy as np
import pytest

from tfcompress.tokenization import Tokenization
from tfcompress.tokenizer import Tokenizer, TokenizerError

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "film", "##s", "good", "Good")


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tokenizer(vocabulary):
    return Tokenizer.from_vocabulary(vocabulary)


def test_texts_are_cut_and_filled_up_to_the_length(tokenizer):
    found = tokenizer.token_ids(["Good films", "film", "", "good good film film"], length=5)
    assert found.ids.dtype == np.int32
    assert found.ids.tolist() == [
        [2, 6, 4, 5, 3],
        [2, 4, 3, 0, 0],
        [2, 3, 0, 0, 0],
        [2, 6, 6, 4, 3],
    ]
    assert found.cut == 1


def test_a_folder_says_whether_case_counts(vocabulary):
    settings = vocabulary.with_name("tokenizer_config.json")
    settings.write_text(json.dumps({"do_lower_case": False}))
    found = Tokenizer.from_folder(vocabulary.parent)
    assert found.token_ids(["Good"], length=3).ids.tolist() == [[2, 7, 3]]


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    again = Tokenizer.from_file(tokenizer.save(tmp_path))
    assert again.sha256 == tokenizer.sha256
    assert Tokenizer.from_folder(tmp_path).content == tokenizer.content


def test_a_tokenizer_describes_what_a_model_reads(tokenizer):
    found = tokenizer.tokenization(6, shorter=(4,))
    assert found == Tokenization(6, tokenizer.sha256, vocabulary=8, padding_id=0, shorter=(4,))


def test_robertas_pairs_of_files(tmp_path):
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "ab", "Ġ"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    found = Tokenizer.from_folder(tmp_path)
    assert (found.padding_id, found.vocabulary) == (1, 9)
    assert found.token_ids(["ab a"], length=7).ids.tolist() == [[0, 7, 8, 5, 2, 1, 1]]


def test_a_length_needs_room_for_a_token_of_the_text(tokenizer):
    with pytest.raises(ValueError, match=r"length must be above 2, .* Received: 2"):
        tokenizer.tokenization(2)


def test_what_is_no_text_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"Expected texts. Received: float nan"):
        tokenizer.token_ids(["film", float("nan")], length=4)
    with pytest.raises(ValueError, match="half of a pair of UTF-16"):
        tokenizer.token_ids(["film \ud800"], length=4)


@pytest.mark.parametrize("settings", ["[1]", '{"do_lower_case": "false"}'])
def test_settings_of_a_tokenizer_that_are_none_are_refused(tmp_path, settings):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nfilm\n")
    (tmp_path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(TokenizerError, match="true or false for do_lower_case"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"vocabulary": 7, "padding_id": 0}, "has 8 tokens, the model a table of 7: it belongs"),
        ({"vocabulary": 30_000, "padding_id": 0}, "a table of 30,000: it belongs to another"),
        ({"vocabulary": 8, "padding_id": 1}, "with token 0, the model takes token 1 for padding"),
    ],
)
def test_the_tokenizer_of_another_model_is_refused(tokenizer, model, message):
    tokenizer.require_fit(vocabulary=64, padding_id=0, what="a model with a round table")
    with pytest.raises(TokenizerError, match=message):
        tokenizer.require_fit(**model, what="the model")


def test_damaged_and_missing_files_are_named(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer.content[: len(tokenizer.content) // 2])
    with pytest.raises(TokenizerError, match=r"tokenizer.json is no tokenizer .* truncated"):
        Tokenizer.from_folder(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TokenizerError, match=r"empty holds no tokenizer. Expected tokenizer.json"):
        Tokenizer.from_folder(empty)
    (empty / "vocab.txt").write_text("film\ngood\n")
    with pytest.raises(TokenizerError, match="is no vocabulary of a BERT tokenizer"):
        Tokenizer.from_folder(empty)
    (empty / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TokenizerError, match="is no text in UTF-8"):
        Tokenizer.from_folder(empty)
