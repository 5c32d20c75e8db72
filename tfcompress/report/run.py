"""Reads a run folder: `results.json` and the stored predictions, held against one another.

Knows where things lie in a run folder and what makes one unfit for a report. Does not know how
anything is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcompress import results as results_module
from tfcompress import statistics
from tfcompress.predictions import Predictions
from tfcompress.results import ArtifactResult, Results


class RunFolderError(ValueError):
    """A folder that no report can be made of. The message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """What a report is rendered from.

    Attributes:
      folder: the run folder.
      results: its `results.json`.
      labels: int [examples] of the test split; None where no predictions are recorded.
      right: for each model with recorded predictions, bool [examples]: which it has right.
    """

    folder: Path
    results: Results
    labels: np.ndarray | None
    right: Mapping[str, np.ndarray]


def load(run_dir: str | os.PathLike[str]) -> Run:
    """Reads a finished run.

    Args:
      run_dir: a run folder with `results.json`; the predictions it names must lie where it says.

    Raises:
      RunFolderError: no such folder, no run, an unfinished run, a truncated or foreign
        `results.json`, predictions that are missing, unreadable or disagree with it.
    """
    folder = Path(run_dir)
    results = _load_results(folder)
    labels, ids, right = None, None, {}
    for entry in (results.baseline, *results.artifacts):
        if entry.predictions is None:
            continue
        predictions = load_predictions(folder / entry.predictions)
        if labels is None:
            labels, ids = predictions.labels, predictions.ids
        elif not (_same(labels, predictions.labels) and _same(ids, predictions.ids)):
            raise RunFolderError(
                f"{entry.predictions} was made on other examples than the first predictions of the "
                "run. Evaluate every file of a run on the same test split."
            )
        right[entry.name] = _judge(entry, predictions)
    return Run(folder, results, labels, right)


def _load_results(folder: Path) -> Results:
    if not folder.is_dir():
        raise RunFolderError(f"No such folder: {folder}. Pass the folder of a finished run.")
    if not (folder / results_module.FILE_NAME).is_file():
        if (folder / "config.json").is_file():
            raise RunFolderError(
                f"The run in {folder} is not finished: no {results_module.FILE_NAME}. Start it "
                "again with the command that made it; it goes on from its last epoch."
            )
        raise RunFolderError(
            f"{folder} is not a run folder: no {results_module.FILE_NAME} and no config.json in it."
        )
    try:
        results = results_module.load(folder)
    except (ValueError, TypeError, AttributeError) as error:
        raise RunFolderError(str(error)) from error
    if results.baseline is None or results.data is None or results.artifacts is None:
        raise RunFolderError(
            f"{folder / results_module.FILE_NAME} lacks its data, baseline or artifacts."
        )
    return results


def load_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads stored predictions with numpy alone; nothing in the file is executed.

    Raises:
      RunFolderError: the file is missing, damaged, or holds something else.
    """
    try:
        return Predictions.load(path)
    except FileNotFoundError as error:
        raise RunFolderError(
            f"Missing predictions: {path}. Expected beside {results_module.FILE_NAME}, which names "
            "them. Copy the whole run folder, or evaluate again."
        ) from error
    except ValueError as error:
        raise RunFolderError(str(error)) from error


def _judge(entry: ArtifactResult, predictions: Predictions) -> np.ndarray:
    """Which examples are right, checked against the accuracy that the results record."""
    try:
        right = statistics.correct(predictions.outputs, predictions.labels)
    except ValueError as error:
        raise RunFolderError(f"{entry.predictions}: {error}") from error
    # A float32 mean may differ from the exact fraction, by far less than one example.
    if entry.accuracy is not None and abs(right.mean() - entry.accuracy) > 0.5 / right.size:
        raise RunFolderError(
            f"{entry.predictions} gives accuracy {right.mean():.4f}, {results_module.FILE_NAME} "
            f"says {entry.accuracy:.4f} for {entry.name}. The two are not of one run."
        )
    return right


def _same(one: np.ndarray | None, other: np.ndarray) -> bool:
    return one is not None and np.array_equal(one, other)
