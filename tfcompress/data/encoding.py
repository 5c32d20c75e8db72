"""Images encoded once by a frozen network, and kept on disk.

The encoding route of transfer learning: where a backbone does not change, its output for an image
does not either, and a head trains on the stored outputs. Knows the cache. Does not know the
network: it comes as a function, and a fingerprint that tells one network from another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfcompress import durable
from tfcompress.data.dataset import Split
from tfcompress.data.pipeline import View, ordered_batches
from tfcompress.tokenization import Preparation


def encoded(
    split: Split,
    encode: Callable[[np.ndarray], np.ndarray],
    preprocessing: Preparation,
    *,
    fingerprint: str,
    cache_dir: str | os.PathLike[str],
    batch_size: int,
    view: View | None = None,
) -> np.ndarray:
    """The encoding of each image of a split, from the cache where it lies there.

    Args:
      split: images to encode.
      encode: float32 images [batch, *preprocessing.image_shape] to an array [batch, ...].
      preprocessing: brings raw images to what `encode` takes.
      fingerprint: of the network and its weights; another one is another entry of the cache.
      cache_dir: folder of the cache; made when needed.
      batch_size: images in one call of `encode`.
      view: how the images are changed before; None for not at all.

    Returns:
      float32 [n, ...], in the split's order.

    Raises:
      ValueError: an empty split, or `encode` returns another number of rows than it was given.
      OSError: the cache cannot be written, or the disk is full.
    """
    key = cache_key(split, preprocessing, fingerprint=fingerprint, view=view)
    path = Path(cache_dir) / f"{key}.npy"
    cached = _read(path, rows=len(split))
    if cached is not None:
        return cached
    encodings = _computed(split, encode, preprocessing, batch_size=batch_size, view=view)
    with durable.whole_file(path) as temporary:
        np.save(temporary, encodings)
    return encodings


def cache_key(
    split: Split, preprocessing: Preparation, *, fingerprint: str, view: View | None = None
) -> str:
    """SHA-256 of what an entry depends on: images, order, view, preprocessing, and network."""
    digest = hashlib.sha256()
    record: list[object] = [fingerprint, preprocessing.to_dict(), list(split.examples.shape)]
    if view is not None:
        record.append(dataclasses.asdict(view))
    digest.update(json.dumps(record, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(split.ids).data)
    digest.update(np.ascontiguousarray(split.examples).data)
    return digest.hexdigest()


def _computed(
    split: Split,
    encode: Callable[[np.ndarray], np.ndarray],
    preprocessing: Preparation,
    *,
    batch_size: int,
    view: View | None,
) -> np.ndarray:
    parts = []
    for images, _ in ordered_batches(
        split, preprocessing, batch_size=batch_size, view=view
    ).as_numpy_iterator():
        rows = np.asarray(encode(images), np.float32)
        if len(rows) != len(images):
            raise ValueError(
                f"encode must return one row for each image. Received: {len(rows)} for "
                f"{len(images)}."
            )
        parts.append(rows)
    if not parts:
        raise ValueError("The split to encode holds no image.")
    return np.concatenate(parts)


def _read(path: Path, *, rows: int) -> np.ndarray | None:
    """The stored array; None where there is none, or a damaged one, which is computed again."""
    try:
        stored = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError):
        return None
    return stored if stored.dtype == np.float32 and len(stored) == rows else None
