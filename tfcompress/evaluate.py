"""What a model or an artifact says about every example of the test split, or of validation.

The only reader of the test split. Knows how to run all of it in batches; accuracy, intervals and
tests are computed from the stored outputs elsewhere, with no TensorFlow.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from tfcompress.artifact import Artifact, cut, run_batches
from tfcompress.litert import MOST_THREADS, Session, check_counts
from tfcompress.predictions import VALUES, Pictures, Predictions
from tfcompress.registry import require
from tfcompress.results import EvaluationSpeed
from tfcompress.tokenization import Preparation, Tokenization

if TYPE_CHECKING:
    from tfcompress._keras import keras
    from tfcompress.data import Dataset, Split

# Numbers in the input of one call: 32 images of 64 pixels, 5 of 224. Larger calls run no faster and
# take memory for every activation.
_INPUT_BUDGET = 2**18 * 3
_LARGEST_BATCH = {"artifact": 32, "model": 256}
# Batches preprocessed together: enough to spread the cost of a call, little enough for the cache.
_BATCHES_A_TURN = 4

SPLITS = ("test", "validation")
PICTURE_SIZE = 64
Progress = Callable[[int, int], None]


def predict_model(
    model: keras.Model,
    dataset: Dataset,
    preprocessing: Preparation,
    *,
    split: str = "test",
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Runs a Keras model over the whole test split, or over the validation split.

    Args:
      model: one input, images or ids of tokens, one output [batch, classes], or [batch, targets].
      dataset: whose split is read.
      preprocessing: what the model was trained with.
      split: `"test"`, or `"validation"` for what may be fitted, such as a temperature.
      batch_size: images in one call; None chooses by the size of an image.
      progress: called with the count of images done and of all.

    Raises:
      ValueError: another split, or an empty one.
    """
    # Here, not above: reading stored predictions needs no export.
    from tfcompress.export import inference, output_kind

    examples, call = _split(dataset, split), inference(model)
    batch_size = _batch_size(batch_size, preprocessing, "model")
    outputs, order = [], _order(examples, preprocessing)
    for start in range(0, len(examples), batch_size):
        images = preprocessing.apply(examples.examples[order[start : start + batch_size]])
        if isinstance(preprocessing, Tokenization):
            images = preprocessing.cut_to_longest(images)
        outputs.append(call(images))
        if progress is not None:
            progress(start + len(images), len(examples))
    found = np.concatenate(outputs)[np.argsort(order)]
    kind = VALUES if examples.labels.dtype.kind == "f" else output_kind(model)
    return _stored([found], examples, kind)


def _order(examples: Split, preprocessing: Preparation) -> np.ndarray:
    """The order to run a model in: texts by their lengths, so that little padding is computed."""
    if not isinstance(preprocessing, Tokenization):
        return np.arange(len(examples))
    return np.argsort(preprocessing.needed(examples.examples), kind="stable")


