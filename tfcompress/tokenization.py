"""What a model reads of a text: so many ids of tokens, of one tokenizer.

Takes the place of `Preprocessing` where examples are texts. Knows lengths and padding; does not
know how a text becomes ids (`tokenizer` does). No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from tfcompress.preprocessing import Preprocessing

LENGTH_STEP = 8
"""What lengths of cut batches are multiples of, so that a processor's kernels meet few shapes."""


@dataclass(frozen=True)
class Tokenization:
    """What a model reads of a text: so many ids of tokens, of one tokenizer.

    Attributes:
      length: ids for each text, those of padding included.
      tokenizer_sha256: of the tokenizer's file.
      vocabulary: ids are below it.
      padding_id: fills a short text up.
      shorter: other lengths that a file takes, ascending and below `length`, so that a short text
        is not filled up to the whole of it.

    Raises:
      ValueError: a number out of its range.

    Example:
      >>> tokenization = Tokenization(length=3, tokenizer_sha256="0" * 64, vocabulary=9)
      >>> tokenization.apply(np.array([[2, 8, 0]], np.int32)).tolist()
      [[2, 8, 0]]
    """

    length: int
    tokenizer_sha256: str
    vocabulary: int
    padding_id: int = 0
    shorter: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_shorter(self.shorter, self.length, what="Tokenization.shorter")
        for name, least in (("length", 1), ("vocabulary", 1), ("padding_id", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(
                    f"Tokenization.{name} must be an integer of at least {least}. "
                    f"Received: {value!r}."
                )
        if self.padding_id >= self.vocabulary:
            raise ValueError(
                f"Tokenization.padding_id must be below the vocabulary's {self.vocabulary}. "
                f"Received: {self.padding_id}."
            )
        if type(self.tokenizer_sha256) is not str or len(self.tokenizer_sha256) != 64:
            raise ValueError(
                "Tokenization.tokenizer_sha256 must be 64 hexadecimal digits. "
                f"Received: {self.tokenizer_sha256!r}."
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """What the model takes for each text."""
        return (self.length,)

    @property
    def lengths(self) -> tuple[int, ...]:
        """All that a file takes, ascending."""
        return (*self.shorter, self.length)

    def shortest(self, token_ids: np.ndarray) -> np.ndarray:
        """For each text the shortest of `lengths` that leaves none of its tokens out.

        Args:
          token_ids: int32 [texts, length].

        Returns:
          int64 [texts].

        Example:
          >>> tokenization = Tokenization(4, "0" * 64, vocabulary=9, shorter=(2,))
          >>> tokenization.shortest(np.array([[2, 3, 0, 0], [2, 8, 3, 0]])).tolist()
          [2, 4]
        """
        needed = self.needed(token_ids)
        found: np.ndarray = np.asarray(self.lengths)[np.searchsorted(self.lengths, needed)]
        return found

    def needed(self, token_ids: np.ndarray) -> np.ndarray:
        """How many tokens each text has, those up to the last that is no padding; at least 1.

        Args:
          token_ids: int32 [texts, length].

        Returns:
          int64 [texts].
        """
        places = np.arange(1, token_ids.shape[1] + 1) * (token_ids != self.padding_id)
        found: np.ndarray = places.max(axis=1, initial=1)
        return found

    def cut_to_longest(self, token_ids: np.ndarray) -> np.ndarray:
        """A batch without the padding that all its texts have, to a multiple of `LENGTH_STEP`.

        Args:
          token_ids: int32 [texts, length], one text or more.

        Returns:
          int32 [texts, at most length].

        Example:
          >>> tokenization = Tokenization(length=12, tokenizer_sha256="0" * 64, vocabulary=9)
          >>> tokenization.cut_to_longest(np.array([[2, 8, 3, *[0] * 9]], np.int32)).tolist()
          [[2, 8, 3, 0, 0, 0, 0, 0]]
        """
        longest = int(self.needed(token_ids).max())
        return token_ids[:, : -(-longest // LENGTH_STEP) * LENGTH_STEP]

    def apply(self, token_ids: np.ndarray) -> np.ndarray:
        """Checks ids of tokens, which a model reads as they are.

        Args:
          token_ids: int32 [batch, length], see `Tokenizer.token_ids`, of one of `lengths`.

        Returns:
          the same.

        Raises:
          ValueError: another type or shape, or an id beyond the vocabulary.
        """
        fits = token_ids.ndim == 2 and token_ids.shape[1] in self.lengths
        if token_ids.dtype != np.int32 or not fits:
            raise ValueError(
                f"Ids of tokens must be int32 [batch, {' or '.join(map(str, self.lengths))}]. "
                f"Received: {token_ids.dtype} {list(token_ids.shape)}."
            )
        if token_ids.size and not 0 <= token_ids.min() <= token_ids.max() < self.vocabulary:
            raise ValueError(
                f"Ids of tokens must be from 0 to {self.vocabulary - 1}. "
                f"Received: {token_ids.min()} to {token_ids.max()}."
            )
        return token_ids

    def for_calibration(self, token_ids: np.ndarray) -> np.ndarray:
        """Texts to find the ranges of an integer file on, a half-filled one first.

        Of texts that all fill the length, what a mask adds to the scores of padding would be seen
        at 0 alone: an integer file would have no number for it.

        Args:
          token_ids: int32 [texts, length], one text or more.

        Returns:
          int32 [texts + 1, length]: before the texts a copy of the first one whose second half is
          padding.

        Example:
          >>> tokenization = Tokenization(length=4, tokenizer_sha256="0" * 64, vocabulary=9)
          >>> tokenization.for_calibration(np.array([[2, 8, 7, 3]], np.int32)).tolist()
          [[2, 8, 0, 0], [2, 8, 7, 3]]
        """
        half = self.apply(token_ids)[:1].copy()
        half[:, (self.length + 1) // 2 :] = self.padding_id
        return np.concatenate([half, token_ids])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Tokenization:
        """The inverse of `to_dict`."""
        names = ("length", "tokenizer_sha256", "vocabulary", "padding_id")
        # Records of one length may be older than the field.
        shorter = tuple(record.get("shorter", ()))
        return cls(**{name: record[name] for name in names}, shorter=shorter)


def require_shorter(shorter: object, length: object, *, what: str) -> None:
    """Refuses other lengths than ascending whole numbers below the greatest.

    Args:
      shorter: the lengths.
      length: the greatest.
      what: the field, for the message.

    Raises:
      ValueError: the message says what was received.
    """
    given = shorter if isinstance(shorter, tuple) else (None,)
    known = [each for each in given if type(each) is int and each > 0]
    limited = [each for each in known if type(length) is not int or each < length]
    if limited != list(given) or sorted(set(limited)) != limited:
        raise ValueError(
            f"{what} must be whole numbers from 1 up to below {length}, ascending, such as "
            f"(16, 32). Received: {shorter!r}."
        )


Preparation: TypeAlias = Preprocessing | Tokenization
"""What happens to an example before a model reads it: an image's pixels, or a text's tokens."""
