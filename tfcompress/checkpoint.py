"""The durable state of a training: what it takes to go on after an interruption, and to go back.

Knows which variables of a model and its optimizer make up the state, and the files that hold them.
Does not know how the training goes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import durable
from tfcompress.goals import Monitor

CHECKPOINT = "checkpoint.npz"
BEST = "best.npz"
FromChief = Callable[[Callable[[], bytes]], bytes]
"""Gives to each of several processes what a function makes in the first of them."""


class TrainingState:
    """The state of one training: one checkpoint file, one file of the best weights.

    Args:
      model: compiled.
      folder: of the two files.
      monitor: by what the best epoch is chosen.
      patience: epochs without a better one before the training ends; 0 for never.
      first_eligible_epoch: 0-based; earlier epochs are never the best.
      from_chief: gives to each of several processes that train together what the function that it
        is given makes in the first of them; None in a training of one process.
      is_chief: whether this is that first process, the only one that reads and writes files.

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
        from_chief: FromChief | None = None,
        is_chief: bool = True,
    ) -> None:
        self._model = model
        self._from_chief = from_chief
        self._is_chief = is_chief
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
        if self._from_chief:
            # So that all agree on the best epoch and on when to stop.
            metrics = json.loads(self._from_chief(lambda: json.dumps(dict(metrics)).encode()))
        self.history.append(dict(metrics))
        last = len(self.history) - 1
        # Read by every process: statistics that differ between them are averaged as they are read.
        weights = _named("model", self._model.get_weights())
        optimizer = [variable.numpy() for variable in _variables(self._model.optimizer)]
        if not self._is_chief:
            return
        if last >= self._first_eligible and self.best_epoch() == last:
            _write(self._folder / BEST, weights)
        history = {"history": np.array(json.dumps(self.history))}
        _write(self._folder / CHECKPOINT, history | weights | _named("optimizer", optimizer))

    def restore(self) -> int:
        """Loads the last finished epoch, if there is one, and returns the next one's number."""
        path = self._folder / CHECKPOINT
        found = self._read(CHECKPOINT)
        if not found:
            self._begin_alike()
            return 0
        self._model.optimizer.build(self._model.trainable_variables)
        with _opened(found, path) as stored:
            self.history = json.loads(str(stored["history"]))
            self._model.set_weights(_unnamed("model", stored))
            values = _unnamed("optimizer", stored)
            for variable, value in zip(_variables(self._model.optimizer), values, strict=True):
                variable.assign(value)
        self.seconds_before = sum(record["seconds"] for record in self.history)
        return len(self.history)

    def load_best(self) -> None:
        """Gives the model the weights of the best epoch."""
        put_weights(self._model, self._read(BEST), path=self._folder / BEST)

    def _read(self, name: str) -> bytes:
        """A file of the folder; empty where there is none."""
        path = self._folder / name

        def read() -> bytes:
            return path.read_bytes() if path.is_file() else b""

        return self._from_chief(read) if self._from_chief else read()

    def _begin_alike(self) -> None:
        """Gives every process the weights that the first one begins with."""
        if self._from_chief:
            weights = self._from_chief(lambda: packed(self._model))
            put_weights(self._model, weights, path=self._folder)


def save_weights(model: Any, path: str | Path) -> None:
    """Writes all weights of a model, in Keras' order, whole or not at all."""
    _write(Path(path), _named("model", model.get_weights()))


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    with durable.whole_file(path) as temporary:
        np.savez(temporary, **arrays)


def packed(model: Any) -> bytes:
    """All weights of a model as the bytes of what `save_weights` writes."""
    stream = io.BytesIO()
    np.savez(stream, **_named("model", model.get_weights()))
    return stream.getvalue()


def load_weights(model: Any, path: str | Path) -> None:
    """Reads what `save_weights` wrote into a model of the same architecture.

    Raises:
      ValueError: the file is damaged or of another architecture.
    """
    put_weights(model, Path(path).read_bytes(), path=path)


def put_weights(model: Any, data: bytes, *, path: str | Path) -> None:
    """Gives a model of the same architecture the weights in the bytes of a file.

    Args:
      model: whose weights change.
      data: what `save_weights` wrote, or `packed` gave.
      path: the file's, for the message.

    Raises:
      ValueError: they are damaged or of another architecture.
    """
    with _opened(data, path) as stored:
        model.set_weights(_unnamed("model", stored))


def weights_sha256(model: Any) -> str:
    """The SHA-256 of all weights of a model, in Keras' order."""
    return durable.sha256(
        b"".join(np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())
    )


@contextmanager
def _opened(data: bytes, path: str | Path) -> Iterator[Mapping[str, np.ndarray]]:
    try:
        with np.load(io.BytesIO(data)) as stored:
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
