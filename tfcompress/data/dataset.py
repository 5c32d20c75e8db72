"""What a data set is once it lies in memory, and the settings that choose one.

Knows the shapes, dtypes and the four splits. Does not know where images come from (`sources/`,
`sets/`) nor how they reach a model (`pipeline`). No TensorFlow here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfcompress import durable
from tfcompress.goals import GOALS, Classes, Goal, Values

TEXT = "text"
"""The task of texts, with classes or values as the data set has them."""
TASKS = ("auto", TEXT, *GOALS)
SOURCES = ("auto", "prepared", "download", "registry")
# All images lie in memory: one of this size in colour takes 48 MiB.
LARGEST_IMAGE_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of one part of a data set, raw: images or texts.

    Attributes:
      examples: images, uint8 [n, height, width, channels] in [0, 255], where channels is 1, or 3 in
        RGB order; or texts as ids of tokens, int32 [n, length].
      labels: int64 [n], indices into the data set's classes; of a regression float32 [n, targets],
        its values.
      ids: int64 [n], each example's position in the published split that it comes from.

    Raises:
      ValueError: another dtype or rank, or lengths that differ.
    """

    examples: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def __post_init__(self) -> None:
        shape = self.examples.shape
        is_images = self.examples.dtype == np.uint8 and len(shape) == 4 and shape[-1] in (1, 3)
        if not is_images and (self.examples.dtype != np.int32 or len(shape) != 2):
            raise ValueError(
                "Split.examples must be images, uint8 [n, height, width, channels] with 1 or 3 "
                "channels, or ids of tokens, int32 [n, length]. "
                f"Received: {self.examples.dtype} {list(shape)}."
            )
        for name in ("labels", "ids"):
            given = getattr(self, name)
            if name == "labels" and given.dtype == np.float32 and given.shape[:-1] == shape[:1]:
                continue
            if given.dtype != np.int64 or given.shape != shape[:1]:
                raise ValueError(
                    f"Split.{name} must be int64 [{shape[0]}], one for each example. "
                    f"Received: {given.dtype} {list(given.shape)}."
                )

    def __len__(self) -> int:
        return len(self.examples)

    def sha256(self) -> str:
        """The SHA-256 of shape, examples and labels, as 64 hexadecimal digits."""
        parts = (repr(self.examples.shape).encode(), self.examples.tobytes(), self.labels.tobytes())
        return durable.sha256(b"".join(parts))

    @property
    def is_text(self) -> bool:
        """Whether the examples are ids of tokens."""
        return self.examples.dtype == np.int32

    @property
    def images(self) -> np.ndarray:
        """The examples, where they are images; what only images can do reads them here.

        Raises:
          ValueError: the examples are texts.
        """
        if self.is_text:
            raise ValueError(
                "Only images can be had so. Received: texts, as ids of tokens, int32 "
                f"{list(self.examples.shape)}, which have no pixels to show or to change."
            )
        return self.examples

    def take(self, positions: np.ndarray) -> Split:
        """The examples at `positions` (int64, indices into this split), in that order."""
        return Split(self.examples[positions], self.labels[positions], self.ids[positions])


