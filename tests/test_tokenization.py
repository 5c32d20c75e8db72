"""What a model reads of a text: lengths, records, and ids that do not fit."""

import json

import numpy as np
import pytest

from tfcompress import metadata
from tfcompress.tokenization import Tokenization


def test_a_text_goes_to_the_shortest_length_that_holds_it():
    tokenization = Tokenization(8, "0" * 64, vocabulary=9, shorter=(3, 5))
    assert tokenization.lengths == (3, 5, 8)
    ids = np.zeros([6, 8], np.int32)
    for text, tokens in zip(ids, (2, 3, 4, 5, 6, 8), strict=True):
        text[:tokens] = 7
    assert tokenization.shortest(ids).tolist() == [3, 3, 5, 5, 8, 8]
    assert tokenization.apply(ids[:, :5]).shape == (6, 5)
    with pytest.raises(ValueError, match=r"int32 \[batch, 3 or 5 or 8\]"):
        tokenization.apply(ids[:, :4])


@pytest.mark.parametrize("shorter", [(), (3, 5)])
def test_a_tokenization_travels_as_a_record(shorter):
    tokenization = Tokenization(6, "0" * 64, vocabulary=8, shorter=shorter)
    record = json.loads(json.dumps(tokenization.to_dict()))
    assert metadata.preprocessing_of(record, name="it") == tokenization
    del record["length"]
    with pytest.raises(ValueError, match=r"it holds no usable tokenization \(KeyError: 'length'"):
        metadata.preprocessing_of(record, name="it")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"length": 0}, "length must be an integer of at least 1"),
        ({"vocabulary": 2.5}, "vocabulary must be an integer"),
        ({"shorter": (4,)}, "from 1 up to below 4, ascending"),
        ({"padding_id": 9}, "padding_id must be below the vocabulary's 9"),
        ({"tokenizer_sha256": "abc"}, "64 hexadecimal digits"),
    ],
)
def test_records_out_of_range_are_refused(changed, message):
    record = {"length": 4, "tokenizer_sha256": "0" * 64, "vocabulary": 9, **changed}
    with pytest.raises(ValueError, match=message):
        Tokenization(**record)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros([2, 3], np.int64), r"int32 \[batch, 4\]. Received: int64 \[2, 3\]"),
        (np.full([1, 4], 9, np.int32), "from 0 to 8. Received: 9 to 9"),
        (np.full([1, 4], -1, np.int32), "from 0 to 8. Received: -1 to -1"),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        Tokenization(4, "0" * 64, vocabulary=9).apply(ids)
