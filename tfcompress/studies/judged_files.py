"""The files of a finished run, to be judged on other images than the run's own.

Knows how a file and the Keras baseline are asked, and where their answers are kept. Does not know
what the images are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcompress import evaluate, results
from tfcompress.artifact import Artifact
from tfcompress.config import BASELINE
from tfcompress.data import Dataset
from tfcompress.finished_run import FinishedRun
from tfcompress.predictions import Predictions
from tfcompress.registry import require
from tfcompress.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class JudgedFile:
    """A model or file that answers.

    Attributes:
      name: of the run's artifact, or `"baseline"`.
      sha256: of its bytes.
      predict: gives its outputs on the test split of a data set.
    """

    name: str
    sha256: str
    predict: Callable[[Dataset], Predictions]


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
    artifacts = [(row.name, Artifact.load(run.root / str(row.path))) for row in chosen]
    baseline = JudgedFile(
        BASELINE,
        source.baseline_sha256,
        lambda dataset: evaluate.predict_model(source.baseline, dataset, source.preprocessing),
    )
    return [baseline, *(_artifact(name, artifact) for name, artifact in artifacts)]


def _artifact(name: str, artifact: Artifact) -> JudgedFile:
    return JudgedFile(
        name, artifact.sha256, lambda dataset: evaluate.predict_artifact(artifact, dataset)
    )


def answers(
    file: JudgedFile,
    folder: RunFolder,
    dataset: Callable[[], Dataset],
    *,
    condition: str,
    key: str = "",
    labels: np.ndarray | None = None,
) -> Predictions:
    """A file's outputs on the test split of a data set, kept once they were made.

    Args:
      file: what is asked.
      folder: where the outputs are kept, under `predictions/<condition>/`.
      dataset: gives the data set where the outputs are still to be made.
      condition: names the images.
      key: what else tells these images from others of that name.
      labels: for each class of the data set, the model's output that stands for it; None where they
        are the same.
    """

    def make(path: Path) -> None:
        found = file.predict(dataset())
        if labels is not None:
            found = dataclasses.replace(found, labels=labels[found.labels])
        found.save(path)

    path = folder.predictions(f"{condition}/{file.name}")
    folder.keep_file(path, f"{file.sha256} {condition} {key}".strip(), make)
    return Predictions.load(path)
