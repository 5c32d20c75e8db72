"""Texts of TensorFlow Datasets: which feature is the text, and a prepared set's splits.

Knows TFDS's features. Does not know who prepared the files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.data.sources import Request
from tfcompress.data.texts import PublishedTexts, Texts

_LABEL = "label"


def keys(made: Any, request: Request) -> tuple[str, str]:
    """The names of the text and of its class.

    Args:
      made: TFDS's builder.
      request: what was asked for.

    Raises:
      ValueError: there is no such pair, or more than one text, as in pairs of sentences.
    """
    import tensorflow_datasets as tfds

    features = made.info.features
    texts = [name for name, found in features.items() if isinstance(found, tfds.features.Text)]
    labels = [
        name for name, found in features.items() if isinstance(found, tfds.features.ClassLabel)
    ]
    supervised = made.info.supervised_keys
    if supervised and supervised[0] in texts and supervised[1] in labels:
        return supervised[0], supervised[1]
    if len(texts) == 1 and _LABEL in labels:
        return texts[0], _LABEL
    raise ValueError(
        f"TFDS data set {request.name!r} is no classification of single texts: expected one "
        f"feature of text and a class called {_LABEL!r}. Received: {', '.join(features)}. For "
        "pairs of texts write a table with both in one column, and pass text:FILE."
    )


def read(made: Any, request: Request, *, source: str) -> PublishedTexts:
    """Reads the published splits of a prepared data set into memory.

    A test split without labels, as GLUE has it, is none: then the published validation split is
    tested on. Beside a test split with labels it is the one to choose by.

    Raises:
      ValueError: no second split with labels, or files that cannot be read.
    """
    text, label = keys(made, request)
    splits = made.info.splits
    candidates = [name for name in ("test", "validation") if name in splits]
    try:
        train = _read(made, "train", text, label) if "train" in splits else None
        others = [_read(made, name, text, label) for name in candidates]
        labelled = [found for found in others if (found.labels >= 0).all()]
    except tf.errors.OpError as error:
        raise ValueError(
            f"The prepared data set at {made.data_path} cannot be read ({error.message[:300]}). "
            "Delete that folder and run again."
        ) from error
    if train is None or not labelled:
        raise ValueError(
            f"TFDS data set {request.name!r} must have a train split, and a test or validation "
            f"split with labels. Received: {list(splits)}."
        )
    classes = tuple(made.info.features[label].names)
    test, validation = (*labelled, None)[:2]
    return PublishedTexts(
        source=source, classes=classes, train=train, test=test, validation=validation
    )


def _read(made: Any, name: str, text: str, label: str) -> Texts:
    data = made.as_dataset(split=name, shuffle_files=False)
    rows = [(row[text].decode("utf-8"), int(row[label])) for row in data.as_numpy_iterator()]
    return Texts(tuple(found for found, _ in rows), np.array([x for _, x in rows], np.int64))
