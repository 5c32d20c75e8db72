"""`folder:DIR`: one folder a class, holding PNG, JPEG, BMP or GIF files (a GIF's first frame).

    DIR/train/CLASS/*.png and DIR/test/CLASS/*.png   published with a test split, or
    DIR/CLASS/*.png                                  a fifth of each class is held out for test

Files are read as an exported file's `predict` reads them, upright by their EXIF orientation. Class
names are the folders' names in sorted order. The held-out fifth does not depend on any seed
of a run, so that every run on the folder is tested on the same images. Hidden files are passed
over; any other file that is no image is an error, since it might be one that cannot be read.

A folder that holds `targets.csv` is a regression: see `_folder_values` for the table.

    DIR/train/targets.csv and DIR/test/targets.csv   published with a test split, or
    DIR/targets.csv                                  a random fifth is held out for test
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcompress.data import resizing, splitting
from tfcompress.data.dataset import DataConfig, Published, Split
from tfcompress.data.sets import _folder_values
from tfcompress.goals import CLASSIFICATION, REGRESSION
from tfcompress.image_files import read_image
from tfcompress.preprocessing import match_channels

SOURCE = "folder"
ARGUMENT = "DIR"
TASKS = (CLASSIFICATION, REGRESSION)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TEST_FRACTION = 0.2
_TEST_SEED = 0


def published(config: DataConfig, argument: str) -> Published:
    """The images of the folder; `ids` are positions in the sorted list of files.

    Raises:
      ValueError: no folder, fewer than two classes, a class without images, a file that is no image
        or is broken (named), other classes or targets in test than in train, several sizes without
        `image_size`, or a table of values that cannot be read.
    """
    root = Path(argument)
    train_root, test_root = root / "train", root / "test"
    parted = train_root.is_dir() and test_root.is_dir()
    tables = [
        part / _folder_values.NAME for part in ((train_root, test_root) if parted else [root])
    ]
    if config.task == REGRESSION or (config.task == "auto" and any(t.is_file() for t in tables)):
        return _of_values([table.parent for table in tables], image_size=config.image_size)
    if not parted:
        classes = _classes(root)
        everything = _read(root, classes, image_size=config.image_size)
        train, test = splitting.hold_out(everything, fraction=TEST_FRACTION, seed=_TEST_SEED)
        return Published(source=SOURCE, classes=classes, train=train, test=test)
    classes = _classes(train_root)
    if _classes(test_root) != classes:
        raise ValueError(
            f"{test_root} has the classes {', '.join(_classes(test_root))}; {train_root} has "
            f"{', '.join(classes)}. They must be the same."
        )
    train, test = (
        _read(part, classes, image_size=config.image_size) for part in (train_root, test_root)
    )
    return Published(source=SOURCE, classes=classes, train=train, test=test)


def _of_values(parts: Sequence[Path], *, image_size: int) -> Published:
    """A regression, of a train and a test folder or of one from which a part is held out."""
    splits, names = [], []
    for part in parts:
        if not (part / _folder_values.NAME).is_file():
            raise ValueError(
                f"{part} holds no {_folder_values.NAME}. A regression takes the values from it: a "
                "first row such as file,age_years, and a row for each image."
            )
        targets, files, values = _folder_values.read(part)
        names.append(targets)
        splits.append(Split(_images(files, image_size=image_size), values, _ids(values)))
    if len(set(names)) > 1:
        raise ValueError(
            f"{parts[1]} has the targets {', '.join(names[1])}; {parts[0]} has "
            f"{', '.join(names[0])}. They must be the same."
        )
    if len(splits) == 1:
        splits = list(splitting.hold_out(splits[0], fraction=TEST_FRACTION, seed=_TEST_SEED))
    return Published(source=SOURCE, classes=(), train=splits[0], test=splits[1], targets=names[0])


def _classes(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        raise ValueError(f"{root} is no folder.")
    names = tuple(path.name for path in _visible(root) if path.is_dir())
    if len(names) < 2:
        raise ValueError(
            f"{root} must hold one folder for each class, two or more. "
            f"Received: {', '.join(names) or 'none'}."
        )
    return names


def _read(root: Path, classes: Sequence[str], *, image_size: int) -> Split:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        paths = _visible(root / name)
        if not paths:
            raise ValueError(f"The class folder {root / name} holds no image.")
        files += paths
        labels += [label] * len(paths)
    known = np.asarray(labels, np.int64)
    return Split(_images(files, image_size=image_size), known, _ids(known))


def _images(files: Sequence[Path], *, image_size: int) -> np.ndarray:
    """The pixels of all files, in colour where one of them is."""
    images: list[np.ndarray] = []
    for path in files:
        image = decoded(path)
        _require_size(image, path, first=images[0] if images else image, image_size=image_size)
        images.append(resizing.images_to(image[None], image_size)[0])
    channels = max(image.shape[-1] for image in images)
    return np.stack([match_channels(image, channels) for image in images])


def _ids(labels: np.ndarray) -> np.ndarray:
    return np.arange(len(labels), dtype=np.int64)


def decoded(path: Path) -> np.ndarray:
    """One image file of a known suffix; see `image_files.read_image`.

    Raises:
      ValueError: another suffix, or a file that cannot be read; the message names it.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise ValueError(f"{path} is no image file. Expected {', '.join(SUFFIXES)} files.")
    return read_image(path)


def _require_size(image: np.ndarray, path: Path, *, first: np.ndarray, image_size: int) -> None:
    if image_size == 0 and image.shape[:2] != first.shape[:2]:
        raise ValueError(
            f"Images differ in size: {path} is {image.shape[:2]}, the first one {first.shape[:2]} "
            "(height, width). Set image_size, such as 96."
        )


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
