"""Models and files that are asked about images, and their answers, kept once they were made.

Knows how a Keras model and an exported file are asked, and where their answers lie in a folder.
Does not know what the images are, nor what is said of the answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import checkpoint, evaluate, results
from tfcompress.artifact import Artifact
from tfcompress.config import BASELINE
from tfcompress.data import Dataset
from tfcompress.finished_run import FinishedRun
from tfcompress.predictions import Predictions
from tfcompress.registry import require
from tfcompress.run_folder import RunFolder
from tfcompress.tokenization import Preparation


@dataclass(frozen=True, eq=False)
class JudgedFile:
    """A model or file that answers.

    Attributes:
      name: of the file, or of the Keras model.
      sha256: of its bytes, or of the model's weights: answers are kept for one of them.
      predict: gives its outputs on a data set; takes what `evaluate.predict_model` takes by name.
    """

    name: str
    sha256: str
    predict: Callable[..., Predictions]


def of_model(name: str, model: Any, preprocessing: Preparation) -> JudgedFile:
    """A Keras model, with the preprocessing that it was trained with."""

    def predict(dataset: Dataset, **options: Any) -> Predictions:
        return evaluate.predict_model(model, dataset, preprocessing, **options)

    return JudgedFile(name, checkpoint.weights_sha256(model), predict)


def of_artifact(name: str, artifact: Artifact) -> JudgedFile:
    """An exported file."""

    def predict(dataset: Dataset, **options: Any) -> Predictions:
        return evaluate.predict_artifact(artifact, dataset, **options)

    return JudgedFile(name, artifact.sha256, predict)


def of_run(source: FinishedRun, run: RunFolder, *, names: Sequence[str] = ()) -> list[JudgedFile]:
    """The Keras baseline of a run, then its files.

    Args:
      source: what the run left.
      run: its folder.
      names: of artifacts; none for all.

    Raises:
      UnknownNameError: the run has no such artifact; the message lists those that it has.
      FileNotFoundError: a file is missing.
    """
    rows = results.load(run.root).artifacts
    known = tuple(row.name for row in rows)
    for name in names:
        require(name, known, what=f"file of {run.root}")
    chosen = [row for row in rows if row.name in (names or known)]
    files = [of_artifact(row.name, Artifact.load(run.root / str(row.path))) for row in chosen]
    return [of_model(BASELINE, source.baseline, source.preprocessing), *files]


def answers(
    file: JudgedFile,
    folder: RunFolder,
    dataset: Callable[[], Dataset],
    *,
    condition: str,
    key: str = "",
    labels: np.ndarray | None = None,
    **options: Any,
) -> Predictions:
    """A file's outputs on a split of a data set, kept once they were made.

    Args:
      file: what is asked.
      folder: where the outputs are kept, as `RunFolder.predictions` has them.
      dataset: gives the data set where the outputs are still to be made.
      condition: names the images: `"test"`, `"validation"`, or how those of the test split were
        changed.
      key: what else tells these images from others of that name.
      labels: for each class of the data set, the model's output that stands for it; None where they
        are the same.
      **options: for `file.predict`, such as `split` and `progress`.
    """

    def make(path: Path) -> None:
        found = file.predict(dataset(), **options)
        if labels is not None:
            found = dataclasses.replace(found, labels=labels[found.labels])
        found.save(path)

    path = folder.predictions(file.name, condition)
    folder.keep_file(path, f"{file.sha256} {condition} {key}".strip(), make)
    return Predictions.load(path)
