"""`npz:FILE`: arrays that the user saved with `numpy.savez`.

x_train  uint8 [n, height, width, 1 or 3], or [n, height, width] for grey images
y_train  integers [n] or [n, 1], classes; or floats [n] or [n, targets], the values of a regression
x_test, y_test  the same
classes  strings, label names in label order; optional, "0", "1", ... without it
targets  strings, names of the values, with their units; optional, "target" without it

Whole numbers may be either. They are classes unless they are stored as floats or there are more
than `MOST_UNNAMED_CLASSES`, where `DataConfig.task` has to say which.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from tfcompress import durable
from tfcompress.data.dataset import DataConfig, Published, Split, require_values
from tfcompress.goals import CLASSIFICATION, REGRESSION

SOURCE = "npz"
ARGUMENT = "FILE"
TASKS = (CLASSIFICATION, REGRESSION)
KEYS = ("x_train", "y_train", "x_test", "y_test")
NAMES = ("classes", "targets")
# CIFAR-100 has as many; of more, ages or counts are as likely.
MOST_UNNAMED_CLASSES = 100


def published(config: DataConfig, argument: str) -> Published:
    """The arrays of the file, checked; `x_test` and `y_test` are the test split.

    Raises:
      ValueError: the file is no npz or truncated, an array is missing, or has another dtype, shape
        or length.
    """
    path = Path(argument)
    arrays = _arrays(path)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Expected {', '.join(KEYS)} and, if you like, "
            f"{' or '.join(NAMES)}. Received: {', '.join(arrays)}."
        )
    task = _task(arrays, config.task, path=path)
    train = _split(arrays, task=task, part="train", path=path)
    test = _split(arrays, task=task, part="test", path=path)
    if train.examples.shape[1:] != test.examples.shape[1:]:
        raise ValueError(
            f"{path}: images of x_train are {train.examples.shape[1:]}, those of x_test "
            f"{test.examples.shape[1:]}. They must have the same shape."
        )
    if task == REGRESSION:
        targets = _targets(arrays.get("targets"), train, test, path=path)
        return Published(source=SOURCE, classes=(), train=train, test=test, targets=targets)
    classes = _classes(arrays.get("classes"), train, test, path=path)
    return Published(source=SOURCE, classes=classes, train=train, test=test)


def _task(arrays: dict[str, np.ndarray], asked: str, *, path: Path) -> str:
    """Whether the labels are classes or values, as far as they tell."""
    if asked != "auto":
        return asked
    if "classes" in arrays:
        return CLASSIFICATION
    labels = [arrays[key] for key in ("y_train", "y_test")]
    floats = any(part.dtype.kind == "f" for part in labels)
    if "targets" in arrays or (floats and not all(map(_whole, labels))):
        return REGRESSION
    distinct = len(np.unique(np.concatenate([np.ravel(part) for part in labels])))
    if floats or distinct > MOST_UNNAMED_CLASSES:
        raise ValueError(
            f"{path}: y_train and y_test could be classes or values. Received: "
            f"{labels[0].dtype} {list(labels[0].shape)} with {distinct} distinct whole numbers. "
            "Say which with --task=regression or --task=classification "
            "(DataConfig.task), or name the classes in an array classes."
        )
    return CLASSIFICATION


def _whole(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "iub" or bool((np.mod(labels, 1) == 0).all())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here because numpy leaves the file open where it is no zip archive.
        with path.open("rb") as stream, zipfile.ZipFile(stream):
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            return {key: file[key] for key in (*KEYS, *NAMES) if key in file}
    except durable.DAMAGED_NPZ as error:
        raise ValueError(
            f"{path} cannot be read as an npz file without pickled objects ({error}). It may be "
            "truncated; write it with numpy.savez."
        ) from error


def _split(arrays: dict[str, np.ndarray], *, task: str, part: str, path: Path) -> Split:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        store = " For images in [0, 1] store (images * 255).round().astype('uint8')."
        advice = store if images.dtype.kind == "f" else ""
        raise ValueError(
            f"{path}: x_{part} must be uint8 [n, height, width, channels] with 1 or 3 channels. "
            f"Received: {images.dtype} {list(images.shape)}.{advice}"
        )
    read = _values if task == REGRESSION else _labels
    labels = read(labels, len(images), where=f"{path}: y_{part}")
    if len(images) == 0:
        raise ValueError(f"{path}: x_{part} holds no image.")
    if 0 in images.shape:
        raise ValueError(
            f"{path}: images of x_{part} have no pixels. Received: {list(images.shape)}."
        )
    return Split(images, labels, np.arange(len(images), dtype=np.int64))


def _labels(labels: np.ndarray, count: int, *, where: str) -> np.ndarray:
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(
            f"{where} must hold one integer for each of the {count} images. "
            f"Received: {labels.dtype} {list(labels.shape)}."
        )
    return labels.astype(np.int64)


def _values(labels: np.ndarray, count: int, *, where: str) -> np.ndarray:
    fits = labels.dtype.kind in "iuf" and labels.ndim in (1, 2) and len(labels) == count
    if not fits or labels.size == 0 < count:
        raise ValueError(
            f"{where} must hold one number for each of the {count} images, or a row of them: "
            f"[{count}] or [{count}, targets]. Received: {labels.dtype} {list(labels.shape)}."
        )
    return labels.reshape(count, -1).astype(np.float32)


def _targets(names: np.ndarray | None, train: Split, test: Split, *, path: Path) -> tuple[str, ...]:
    count = train.labels.shape[1]
    if names is None:
        found = ("target",) if count == 1 else tuple(f"target_{i}" for i in range(count))
    else:
        found = _strings(names, "targets", path=path)
    if len(found) != count:
        raise ValueError(
            f"{path}: targets must name the {count} values of each image. Received: "
            f"{len(found)} names."
        )
    for part, split in (("train", train), ("test", test)):
        require_values(split.labels, found, where=f"{path}: y_{part}")
    return found


def _strings(names: np.ndarray, what: str, *, path: Path) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(
            f"{path}: {what} must be a list of strings. "
            f"Received: {names.dtype} {list(names.shape)}."
        )
    return tuple(names.tolist())


def _classes(names: np.ndarray | None, train: Split, test: Split, *, path: Path) -> tuple[str, ...]:
    if names is not None:
        return _strings(names, "classes", path=path)
    seen = np.unique(np.concatenate([train.labels, test.labels]))
    if not np.array_equal(seen, np.arange(len(seen))):
        raise ValueError(
            f"{path}: without the array classes, labels must run from 0 to their greatest value "
            f"with none left out. Received: {seen[:20].tolist()}. If they are values and no "
            "classes, say --task=regression (DataConfig.task)."
        )
    return tuple(str(label) for label in seen)
