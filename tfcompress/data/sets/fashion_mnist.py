"""Fashion-MNIST: 70,000 pictures of clothing, grey, 28x28. TFDS, or a package of Debian's."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from tfcompress.data import sources
from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.sources import registry

PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# Of the unpacked files; with the name and time of the original gzip header put back, the package's
# archives have the checksums that TFDS knows.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def published(config: DataConfig, argument: str) -> Published:
    """Fashion-MNIST from the first source that has it; see `sources.first_available`."""
    del argument
    request = sources.request_for("fashion_mnist", config, mirror=registry_files)
    return sources.first_available(request, source=config.source)


def registry_files(folder: Path) -> dict[str, Path]:
    """The four IDX files, unpacked and checked, by the URLs of their archives.

    Raises:
      SourceUnavailableError: apt-get is missing or fails, or a checksum differs.
    """
    archives = registry.debian_package(PACKAGE, folder=folder) / PACKAGE_FOLDER
    for name in SHA256:
        try:
            with (
                gzip.open(archives / f"{name}.gz") as packed,
                (folder / name).open("wb") as unpacked,
            ):
                shutil.copyfileobj(packed, unpacked)
        except (gzip.BadGzipFile, EOFError, FileNotFoundError) as error:
            raise sources.SourceUnavailableError(
                f"{name}.gz in the package {PACKAGE} cannot be unpacked ({error})."
            ) from error
    files = registry.checked_files(folder, SHA256)
    return {f"{URL}{name}.gz": path for name, path in files.items()}
