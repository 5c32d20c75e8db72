"""The durable state of a training: what it takes to go on after an interruption, and to go back.

Knows which variables of a model and its optimizer make up the state, and the files that hold them.
Does not know how the training goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import durable
from tfcompress.goals import Monitor

CHECKPOINT = "checkpoint.npz"
BEST = "best.npz"


class TrainingState:
    """The state of one training: one checkpoint file, one file of the best weights.

    Args:
      model: compiled.
      folder: of the two files.
      monitor: by what the best epoch is chosen.
      patience: epochs without a better one before the training ends; 0 for never.
      first_eligible_epoch: 0-based; earlier epochs are never the best.

    Attributes:
      history: the metrics of each finished epoch.
      seconds_before: wall time of the epochs that were restored.
    """

    def __init__(
        self,
        model: Any,
        folder: Path,
        *,
        monitor: Monitor | None = None,
        patience: int = 0,
        first_eligible_epoch: int = 0,
    ) -> None:
        self._model = model
        self._folder = folder
        self._monitor = monitor or Monitor()
        self._patience = patience
        self._first_eligible = first_eligible_epoch
        self.history: list[dict[str, float]] = []
        self.seconds_before = 0.0

    def best_epoch(self) -> int:
        """The 0-based epoch that the monitor finds best, the later one of equals."""
        eligible = range(self._first_eligible, len(self.history))
        return max(eligible, key=lambda epoch: (self._monitor.score(self.history[epoch]), epoch))

    def should_stop(self) -> bool:
        """Whether patience has run out."""
        enough = len(self.history) > self._first_eligible
        return bool(
            self._patience
            and enough
            and len(self.history) - 1 - self.best_epoch() >= self._patience
        )

    def record(self, metrics: Mapping[str, float]) -> None:
        """Keeps one finished epoch: best weights first, so that the checkpoint never runs ahead."""
        self.history.append(dict(metrics))
        last = len(self.history) - 1
        if last >= self._first_eligible and self.best_epoch() == last:
            save_weights(self._model, self._folder / BEST)
        optimizer = [variable.numpy() for variable in _variables(self._model.optimizer)]
        arrays = _named("model", self._model.get_weights()) | _named("optimizer", optimizer)
        with durable.whole_file(self._folder / CHECKPOINT) as temporary:
            np.savez(temporary, history=np.array(json.dumps(self.history)), **arrays)

    def restore(self) -> int:
        """Loads the last finished epoch, if there is one, and returns the next one's number."""
        path = self._folder / CHECKPOINT
        if not path.is_file():
            return 0
        self._model.optimizer.build(self._model.trainable_variables)
        with _opened(path) as stored:
            self.history = json.loads(str(stored["history"]))
            self._model.set_weights(_unnamed("model", stored))
            values = _unnamed("optimizer", stored)
            for variable, value in zip(_variables(self._model.optimizer), values, strict=True):
                variable.assign(value)
        self.seconds_before = sum(record["seconds"] for record in self.history)
        return len(self.history)

    def load_best(self) -> None:
        """Gives the model the weights of the best epoch."""
        load_weights(self._model, self._folder / BEST)


def save_weights(model: Any, path: str | Path) -> None:
    """Writes all weights of a model, in Keras' order, whole or not at all."""
    with durable.whole_file(path) as temporary:
        np.savez(temporary, **_named("model", model.get_weights()))


def load_weights(model: Any, path: str | Path) -> None:
    """Reads what `save_weights` wrote into a model of the same architecture.

    Raises:
      ValueError: the file is damaged or of another architecture.
    """
    with _opened(path) as stored:
        model.set_weights(_unnamed("model", stored))


def weights_sha256(model: Any) -> str:
    """The SHA-256 of all weights of a model, in Keras' order."""
    return durable.sha256(
        b"".join(np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())
    )


@contextmanager
def _opened(path: str | Path) -> Iterator[Mapping[str, np.ndarray]]:
    try:
        # Opened here, since numpy leaves a damaged file open.
        with Path(path).open("rb") as stream, np.load(stream) as stored:
            yield stored
    except durable.DAMAGED_NPZ as error:
        raise ValueError(
            f"The weights in {path} do not fit the model or are damaged: {error}. "
            "Remove the stage's folder to train it again."
        ) from error


def _variables(optimizer: Any) -> list[Any]:
    """All that an optimizer remembers, with the loss scale of mixed_float16 first."""
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        scale = optimizer._loss_scale
        return [scale.current_loss_scale, scale.counter, *_variables(inner)]
    variables = optimizer.variables
    found = list(variables() if callable(variables) else variables)
    # Nadam does not list the product of its momenta.
    product = getattr(optimizer, "_u_product", None)
    return found if product is None else [*found, product]


def _named(prefix: str, arrays: Sequence[np.ndarray]) -> dict[str, Any]:
    return {f"{prefix}/{index:05d}": array for index, array in enumerate(arrays)}


def _unnamed(prefix: str, stored: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [stored[name] for name in sorted(stored) if name.startswith(prefix + "/")]
