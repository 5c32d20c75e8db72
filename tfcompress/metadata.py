"""What an exported file says about itself: preprocessing and labels checked, the record as bytes.

Used where a file is written and where it is read. Does not know where the record stands in a file.
No TensorFlow here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfcompress.preprocessing import Preprocessing
from tfcompress.tokenization import Preparation, Tokenization

NAME = "tfcompress"
"""Under which a file's metadata hold the record."""

# First byte of a packed record, which no JSON text begins with; another one for another dictionary.
_PACKED = b"\x01"
# What records hold, the likeliest last, where a reference to it is shortest. Files that were packed
# with it can be read with this very text only: it must not change.
_DICTIONARY = (
    b'"airplane","automobile","bird","cat","deer","dog","frog","horse","ship","truck"'
    b'"T-shirt/top","Trouser","Pullover","Dress","Coat","Sandal","Shirt","Sneaker","Bag"'
    b'"Ankle boot""probabilities""bgr"[1.0][0.00784313725490196][-1.0]'
    b'[96,96,3],[224,224,3],[32,32,3],"float16""dynamic""int16x8""float32""cluster""prune"'
    b'{"format":"int8","labels":["0","1","2","3","4","5","6","7","8","9"],"output":"logits",'
    b'"preprocessing":{"channel_order":"rgb","image_shape":[28,28,1],"offset":[0.0],'
    b'"scale":[0.00392156862745098]},"stages":["distill","qat"],"tfcompress_version":"0.1.0"}'
)
_MOST_UNPACKED_BYTES = 64 * 1024 * 1024


def packed(record: Mapping[str, Any]) -> bytes:
    """A record in as few bytes as it goes: deflated with a dictionary of what records usually hold.

    Args:
      record: JSON-ready.

    Returns:
      a byte that says how it is packed, then the deflated JSON text.

    Raises:
      TypeError: a value that JSON cannot hold.

    Example:
      >>> record = {"labels": ["0", "1", "2"], "output": "logits"}
      >>> len(packed(record)) < 30, unpacked(packed(record)) == record
      (True, True)
    """
    text = json.dumps(
        dict(record), sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )
    compressor = zlib.compressobj(
        9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY
    )
    return _PACKED + compressor.compress(text.encode("utf-8")) + compressor.flush()


def unpacked(content: bytes) -> Any:
    """The inverse of `packed`; takes plain JSON text too.

    Raises:
      ValueError: the content is neither, or a damaged one.
    """
    if not content.startswith(_PACKED):
        return json.loads(content)
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS, _DICTIONARY)
    try:
        text = decompressor.decompress(content[len(_PACKED) :], _MOST_UNPACKED_BYTES)
    except zlib.error as error:
        raise ValueError(f"a packed record that cannot be unpacked ({error})") from error
    if not decompressor.eof:
        raise ValueError("a packed record that is truncated or too long")
    return json.loads(text)


def preprocessing_of(record: Any, *, name: str) -> Preparation:
    """The preprocessing of images, or the tokenization of texts, that a record holds, checked.

    Args:
      record: what stands under `preprocessing`.
      name: what the message calls the record.

    Raises:
      ValueError: a key is missing, or a value has another type or is not finite.
    """
    if isinstance(record, Mapping) and "tokenizer_sha256" in record:
        return _tokenization_of(record, name=name)
    try:
        found = Preprocessing.from_dict(record)
        sizes_fit = all(type(size) is int for size in found.image_shape)
        numbers_fit = bool(np.isfinite([*found.scale, *found.offset]).all())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        sizes_fit, numbers_fit, reason = False, False, f" ({type(error).__name__}: {error})"
    else:
        reason = ""
    if not (sizes_fit and numbers_fit):
        raise ValueError(
            f"{name} holds no usable preprocessing{reason}. Expected image_shape [height, width, "
            "channels], scale and offset as lists of finite numbers, and channel_order rgb or bgr. "
            f"Received: {record!r}."
        )
    return found


def _tokenization_of(record: Mapping[str, Any], *, name: str) -> Tokenization:
    try:
        return Tokenization.from_dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} holds no usable tokenization ({type(error).__name__}: {error}). Expected "
            "length, tokenizer_sha256, vocabulary and padding_id. "
            f"Received: {dict(record)!r}."
        ) from error


def labels_of(record: Any, *, name: str) -> tuple[str, ...]:
    """The label names that a metadata record holds, checked.

    Args:
      record: what stands under `labels`.
      name: what the message calls the record.

    Raises:
      ValueError: no list of strings, or a name that stands there twice.
    """
    return _names(record, name=name, key="labels", each="class", all_of="classes")


def targets_of(record: Any, *, name: str) -> tuple[str, ...]:
    """The names of the values that a metadata record holds, checked.

    Args:
      record: what stands under `targets`.
      name: what the message calls the record.

    Raises:
      ValueError: no list of strings, or a name that stands there twice.
    """
    return _names(record, name=name, key="targets", each="value", all_of="values")


def _names(record: Any, *, name: str, key: str, each: str, all_of: str) -> tuple[str, ...]:
    if not isinstance(record, list | tuple) or not all(isinstance(x, str) for x in record):
        order = "in label order" if key == "labels" else "in the order of the outputs"
        raise ValueError(
            f"{name} holds no usable {key}. Expected a list of names {order}. Received: {record!r}."
        )
    if len(set(record)) < len(record):
        repeated = sorted({label for label in record if record.count(label) > 1})
        raise ValueError(
            f"{name} has {key} that name two {all_of} alike: {', '.join(map(repr, repeated))}. "
            f"Give each {each} a name of its own."
        )
    return tuple(map(str, record))
