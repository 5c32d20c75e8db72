"""Which tokens a tokenizer keeps, counted by hand, and how it cuts texts up with them alone."""

import json

import numpy as np
import pytest

from tfcompress import vocabulary
from tfcompress.tokenizer import Tokenizer, TokenizerError
from tfcompress.vocabulary import TokenUsage

WORDS = (
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "films", "film", "##s", "##f", "f", "i"),
    *("##i", "##l", "##m", "l", "m", "s", "good", "z", "##z"),
)
PAIRS = {
    word: number
    for number, word in enumerate(
        ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "c", "Ġ", "ab", "abc", "bc", "Ġa"]
    )
}
MERGES = "#version: 0.2\na b\nab c\nb c\nĠ a\n"


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return Tokenizer.from_vocabulary(path)


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(PAIRS))
    (folder / "merges.txt").write_text(MERGES, encoding="utf-8")
    return Tokenizer.from_folder(folder)


def usage(tokenizer, texts, *, length=8):
    return TokenUsage.of(tokenizer, tokenizer.token_ids(texts, length=length).ids)


def names(tokenizer, ids):
    known = json.loads(tokenizer.content)["model"]["vocab"]
    by_id = {number: word for word, number in known.items()}
    return [by_id[number] for number in ids]


def cut_up(tokenizer, text, *, length=10):
    ids = tokenizer.token_ids([text], length=length).ids[0]
    return [name for name in names(tokenizer, ids) if name not in ("[PAD]", "<pad>")]


def test_words_keep_what_the_texts_have_and_their_characters(words):
    found = vocabulary.kept(usage(words, ["films", "film film"]), least_count=1)
    expected = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "films", "film", "##s", "##f", "f", "i"]
    assert names(words, found) == [*expected, "##i", "##l", "##m", "l", "m", "s"]
    # "films" stands once, and so does its s.
    found = vocabulary.kept(usage(words, ["films", "film film"]), least_count=2)
    expected = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "film", "##f", "f", "i", "##i", "##l", "##m"]
    assert names(words, found) == [*expected, "l", "m"]


def test_what_was_seen_is_cut_up_as_before_and_the_rest_into_pieces(words):
    seen = ["film", "good good", "s film"]
    kept = vocabulary.kept(usage(words, seen), least_count=1)
    trimmed = vocabulary.trimmed(words, kept)
    assert trimmed.vocabulary == len(kept)
    for text in seen:
        assert cut_up(trimmed, text) == cut_up(words, text)
        new, old = (each.token_ids([text], length=8).ids for each in (trimmed, words))
        np.testing.assert_array_equal(np.array(kept)[new], old)
    assert cut_up(words, "films") == ["[CLS]", "films", "[SEP]"]
    assert cut_up(trimmed, "films") == ["[CLS]", "film", "##s", "[SEP]"]
    # No text had this character.
    assert cut_up(trimmed, "z") == ["[CLS]", "[UNK]", "[SEP]"]


def test_pairs_keep_bytes_and_what_tokens_are_joined_of(pairs):
    found = vocabulary.kept(usage(pairs, ["abc"]), least_count=1)
    assert names(pairs, found) == ["<s>", "<pad>", "</s>", "a", "b", "c", "Ġ", "ab", "abc"]
    trimmed = vocabulary.trimmed(pairs, found)
    assert trimmed.padding_id == pairs.padding_id == 1
    assert cut_up(trimmed, "abc") == ["<s>", "abc", "</s>"]
    # "Ġa" and "bc" are gone.
    assert cut_up(pairs, "a bc") == ["<s>", "a", "Ġ", "bc", "</s>"]
    assert cut_up(trimmed, "a bc") == ["<s>", "a", "Ġ", "b", "c", "</s>"]
    assert json.loads(trimmed.content)["model"]["merges"] == [["a", "b"], ["ab", "c"]]


def test_the_ends_of_a_text_may_be_a_template(words):
    record = json.loads(words.content)
    record["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]}
            for name, number in (("[CLS]", 3), ("[SEP]", 4))
        },
    }
    record["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    whole = Tokenizer(json.dumps(record))
    trimmed = vocabulary.trimmed(whole, vocabulary.kept(usage(whole, ["film"]), least_count=1))
    assert trimmed.token_ids(["film"], length=4).ids.tolist() == [[2, 4, 3, 0]]


def test_what_cannot_be_trimmed_is_refused(words, pairs):
    with pytest.raises(ValueError, match=r"No token of a word stands 9 times .* stands 2 times"):
        vocabulary.kept(usage(words, ["film film"]), least_count=9)
    everything = TokenUsage(words, np.ones(len(WORDS), np.int64))
    with pytest.raises(ValueError, match="no token to take away: the texts have all 20 tokens"):
        vocabulary.kept(everything, least_count=1)
    with pytest.raises(ValueError, match=r"counts must be int64 \[20\]"):
        TokenUsage(words, np.ones(5, np.int64))
    with pytest.raises(TokenizerError, match=r"cannot do without \[UNK\]"):
        vocabulary.trimmed(words, [0, 3, 4, 6])
    record = json.loads(pairs.content)
    record["model"]["end_of_word_suffix"] = "</w>"
    with pytest.raises(TokenizerError, match=r"another way than RoBERTa's: it has end_of_word_s"):
        vocabulary.kept(usage(Tokenizer(json.dumps(record)), ["abc"]), least_count=1)
    record = json.loads(words.content)
    record["model"] = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": record["model"]["vocab"]}
    other = Tokenizer(json.dumps(record))
    with pytest.raises(
        TokenizerError, match=r"kind WordLevel. Tokens can be taken from: WordPiece"
    ):
        vocabulary.kept(usage(other, ["film"]), least_count=1)