@dataclass(frozen=True, eq=False)
class Published:
    """A data set as its authors published it: a training and a test split.

    Attributes:
      source: where it came from; see `Dataset.source`.
      classes: label names in label order; empty for a regression.
      train: the published training split.
      test: the published test split.
      targets: names of the values of a regression; empty for a classification.
      validation: the published validation split beside train and test; None where there is none, so
        that it is carved from train.
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    targets: tuple[str, ...] = ()
    validation: Split | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in four disjoint splits.

    Attributes:
      name: as asked for.
      source: `"prepared"` (a prepared TFDS directory), `"download"` (TFDS, from the authors'
        hosts), `"registry"` (a package registry), `"sample"` (shipped in the package), `"folder"`,
        `"npz"` or `"text"`.
      classes: label names in label order; empty for a regression.
      train: to fit weights on; carved from the published training split.
      validation: to choose by; the published one, or carved from the published training split.
      calibration: to find value ranges on; carved from the published training split.
      test: the published test split.
      targets: names of the values of a regression, with their units; empty for a classification.
      published_validation: whether `validation` is as published.

    Raises:
      ValueError: an empty split, fewer than two classes or two of one name, a label outside the
        classes, values that are not finite or all the same, or splits whose examples differ in
        shape.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    calibration: Split
    test: Split
    targets: tuple[str, ...] = ()
    published_validation: bool = False

    def __post_init__(self) -> None:
        if not self.targets and len(self.classes) < 2:
            raise ValueError(
                f"Data set {self.name!r} has {len(self.classes)} class: {self.classes}. "
                "A classifier needs two or more."
            )
        what, names = ("target", self.targets) if self.targets else ("class", self.classes)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            plural = {"target": "targets", "class": "classes"}[what]
            raise ValueError(
                f"Data set {self.name!r} has {plural} that are named alike: "
                f"{', '.join(map(repr, repeated))}. Give each {what} a name of its own."
            )
        for part, split in self._splits().items():
            if len(split) == 0:
                raise ValueError(
                    f"Data set {self.name!r} leaves its {part} split empty: {self.split_sizes()}. "
                    "Bring more examples, or change validation_fraction; calibration takes a tenth "
                    "of the published training split at most."
                )
            if split.examples.shape[1:] != self.example_shape:
                raise ValueError(
                    f"Data set {self.name!r}: {self.example}s of {part} "
                    f"have the shape {split.examples.shape[1:]}, those of train "
                    f"{self.example_shape}."
                )
            where = f"{self.name!r}, {part}"
            if self.targets:
                require_values(split.labels, self.targets, where=f"Data set {where}")
            else:
                _require_labels_within(split.labels, self.classes, where=where)
        if self.targets:
            _require_varying(self.train.labels, self.targets, where=repr(self.name))

    @cached_property
    def goal(self) -> Goal:
        """What a model of this data set is to say of an example."""
        if self.targets:
            return Values.of(self.targets, self.train.labels)
        return Classes(self.classes)

    @property
    def is_text(self) -> bool:
        """Whether the examples are texts, as ids of tokens."""
        return self.train.is_text

    @property
    def example(self) -> str:
        """What one example is called in a sentence."""
        return "text" if self.is_text else "image"

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of the stored images, or (length,) of token ids."""
        return self.train.examples.shape[1:]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the stored images.

        Raises:
          ValueError: the examples are texts.
        """
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def split_sizes(self) -> dict[str, int]:
        """Number of examples in each split."""
        return {name: len(split) for name, split in self._splits().items()}

    def checksums(self) -> dict[str, str]:
        """For each split the SHA-256 of its examples and labels: tells data that changed."""
        return {name: split.sha256() for name, split in self._splits().items()}

    def has_order_of(self, other: Dataset) -> bool:
        """Whether another one has the same examples in its splits, whatever they were made into.

        Told by their places in what was published, and by their labels.
        """
        mine, theirs = self._splits(), other._splits()
        return all(
            np.array_equal(mine[name].ids, theirs[name].ids)
            and np.array_equal(mine[name].labels, theirs[name].labels)
            for name in mine
        )

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


_LEAST_STEPS = 100
"""Steps of float32 within a standard deviation of a target, at least: a hundredth of it is lost."""


def require_values(labels: np.ndarray, targets: tuple[str, ...], *, where: str) -> None:
    """Refuses labels that are not one finite number for each example and target.

    Args:
      labels: to be checked.
      targets: names of the values.
      where: what the message calls the labels.

    Raises:
      ValueError: another type or shape, or numbers that are not finite.
    """
    if labels.dtype != np.float32 or labels.shape[1:] != (len(targets),):
        raise ValueError(
            f"{where}: labels must be float32 [n, {len(targets)}], one for each of "
            f"{', '.join(targets)}. Received: {labels.dtype} {list(labels.shape)}."
        )
    unknown = int((~np.isfinite(labels)).any(axis=1).sum())
    if unknown:
        raise ValueError(
            f"{where}: targets must be finite numbers. Received: NaN or infinite for {unknown:,} "
            f"of {len(labels):,} examples. Leave these out."
        )


def _require_varying(labels: np.ndarray, targets: tuple[str, ...], *, where: str) -> None:
    for name, column in zip(targets, labels.T, strict=True):
        step, spread = float(np.spacing(np.abs(column).max())), float(np.std(column, dtype="f8"))
        if spread < _LEAST_STEPS * step and np.abs(column).max() > 0 and spread > 0:
            raise ValueError(
                f"Data set {where}: the target {name} has a standard deviation of {spread:g} about "
                f"values of {np.abs(column).max():g}, where float32, in which models compute, has "
                f"steps of {step:g}. Subtract a round number from it."
            )
        if column.min() == column.max():
            raise ValueError(
                f"Data set {where}: the target {name} is {column[0]:g} for every example of train, "
                "in float32, so that there is nothing to learn. Leave it out, or subtract a round "
                "number where it varies by less than float32 can tell."
            )


@dataclass(frozen=True)
class DataConfig:
    """Which data set, from where, and how it is split.

    Attributes:
      name: `tfcompress.data.names()` lists the forms; any name of TFDS works that is a
        classification of images, or, with `task="text"`, of texts.
      data_dir: TFDS directory; "" for TFDS's own default.
      source: `"auto"` tries prepared, download, registry in this order; or one of these to force
        it. Data sets that are no TFDS name (samples, `folder:`, `npz:`) take `"auto"` only.
      validation_fraction: part of the published training split that becomes `validation`, in (0,
        0.5]; not needed where a validation split was published beside train and test.
      calibration_size: images in `calibration`, at most; never more than a tenth of the published
        training split.
      max_train: images kept in `train`, a fixed class-stratified subset; 0 keeps all. (Of a
        regression any split is a random part.)
      image_size: height and width in pixels that images are brought to when they are read, at most
        4096; 0 keeps them, which needs images of one size. Texts have none.
      seed: of the permutation that carves the splits.
      task: `"classification"` or `"regression"`, for labels that could be either, such as whole
        numbers; `"auto"` goes by the data set, and so does `"text"`, for data sets of texts; a
        name of TFDS is one of texts with `"text"` only.

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
    task: str = "auto"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("DataConfig.name must not be empty.")
        if self.task not in TASKS:
            raise ValueError(
                f"DataConfig.task must be one of {', '.join(TASKS)}. Received: {self.task!r}."
            )
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
