"""What a model or an artifact said about every example, and pictures of some, as `.npz` files.

Knows which arrays are stored and what makes two of them comparable. Does not know what made them;
what follows from them is computed in `statistics`. No TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import durable
from tfcompress.registry import require

CLASS_KINDS = ("logits", "probabilities")
VALUES = "values"
OUTPUT_KINDS = (*CLASS_KINDS, VALUES)
_ARRAYS = ("outputs", "labels", "ids", "kind")


@dataclass(frozen=True)
class Predictions:
    """Raw outputs on every example of a split.

    Attributes:
      outputs: float32 [examples, classes], as the model gives them; of a regression [examples,
        targets], in the units of the targets.
      labels: int64 [examples], the true classes; of a regression float32 [examples, targets].
      ids: int64 [examples], the examples' indices in the published split; they pair two models.
      kind: `"logits"`, `"probabilities"` or `"values"`.

    Raises:
      ValueError: lengths that differ, outputs that are no matrix, an unknown kind, or values whose
        labels have another shape.
    """

    outputs: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    kind: str

    def __post_init__(self) -> None:
        if any(np.ndim(each) == 0 for each in (self.outputs, self.labels, self.ids)):
            raise ValueError("Predictions take arrays of examples. Received: a single number.")
        require(self.kind, OUTPUT_KINDS, what="kind of outputs")
        lengths = len(self.outputs), len(self.labels), len(self.ids)
        if self.outputs.ndim != 2 or len(set(lengths)) != 1:
            raise ValueError(
                "Predictions take outputs [examples, classes] with as many labels and ids. "
                f"Received: outputs {list(self.outputs.shape)}, {lengths[1]} labels, "
                f"{lengths[2]} ids."
            )
        if self.kind == VALUES and self.labels.shape != self.outputs.shape:
            raise ValueError(
                "Predicted values take labels of their own shape. Received: outputs "
                f"{list(self.outputs.shape)}, labels {list(self.labels.shape)}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> np.ndarray:
        """Bool [examples]: whether the most likely class is the true one.

        Raises:
          ValueError: the outputs are values, which are not right or wrong.
        """
        if self.kind == VALUES:
            raise ValueError(
                "Values are not right or wrong: there is no accuracy of a regression. Look at "
                "tfcompress.statistics for mean_absolute_error and r_squared."
            )
        correct: np.ndarray = self.outputs.argmax(axis=1) == self.labels
        return correct

    @property
    def accuracy(self) -> float:
        """The fraction of `correct`."""
        return float(np.mean(self.correct))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes an `.npz` file, whole or not at all, and returns its path.

        Raises:
          ValueError: the path does not end in `.npz`.
        """
        arrays = {name: np.asarray(getattr(self, name)) for name in _ARRAYS}
        return _save(path, arrays, what="Predictions")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictions:
        """Reads what `save` wrote; nothing in the file is executed.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is damaged, or not of this kind.
        """
        outputs, labels, ids, kind = _load(path, _ARRAYS, what="predictions")
        try:
            return cls(outputs, labels, ids, str(kind))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def aligned_to(self, reference: Predictions) -> Predictions:
        """The same predictions in the order of another model's, so that the two can be paired.

        Args:
          reference: of the same examples, in any order.

        Raises:
          ValueError: another number of examples, other examples, or other labels for the same ones.
        """
        order = order_like((self.ids, self.labels), (reference.ids, reference.labels))
        return Predictions(self.outputs[order], self.labels[order], self.ids[order], self.kind)


def order_like(
    own: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Puts examples into the order of the same ones elsewhere.

    Args:
      own: ids int64 [examples], and labels [examples, ...].
      reference: the same, in the order that is wanted.

    Returns:
      int64 [examples]: `own[0][order]` equals the reference's ids.

    Raises:
      ValueError: another number of examples, other examples, or other labels for the same ones.

    Example:
      >>> own = (np.array([7, 3]), np.array([0, 1]))
      >>> order_like(own, (np.array([3, 7]), np.array([1, 0]))).tolist()
      [1, 0]
    """
    (ids, labels), (wanted_ids, wanted_labels) = own, reference
    for each in (ids, wanted_ids):
        if len(np.unique(each)) < len(each):
            raise ValueError("Predictions name an example twice: ids must be distinct.")
    if labels.shape[1:] != wanted_labels.shape[1:]:
        raise ValueError(
            f"Labels {list(labels.shape)} and {list(wanted_labels.shape)} are of different tasks."
        )
    if len(ids) != len(wanted_ids):
        raise ValueError(
            f"Predictions on {len(ids):,} and on {len(wanted_ids):,} examples cannot be paired. "
            "Evaluate both on the same test split."
        )
    mine, theirs = np.argsort(ids, kind="stable"), np.argsort(wanted_ids, kind="stable")
    if not np.array_equal(ids[mine], wanted_ids[theirs]):
        raise ValueError(
            "The predictions are of other examples: their ids differ. Evaluate both on the same "
            "test split."
        )
    order = np.empty_like(mine)
    order[theirs] = mine
    changed = labels[order] != wanted_labels
    if changed.any():
        different = int(changed.reshape(len(ids), -1).any(axis=1).sum())
        raise ValueError(
            f"The predictions carry other labels for {different:,} of {len(ids):,} examples of "
            "the same ids: they are of another data set. Evaluate both on the same test split."
        )
    return order


@dataclass(frozen=True)
class Pictures:
    """Small pictures of some examples, to show in a report.

    Attributes:
      images: uint8 [pictures, height, width, 1 or 3].
      ids: int64 [pictures], the examples' indices in the published split.

    Raises:
      ValueError: another dtype or rank, or lengths that differ.
    """

    images: np.ndarray
    ids: np.ndarray

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
            raise ValueError(
                "Pictures take uint8 images [pictures, height, width, 1 or 3]. "
                f"Received: {self.images.dtype} {list(shape)}."
            )
        if self.ids.shape != shape[:1]:
            raise ValueError(f"Expected {shape[0]} ids. Received: {list(self.ids.shape)}.")

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes an `.npz` file, whole or not at all, and returns its path.

        Raises:
          ValueError: the path does not end in `.npz`.
        """
        return _save(path, {"images": self.images, "ids": self.ids}, what="Pictures")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pictures:
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is damaged, or not of this kind.
        """
        images, ids = _load(path, ("images", "ids"), what="pictures")
        try:
            return cls(images, ids)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _save(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], *, what: str) -> Path:
    target = Path(path)
    if target.suffix != ".npz":
        raise ValueError(f"{what} are stored as .npz. Received: {target}.")
    with durable.whole_file(target) as temporary:
        # numpy's own type has a positional file and any names.
        np.savez_compressed(temporary, **dict[str, Any](arrays))
    return target


def _load(
    path: str | os.PathLike[str], names: Sequence[str], *, what: str
) -> tuple[np.ndarray, ...]:
    try:
        # A stream of our own: np.load leaves its own open where the file is damaged.
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            missing = [name for name in names if name not in stored.files]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            return tuple(stored[name] for name in names)
    except (FileNotFoundError, PermissionError):
        raise
    except (*durable.DAMAGED_NPZ, TypeError) as error:
        raise ValueError(
            f"{path} holds no stored {what} ({error}); it may be truncated. Expected "
            f"{', '.join(names[:-1])} and {names[-1]}. Remove it and evaluate again."
        ) from error
