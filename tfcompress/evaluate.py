"""Stores what a model or an artifact says about every example of the test split.

The only reader of that split. Knows how to run all of it in batches and how raw outputs are kept;
accuracy, intervals and tests are computed from the stored files elsewhere, with no TensorFlow.
"""

from __future__ import annotations

import os
import queue
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfcompress import durable
from tfcompress.artifact import OUTPUT_KINDS, Artifact, run_batches
from tfcompress.litert import Session, check_counts
from tfcompress.preprocessing import Preprocessing
from tfcompress.registry import require
from tfcompress.results import EvaluationSpeed

if TYPE_CHECKING:
    from tfcompress._keras import keras
    from tfcompress.data import Dataset

# Images preprocessed at a time: enough to spread the cost of a call, little enough for the cache.
_CHUNK = 128
DEFAULT_BATCH = 32
DEFAULT_THREADS = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Predictions:
    """Raw outputs on every example of a split.

    Attributes:
      outputs: float32 [examples, classes], as the model gives them.
      labels: int64 [examples], the true classes.
      ids: int64 [examples], the examples' indices in the published split; they pair two models.
      kind: `"logits"` or `"probabilities"`.

    Raises:
      ValueError: lengths that differ, outputs that are no matrix, or an unknown kind.
    """

    outputs: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    kind: str

    def __post_init__(self) -> None:
        require(self.kind, OUTPUT_KINDS, what="kind of outputs")
        lengths = len(self.outputs), len(self.labels), len(self.ids)
        if self.outputs.ndim != 2 or len(set(lengths)) != 1:
            raise ValueError(
                "Predictions take outputs [examples, classes] with as many labels and ids. "
                f"Received: outputs {list(self.outputs.shape)}, {lengths[1]} labels, "
                f"{lengths[2]} ids."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> np.ndarray:
        """Bool [examples]: whether the most likely class is the true one."""
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
        target = Path(path)
        if target.suffix != ".npz":
            raise ValueError(f"Predictions are stored as .npz. Received: {target}.")
        with durable.whole_file(target) as temporary:
            np.savez_compressed(
                temporary,
                outputs=self.outputs,
                labels=self.labels,
                ids=self.ids,
                kind=np.array(self.kind),
            )
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictions:
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is damaged, or not of this kind.
        """
        try:
            # A stream of our own: np.load leaves its own open where the file is damaged.
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                return cls(
                    outputs=stored["outputs"],
                    labels=stored["labels"],
                    ids=stored["ids"],
                    kind=str(stored["kind"]),
                )
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} holds no stored predictions ({error}). Expected outputs, labels, ids and "
                "kind. Remove it and evaluate again."
            ) from error


def predict_model(
    model: keras.Model,
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Predictions:
    """Runs a Keras model over the whole test split.

    Args:
      model: one image input, one output [batch, classes].
      dataset: whose test split is read.
      preprocessing: what the model was trained with.
      batch_size: images in one call.
      progress: called with the count of images done and of all.
    """
    # Here, not above: reading stored predictions needs no export.
    from tfcompress.export import inference, output_kind

    split, call = dataset.test, inference(model)
    check_counts(batch_size=batch_size)
    outputs = []
    for start in range(0, len(split), batch_size):
        images = preprocessing.apply(split.images[start : start + batch_size])
        outputs.append(call(images))
        if progress is not None:
            progress(start + len(images), len(split))
    return Predictions(np.concatenate(outputs), split.labels, split.ids, output_kind(model))


def predict_artifact(
    artifact: Artifact,
    dataset: Dataset,
    preprocessing: Preprocessing | None = None,
    *,
    threads: int = DEFAULT_THREADS,
    batch_size: int = DEFAULT_BATCH,
    progress: Progress | None = None,
) -> Predictions:
    """Runs an exported file over the whole test split, in batches.

    Args:
      artifact: the file; its metadata say what its outputs are.
      dataset: whose test split is read.
      preprocessing: None takes what the file carries.
      threads: processor threads.
      batch_size: images in one call.
      progress: called with the count of images done and of all.

    Raises:
      ValueError: the file lacks the metadata.
    """
    split = dataset.test
    preprocessing = preprocessing or artifact.preprocessing
    batches = _artifact_outputs(
        artifact, split.images, preprocessing, threads=threads, batch_size=batch_size
    )
    outputs, done = [], 0
    for batch in batches:
        outputs.append(batch)
        done += len(batch)
        if progress is not None:
            progress(done, len(split))
    return Predictions(np.concatenate(outputs), split.labels, split.ids, artifact.output)


def evaluation_speed(
    artifact: Artifact,
    dataset: Dataset,
    *,
    name: str = "",
    threads: int = DEFAULT_THREADS,
    batch_size: int = DEFAULT_BATCH,
    single_images: int = 1000,
    clock: Callable[[], float] = time.perf_counter,
) -> EvaluationSpeed:
    """Images a second through one file: the batched evaluation against a loop over single images.

    Both start from raw images and end with real outputs; both have loaded the file before the clock
    starts for the loop, while loading counts for the batched evaluation. The loop keeps one session
    with one thread, which is its fastest setting for a small model.

    Args:
      artifact: the file, with its metadata.
      dataset: whose test split is read.
      name: what to call the file in the result.
      threads: processor threads of the batched evaluation.
      batch_size: images in one batched call.
      single_images: images that the loop runs over, at most.
      clock: seconds.
    """
    images, preprocessing = dataset.test.images, artifact.preprocessing
    session = artifact.session(threads=1, batch=1)
    singles = images[:single_images]
    run_batches(session, preprocessing.apply(singles[:1]))
    start = clock()
    for index in range(len(singles)):
        run_batches(session, preprocessing.apply(singles[index : index + 1]))
    single_seconds = clock() - start
    start = clock()
    for _ in _artifact_outputs(
        artifact, images, preprocessing, threads=threads, batch_size=batch_size
    ):
        pass
    return EvaluationSpeed(
        artifact=name or str(artifact.path or ""),
        batched=len(images) / (clock() - start),
        single=len(singles) / single_seconds,
        batch=batch_size,
    )


def _artifact_outputs(
    artifact: Artifact,
    images: np.ndarray,
    preprocessing: Preprocessing,
    *,
    threads: int,
    batch_size: int,
) -> Iterator[np.ndarray]:
    """Outputs in the order of the images, a chunk at a time.

    Each thread has a session of its own: small models gain little from threads within a call, and
    preprocessing runs beside them.
    """
    check_counts(threads=threads, batch_size=batch_size)
    if len(images) == 0:
        raise ValueError("There is no example to evaluate: the split is empty.")
    sessions: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for _ in range(threads):
        sessions.put(artifact.session(threads=1, batch=min(batch_size, len(images))))
    chunk = max(_CHUNK // batch_size, 1) * batch_size

    def run(start: int) -> np.ndarray:
        session = sessions.get()
        try:
            return run_batches(session, preprocessing.apply(images[start : start + chunk]))
        finally:
            sessions.put(session)

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(run, range(0, len(images), chunk))
