"""`folder:DIR`: one folder a class, holding PNG, JPEG, BMP or GIF files (a GIF's first frame).

    DIR/train/CLASS/*.png and DIR/test/CLASS/*.png   published with a test split, or
    DIR/CLASS/*.png                                  a fifth of each class is held out for test

Files are read as an exported file's `predict` reads them, upright by their EXIF orientation. Class
names are the folders' names in sorted order. The held-out fifth does not depend on any seed
of a run, so that every run on the folder is tested on the same images. Hidden files are passed
over; any other file that is no image is an error, since it might be one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcompress.data import resizing, splitting
from tfcompress.data.dataset import DataConfig, Published, Split
from tfcompress.image_files import read_image
from tfcompress.preprocessing import match_channels

SOURCE = "folder"
ARGUMENT = "DIR"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TEST_FRACTION = 0.2
_TEST_SEED = 0


def published(config: DataConfig, argument: str) -> Published:
    """The images of the folder; `ids` are positions in the sorted list of files.

    Raises:
      ValueError: no folder, fewer than two classes, a class without images, a file that is no image
        or is broken (named), other classes in test than in train, or several sizes without
        `image_size`.
    """
    root = Path(argument)
    train_root, test_root = root / "train", root / "test"
    if not (train_root.is_dir() and test_root.is_dir()):
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
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        paths = _visible(root / name)
        if not paths:
            raise ValueError(f"The class folder {root / name} holds no image.")
        for path in paths:
            image = decoded(path)
            _require_size(image, path, first=images[0] if images else image, image_size=image_size)
            images.append(resizing.images_to(image[None], image_size)[0])
            labels.append(label)
    channels = max(image.shape[-1] for image in images)
    pixels = np.stack([match_channels(image, channels) for image in images])
    ids = np.arange(len(labels), dtype=np.int64)
    return Split(pixels, np.asarray(labels, np.int64), ids)


def decoded(path: Path) -> np.ndarray:
    """One image file of a known suffix; see `image_files.read_image`.

    Raises:
      ValueError: another suffix, or a file that cannot be read; the message names it.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise ValueError(
            f"{path} is no image file. Expected {', '.join(SUFFIXES)} files in a class folder."
        )
    return read_image(path)


def _require_size(image: np.ndarray, path: Path, *, first: np.ndarray, image_size: int) -> None:
    if image_size == 0 and image.shape[:2] != first.shape[:2]:
        raise ValueError(
            f"Images differ in size: {path} is {image.shape[:2]}, the first one {first.shape[:2]} "
            "(height, width). Set image_size, such as 96."
        )


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
