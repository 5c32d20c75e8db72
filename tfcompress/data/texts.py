"""Data sets of texts before a model's tokenizer has seen them, and what it makes of them.

Knows raw texts and how they become splits of token ids. Does not know where texts come from, nor
any tokenizer: that comes as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.data.dataset import Published, Split
from tfcompress.tokenizer import TokenIds

Tokenize = Callable[[Sequence[str]], TokenIds]
"""Texts to the ids of tokens that a model reads."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of one part of a data set.

    Attributes:
      texts: as published.
      labels: int64 [n], indices into the classes; of a regression float32 [n, targets].

    Raises:
      ValueError: lengths that differ.
    """

    texts: tuple[str, ...]
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise ValueError(
                "Texts.labels must have one for each text. "
                f"Received: {len(self.labels)} for {len(self.texts)} texts."
            )


@dataclass(frozen=True, eq=False)
class PublishedTexts:
    """A data set of texts as its authors published it.

    Attributes:
      source: see `Dataset.source`.
      classes: label names in label order; empty for a regression.
      train: the published training split.
      test: the published test split; None where there is none, so that a part of train is held out.
      targets: names of the values of a regression; empty for a classification.
      validation: the published validation split beside train and test; None where there is none.
    """

    source: str
    classes: tuple[str, ...]
    train: Texts
    test: Texts | None
    targets: tuple[str, ...] = ()
    validation: Texts | None = None


def tokenized(
    found: PublishedTexts,
    tokenize: Tokenize,
    *,
    hold_out: Callable[[Split], tuple[Split, Split]],
) -> tuple[Published, int]:
    """The data set as ids of tokens, and how many of its texts were cut.

    Args:
      found: the texts.
      tokenize: a model's tokenizer.
      hold_out: parts a split in train and test, where no test split was published.
    """
    train, cut = _split(found.train, tokenize)
    if found.test is None:
        train, test = hold_out(train)
    else:
        test, more = _split(found.test, tokenize)
        cut += more
    validation = None
    if found.validation is not None:
        validation, more = _split(found.validation, tokenize)
        cut += more
    published = Published(
        source=found.source,
        classes=found.classes,
        train=train,
        test=test,
        targets=found.targets,
        validation=validation,
    )
    return published, cut


def _split(part: Texts, tokenize: Tokenize) -> tuple[Split, int]:
    tokens = tokenize(part.texts)
    return Split(tokens.ids, part.labels, np.arange(len(part.texts), dtype=np.int64)), tokens.cut
