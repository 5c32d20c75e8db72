"""`npz:FILE`: arrays that the user saved with `numpy.savez`.

x_train  uint8 [n, height, width, 1 or 3], or [n, height, width] for grey images
y_train  integers [n] or [n, 1]
x_test, y_test  the same
classes  strings, label names in label order; optional, "0", "1", ... without it
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from tfcompress import durable
from tfcompress.data.dataset import DataConfig, Published, Split

SOURCE = "npz"
ARGUMENT = "FILE"
KEYS = ("x_train", "y_train", "x_test", "y_test")


def published(config: DataConfig, argument: str) -> Published:
    """The arrays of the file, checked; `x_test` and `y_test` are the test split.

    Raises:
      ValueError: the file is no npz or truncated, an array is missing, or has another dtype, shape
        or length.
    """
    del config
    path = Path(argument)
    arrays = _arrays(path)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Expected {', '.join(KEYS)} and, if you like, "
            f"classes. Received: {', '.join(arrays)}."
        )
    train = _split(arrays["x_train"], arrays["y_train"], part="train", path=path)
    test = _split(arrays["x_test"], arrays["y_test"], part="test", path=path)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{path}: images of x_train are {train.images.shape[1:]}, those of x_test "
            f"{test.images.shape[1:]}. They must have the same shape."
        )
    classes = _classes(arrays.get("classes"), train, test, path=path)
    return Published(source=SOURCE, classes=classes, train=train, test=test)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here because numpy leaves the file open where it is no zip archive.
        with path.open("rb") as stream, zipfile.ZipFile(stream):
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            return {key: file[key] for key in (*KEYS, "classes") if key in file}
    except durable.DAMAGED_NPZ as error:
        raise ValueError(
            f"{path} cannot be read as an npz file without pickled objects ({error}). It may be "
            "truncated; write it with numpy.savez."
        ) from error


def _split(images: np.ndarray, labels: np.ndarray, *, part: str, path: Path) -> Split:
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        store = " For images in [0, 1] store (images * 255).round().astype('uint8')."
        advice = store if images.dtype.kind == "f" else ""
        raise ValueError(
            f"{path}: x_{part} must be uint8 [n, height, width, channels] with 1 or 3 channels. "
            f"Received: {images.dtype} {list(images.shape)}.{advice}"
        )
    if labels.shape == (len(images), 1):
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise ValueError(
            f"{path}: y_{part} must hold one integer for each of the {len(images)} images. "
            f"Received: {labels.dtype} {list(labels.shape)}."
        )
    if len(images) == 0:
        raise ValueError(f"{path}: x_{part} holds no image.")
    if 0 in images.shape:
        raise ValueError(
            f"{path}: images of x_{part} have no pixels. Received: {list(images.shape)}."
        )
    return Split(images, labels.astype(np.int64), np.arange(len(images), dtype=np.int64))


def _classes(names: np.ndarray | None, train: Split, test: Split, *, path: Path) -> tuple[str, ...]:
    if names is not None:
        if names.ndim != 1 or names.dtype.kind != "U":
            raise ValueError(
                f"{path}: classes must be a list of strings. "
                f"Received: {names.dtype} {list(names.shape)}."
            )
        return tuple(names.tolist())
    seen = np.unique(np.concatenate([train.labels, test.labels]))
    if not np.array_equal(seen, np.arange(len(seen))):
        raise ValueError(
            f"{path}: without the array classes, labels must run from 0 to their greatest value "
            f"with none left out. Received: {seen[:20].tolist()}."
        )
    return tuple(str(label) for label in seen)
