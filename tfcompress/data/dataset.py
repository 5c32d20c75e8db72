"""What a data set is once it lies in memory, and the settings that choose one.

Knows the shapes, dtypes and the four splits. Does not know where images come from (`sources/`,
`sets/`) nor how they reach a model (`pipeline`). No TensorFlow here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress import durable

SOURCES = ("auto", "prepared", "download", "registry")
# All images lie in memory: one of this size in colour takes 48 MiB.
LARGEST_IMAGE_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one part of a data set, raw.

    Attributes:
      images: uint8 [n, height, width, channels] in [0, 255]; channels is 1, or 3 in RGB order.
      labels: int64 [n], indices into the data set's classes.
      ids: int64 [n], each image's position in the published split that it comes from.

    Raises:
      ValueError: another dtype or rank, or lengths that differ.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
            raise ValueError(
                "Split.images must be uint8 [n, height, width, channels] with 1 or 3 channels. "
                f"Received: {self.images.dtype} {list(shape)}."
            )
        for name in ("labels", "ids"):
            values = getattr(self, name)
            if values.dtype != np.int64 or values.shape != shape[:1]:
                raise ValueError(
                    f"Split.{name} must be int64 [{shape[0]}], one for each image. "
                    f"Received: {values.dtype} {list(values.shape)}."
                )

    def __len__(self) -> int:
        return len(self.images)

    def sha256(self) -> str:
        """The SHA-256 of shape, images and labels, as 64 hexadecimal digits."""
        parts = (repr(self.images.shape).encode(), self.images.tobytes(), self.labels.tobytes())
        return durable.sha256(b"".join(parts))

    def take(self, positions: np.ndarray) -> Split:
        """The images at `positions` (int64, indices into this split), in that order."""
        return Split(self.images[positions], self.labels[positions], self.ids[positions])


@dataclass(frozen=True, eq=False)
class Published:
    """A data set as its authors published it: a training and a test split.

    Attributes:
      source: where it came from; see `Dataset.source`.
      classes: label names in label order.
      train: the published training split.
      test: the published test split.
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    test: Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in four disjoint splits.

    Attributes:
      name: as asked for.
      source: `"prepared"` (a prepared TFDS directory), `"download"` (TFDS, from the authors'
        hosts), `"registry"` (a package registry), `"sample"` (shipped in the package), `"folder"`
        or `"npz"`.
      classes: label names in label order.
      train: to fit weights on; carved from the published training split.
      validation: to choose by; carved from the published training split.
      calibration: to find value ranges on; carved from the published training split.
      test: the published test split.

    Raises:
      ValueError: an empty split, fewer than two classes or two of one name, a label outside the
        classes, or splits whose images differ in shape.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    calibration: Split
    test: Split

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(
                f"Data set {self.name!r} has {len(self.classes)} class: {self.classes}. "
                "A classifier needs two or more."
            )
        repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if repeated:
            raise ValueError(
                f"Data set {self.name!r} has classes that are named alike: "
                f"{', '.join(map(repr, repeated))}. Give each class a name of its own."
            )
        for part, split in self._splits().items():
            if len(split) == 0:
                raise ValueError(
                    f"Data set {self.name!r} leaves its {part} split empty: {self.split_sizes()}. "
                    "Bring more images, or change validation_fraction or calibration_size."
                )
            if split.images.shape[1:] != self.image_shape:
                raise ValueError(
                    f"Data set {self.name!r}: images of {part} have the shape "
                    f"{split.images.shape[1:]}, those of train {self.image_shape}."
                )
            _require_labels_within(split.labels, self.classes, where=f"{self.name!r}, {part}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the stored images."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def split_sizes(self) -> dict[str, int]:
        """Number of images in each split."""
        return {name: len(split) for name, split in self._splits().items()}

    def checksums(self) -> dict[str, str]:
        """For each split the SHA-256 of its images and labels: tells data that changed."""
        return {name: split.sha256() for name, split in self._splits().items()}

    def _splits(self) -> dict[str, Split]:
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }


def _require_labels_within(labels: np.ndarray, classes: tuple[str, ...], *, where: str) -> None:
    outside = np.unique(labels[(labels < 0) | (labels >= len(classes))])
    if len(outside):
        raise ValueError(
            f"Data set {where}: labels {outside[:5].tolist()} lie outside the {len(classes)} "
            f"classes. Labels must be integers from 0 to {len(classes) - 1}."
        )


@dataclass(frozen=True)
class DataConfig:
    """Which data set, from where, and how it is split.

    Attributes:
      name: `tfcompress.data.names()` lists the forms; any image-classification name of TFDS works.
      data_dir: TFDS directory; "" for TFDS's own default.
      source: `"auto"` tries prepared, download, registry in this order; or one of these to force
        it. Data sets that are no TFDS name (samples, `folder:`, `npz:`) take `"auto"` only.
      validation_fraction: part of the published training split that becomes `validation`, in (0,
        0.5].
      calibration_size: images in `calibration`, at most; never more than a tenth of the published
        training split.
      max_train: images kept in `train`, a fixed class-stratified subset; 0 keeps all.
      image_size: height and width in pixels that images are brought to when they are read, at most
        4096; 0 keeps them, which needs images of one size.
      seed: of the permutation that carves the splits.

    Raises:
      ValueError: a value out of its range.
    """

    name: str = "mnist_sample"
    data_dir: str = ""
    source: str = "auto"
    validation_fraction: float = 0.1
    calibration_size: int = 512
    max_train: int = 0
    image_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("DataConfig.name must not be empty.")
        if self.source not in SOURCES:
            raise ValueError(
                f"DataConfig.source must be one of {', '.join(SOURCES)}. Received: {self.source!r}."
            )
        if not 0 < self.validation_fraction <= 0.5:
            raise ValueError(
                "DataConfig.validation_fraction must be in (0, 0.5]. "
                f"Received: {self.validation_fraction}. For 10% pass 0.1."
            )
        for field, least in (
            ("calibration_size", 1),
            ("max_train", 0),
            ("image_size", 0),
            ("seed", 0),
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"DataConfig.{field} must be an integer, {least} or more. Received: {value!r}."
                )
        if self.image_size > LARGEST_IMAGE_SIZE:
            raise ValueError(
                f"DataConfig.image_size must be at most {LARGEST_IMAGE_SIZE} pixels. "
                f"Received: {self.image_size}."
            )
