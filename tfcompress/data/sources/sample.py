"""Source: a small real sample of a data set that lies in the package.

Never a stand-in for the full data set: it has a name of its own. Knows the files and holds them
against their SHA-256. No TensorFlow here.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tfcompress import durable
from tfcompress.data.dataset import Published, Split
from tfcompress.data.sources import SourceUnavailableError


def shipped(path: Path, *, sha256: str, classes: tuple[str, ...]) -> Published:
    """Reads a sample.

    Args:
      path: the file in the package, `.npz`.
      sha256: of the file.
      classes: label names in label order.

    Raises:
      SourceUnavailableError: the file is missing, truncated or tampered with.
    """
    if not path.is_file():
        raise SourceUnavailableError(f"{path} is missing. Install tfcompress again.")
    content = path.read_bytes()
    received = durable.sha256(content)
    if received != sha256:
        raise SourceUnavailableError(
            f"{path} is truncated or tampered with: expected sha256 {sha256}, received {received} "
            f"({len(content)} bytes). Install tfcompress again."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        train, test = (
            Split(*(arrays[f"{part}_{field}"] for field in ("images", "labels", "ids")))
            for part in ("train", "test")
        )
    return Published(source="sample", classes=classes, train=train, test=test)


def write(path: Path, published: Published) -> str:
    """Writes a sample file and returns its SHA-256, to be recorded in the data set's module.

    Args:
      path: the file, `.npz`.
      published: what to store; its classes live in the module.
    """
    train, test = published.train, published.test
    with durable.whole_file(path) as temporary:
        np.savez_compressed(
            temporary,
            train_images=train.examples,
            train_labels=train.labels,
            train_ids=train.ids,
            test_images=test.examples,
            test_labels=test.labels,
            test_ids=test.ids,
        )
    return durable.sha256_of_file(path)
