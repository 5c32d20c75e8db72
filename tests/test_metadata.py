"""The record of a file as bytes; what it must hold is tested where it is used."""

import pytest

from tfcompress import durable, metadata
from tfcompress.metadata import packed, unpacked

RECORD = {
    "format": "int8",
    "labels": [str(digit) for digit in range(10)],
    "output": "logits",
    "preprocessing": {
        "channel_order": "rgb",
        "image_shape": [28, 28, 1],
        "offset": [0.0],
        "scale": [1 / 255],
    },
    "stages": ["distill", "qat"],
    "tfcompress_version": "0.1.0",
}


@pytest.mark.parametrize(
    "record",
    [RECORD, {}, {"labels": ["Käse", "日本", "\x01"], "scale": [1e-30]}, {"a": "b" * 100_000}],
    ids=["usual", "empty", "unusual", "long"],
)
def test_a_record_comes_back(record):
    assert unpacked(packed(record)) == record


def test_a_usual_record_takes_a_few_bytes():
    assert len(packed(RECORD)) <= 12
    other = RECORD | {"labels": ["Ameisenbär", "Beutelwolf"], "format": "float32"}
    # What no dictionary knows: the twenty letters of the labels, about as many bytes.
    assert len(packed(other)) < 60


def test_plain_text_is_read_too():
    assert unpacked(b'{"a": 1}') == {"a": 1}


def test_the_dictionary_is_what_earlier_files_were_packed_with():
    checksum = durable.sha256(metadata._DICTIONARY)
    assert checksum == "696a24e4d61c422a1d751a3c679392fc25681b636e3275608624b2254e253f3f"
    assert unpacked(bytes.fromhex("011bc15e0700")) == RECORD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (packed(RECORD)[:-1], "truncated"),
        (b"\x01", "truncated"),
        (b"\x01\xff\xff\xff", "cannot be unpacked"),
        (b"\x02abc", "Expecting value"),
        (b"{", "Expecting property name"),
    ],
    ids=["cut", "empty", "damaged", "unknown", "text"],
)
def test_damaged_content_is_refused(content, said):
    with pytest.raises(ValueError, match=said):
        unpacked(content)


def test_a_record_that_json_cannot_hold_is_refused():
    with pytest.raises(TypeError):
        packed({"a": {1, 2}})
    with pytest.raises(ValueError, match="JSON"):
        packed({"a": float("nan")})