def predict_artifact(
    artifact: Artifact,
    dataset: Dataset,
    preprocessing: Preparation | None = None,
    *,
    split: str = "test",
    threads: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Runs an exported file over a whole split, in batches on every core.

    A file that takes texts of several lengths reads each at the shortest that holds it, as
    `Artifact.predict` does.

    Args:
      artifact: the file; its metadata say what its outputs are.
      dataset: whose split is read.
      preprocessing: None takes what the file carries.
      split: `"test"`, or `"validation"` for what may be fitted, such as a temperature.
      threads: processor threads; None takes every core that this process may use.
      batch_size: images in one call; None chooses by the size of an image.
      progress: called with the count of images done and of all.

    Raises:
      ValueError: the file lacks the metadata; another split, or an empty one.
    """
    examples = _split(dataset, split)
    preprocessing = preprocessing or artifact.preprocessing
    batch_size = _batch_size(batch_size, preprocessing, "artifact")
    outputs: list[np.ndarray] = []
    order: list[np.ndarray] = []
    done = 0
    for places, length in artifact.by_length(examples.examples):
        given = cut(examples.examples[places], length)
        sessions = _sessions(artifact, threads, min(batch_size, len(given)), length)
        order.append(np.arange(len(examples))[places])
        for part in _outputs(sessions, given, preprocessing):
            outputs.append(part)
            done += len(part)
            if progress is not None:
                progress(done, len(examples))
    found = np.concatenate(outputs)[np.argsort(np.concatenate(order))]
    return _stored([found], examples, artifact.output)


def counts_by_length(dataset: Dataset, lengths: Preparation) -> dict[str, int]:
    """How many test texts each length is the shortest for; empty where there is one length.

    Args:
      dataset: of texts.
      lengths: a `Tokenization` with several.
    """
    if not isinstance(lengths, Tokenization) or not lengths.shorter:
        return {}
    shortest = lengths.shortest(_split(dataset, "test").examples)
    return {str(length): int((shortest == length).sum()) for length in lengths.lengths}


def pictures(dataset: Dataset, positions: np.ndarray) -> Pictures:
    """Small pictures of some examples of the test split, at most 64 pixels high and wide.

    Args:
      dataset: whose test split is read.
      positions: integer, indices into it.

    Raises:
      ValueError: the examples are texts.
    """
    chosen = dataset.test.take(positions)
    return Pictures(np.stack([_small(image) for image in chosen.images]), chosen.ids)


def _small(image: np.ndarray) -> np.ndarray:
    if max(image.shape[:2]) <= PICTURE_SIZE:
        return image
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
    return np.asarray(picture).reshape(*picture.size[::-1], image.shape[-1])


def evaluation_speed(
    artifact: Artifact,
    dataset: Dataset,
    *,
    name: str = "",
    threads: int | None = None,
    batch_size: int | None = None,
    single_images: int = 500,
    batched_images: int = 2000,
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> EvaluationSpeed:
    """Images a second through one file: evaluation in batches against a loop over single images.

    Both go from raw images to real outputs with the same code, and load the file before the clock
    starts. The loop runs on one thread, which is its fastest setting for a small model. The two
    take turns; the median of the rounds counts.

    Args:
      artifact: the file, with its metadata.
      dataset: whose test split is read.
      name: what to call the file in the result.
      threads: processor threads of the evaluation in batches; None takes every core.
      batch_size: images in one call of it; None chooses by the size of an image.
      single_images: images that the loop runs over, at most.
      batched_images: images that the evaluation in batches runs over, at most.
      rounds: how often each is measured.
      clock: seconds.

    Raises:
      ValueError: the file lacks the metadata, or the split is empty.
    """
    images = _split(dataset, "test").examples[:batched_images]
    preprocessing = artifact.preprocessing
    batch_size = min(_batch_size(batch_size, preprocessing, "artifact"), len(images))
    check_counts(rounds=rounds, single_images=single_images, batched_images=batched_images)
    single = artifact.session(threads=1, batch=1)
    sessions = _sessions(artifact, threads, batch_size)
    singles = images[:single_images]

    def run_singles() -> None:
        for index in range(len(singles)):
            run_batches(single, preprocessing.apply(singles[index : index + 1]))

    def run_all() -> None:
        for _ in _outputs(sessions, images, preprocessing):
            pass

    def seconds(work: Callable[[], None]) -> float:
        start = clock()
        work()
        return clock() - start

    run_batches(single, preprocessing.apply(singles[:1]))
    times = [(seconds(run_singles), seconds(run_all)) for _ in range(rounds)]
    single_seconds, all_seconds = np.median(times, axis=0)
    return EvaluationSpeed(
        artifact=name or str(artifact.path or ""),
        batched=float(len(images) / all_seconds),
        single=float(len(singles) / single_seconds),
        batch=batch_size,
    )


def _split(dataset: Dataset, name: str) -> Split:
    found: Split = getattr(dataset, require(name, SPLITS, what="split to evaluate"))
    if len(found) == 0:
        raise ValueError(f"There is no example to evaluate: the {name} split is empty.")
    return found


def _stored(outputs: Sequence[np.ndarray], examples: Split, kind: str) -> Predictions:
    return Predictions(np.concatenate(outputs), examples.labels, examples.ids, kind)


def _batch_size(asked: int | None, preprocessing: Preparation, kind: str) -> int:
    if asked is not None:
        check_counts(batch_size=asked)
        return asked
    fitting = _INPUT_BUDGET // int(np.prod(preprocessing.input_shape))
    return max(1, min(_LARGEST_BATCH[kind], fitting))


def _sessions(
    artifact: Artifact, threads: int | None, batch: int, length: int | None = None
) -> list[Session]:
    """One session a thread: small models gain little from threads within a call."""
    if threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        threads = min(cores, MOST_THREADS)
    check_counts(threads=threads)
    return [artifact.session(threads=1, batch=batch, length=length) for _ in range(threads)]


def _outputs(
    sessions: Sequence[Session], images: np.ndarray, preprocessing: Preparation
) -> Iterator[np.ndarray]:
    """Outputs in the order of the images, some batches at a time; the threads preprocess too."""
    idle: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for session in sessions:
        idle.put(session)
    chunk = _BATCHES_A_TURN * sessions[0].input_details.shape[0]

    def run(start: int) -> np.ndarray:
        session = idle.get()
        try:
            return run_batches(session, preprocessing.apply(images[start : start + chunk]))
        finally:
            idle.put(session)

    with ThreadPoolExecutor(len(sessions)) as pool:
        yield from pool.map(run, range(0, len(images), chunk))
