"""Reads a run folder: `results.json` and the stored predictions, held against one another.

Knows where things lie in a run folder and what makes one unfit for a report. Does not know how
anything is shown.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfcompress import durable, statistics
from tfcompress import results as results_module
from tfcompress.predictions import VALUES, Pictures, Predictions
from tfcompress.report import analysis
from tfcompress.report.analysis import Answers, Judged
from tfcompress.results import ArtifactResult, Results

PICTURES = Path("predictions") / "pictures.npz"
DATA = "data.json"


class RunFolderError(ValueError):
    """A folder that no report can be made of. The message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """What a report is rendered from.

    Attributes:
      folder: the run folder.
      results: its `results.json`.
      answers: of a classification, what the stored predictions say: of the baseline, of the Keras
        model at the end of each recipe, and of each file with recorded ones, by name.
      judged: what follows from them, of the baseline and of each file; empty where only the answers
        were asked for.
      pictures: of some test images, uint8 [height, width, 1 or 3] by id: those that most files
        answer other than the baseline.
    """

    folder: Path
    results: Results
    answers: Mapping[str, Answers] = field(default_factory=dict)
    judged: Mapping[str, Judged] = field(default_factory=dict)
    pictures: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def test_checksum(self) -> str | None:
        """Of the test split's images and labels; None where the folder holds none."""
        path = self.folder / DATA
        record = durable.read_json(path) if path.is_file() else {}
        if not isinstance(record, dict):
            raise RunFolderError(f"{path} holds no checksums. It may be damaged.")
        return record.get("test")

    @property
    def files(self) -> tuple[Judged, ...]:
        """Those of `judged` that were compared with the baseline."""
        return tuple(each for each in self.judged.values() if each.flips is not None)


def load(run_dir: str | os.PathLike[str], *, judge: bool = True) -> Run:
    """Reads a finished run.

    Args:
      run_dir: a run folder with `results.json`; the predictions it names must lie where it says.
      judge: False reads the answers alone, which takes a fraction of the time.

    Raises:
      RunFolderError: no such folder, no run, an unfinished run, a truncated or foreign
        `results.json`, predictions that are missing, unreadable or disagree with it.
    """
    folder = Path(run_dir)
    results = load_results(folder)
    baseline = _stored(folder, results.baseline.predictions)
    found = Run(folder, results, {}, {}, _pictures(folder))
    answers: dict[str, Answers] = {}
    judged: dict[str, Judged] = {}
    for entry in (results.baseline, *results.models, *results.artifacts):
        if baseline is not None and baseline.kind == VALUES:
            _require_same_errors(folder, entry, baseline)
        elif entry.name in answers:
            raise RunFolderError(f"{folder / results_module.FILE_NAME} names {entry.name} twice.")
        elif entry.predictions is not None:
            beside = None if entry is results.baseline else baseline
            said = _read(found, entry, beside, judge=judge and entry not in results.models)
            answers[entry.name] = said
            if isinstance(said, Judged):
                judged[entry.name] = said
    return dataclasses.replace(found, answers=answers, judged=judged)


def bare(run_dir: str | os.PathLike[str]) -> Run:
    """A run with its results alone.

    Raises:
      RunFolderError: as `load_results`.
    """
    return Run(Path(run_dir), load_results(run_dir))


def load_results(run_dir: str | os.PathLike[str]) -> Results:
    """Reads `results.json` alone.

    Raises:
      RunFolderError: no such folder, no run, an unfinished run, a truncated or foreign file.
    """
    folder = Path(run_dir)
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


def _pictures(folder: Path) -> dict[int, np.ndarray]:
    path = folder / PICTURES
    if not path.is_file():
        return {}
    try:
        found = Pictures.load(path)
    except ValueError as error:
        raise RunFolderError(str(error)) from error
    return {int(index): image for index, image in zip(found.ids, found.images, strict=True)}


def _stored(folder: Path, name: str | None) -> Predictions | None:
    return None if name is None else load_predictions(folder / name)


def _read(run: Run, entry: ArtifactResult, baseline: Predictions | None, *, judge: bool) -> Answers:
    """What the predictions say, checked against the accuracy that the results record."""
    found = load_predictions(run.folder / str(entry.predictions))
    try:
        if baseline is not None:
            found = found.aligned_to(baseline)
        said = (
            analysis.judge(
                entry.name,
                found,
                _stored(run.folder, entry.validation_predictions),
                baseline=baseline,
                classes=len(run.results.data.classes),
            )
            if judge
            else analysis.answers(entry.name, found)
        )
    except ValueError as error:
        raise RunFolderError(f"{entry.predictions}: {error}") from error
    _require_fitting(run, entry, found)
    if baseline is not None:
        _require_same_difference(entry, said.right, baseline)
    right = said.right
    # A float32 mean may differ from the exact fraction, by far less than one example.
    if entry.accuracy is not None and abs(right.mean() - entry.accuracy) > 0.5 / right.size:
        raise RunFolderError(
            f"{entry.predictions} gives accuracy {right.mean():.4f}, {results_module.FILE_NAME} "
            f"says {entry.accuracy:.4f} for {entry.name}. The two are not of one run."
        )
    return said


def _require_fitting(run: Run, entry: ArtifactResult, found: Predictions) -> None:
    data = run.results.data
    expected = len(data.classes), data.split_sizes.get("test", len(found))
    if (found.outputs.shape[1], len(found)) != expected:
        raise RunFolderError(
            f"{entry.predictions} holds outputs {list(found.outputs.shape)}, "
            f"{results_module.FILE_NAME} says {expected[1]:,} test {data.examples} and "
            f"{expected[0]} classes. The two are not of one run."
        )


def _require_same_difference(
    entry: ArtifactResult, right: np.ndarray, baseline: Predictions
) -> None:
    versus = statistics.compare_right(right, baseline.correct)
    recorded = (
        (entry.difference, versus.difference),
        (entry.gained, versus.gained),
        (entry.lost, versus.lost),
    )
    if any(kept is not None and abs(kept - now) > 0.5 / right.size for kept, now in recorded):
        raise RunFolderError(
            f"{entry.predictions} differs from the baseline by {versus.difference:.4f} "
            f"({versus.gained} gained, {versus.lost} lost), {results_module.FILE_NAME} says "
            f"{entry.difference} ({entry.gained}, {entry.lost}). The two are not of one run."
        )


def names_of(runs: Sequence[Run]) -> list[str]:
    """The shortest ends of the folders' paths that tell the runs apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise RunFolderError(
        f"The same run stands twice: {', '.join(str(run.folder) for run in runs)}."
    )


def require_same_test(runs: Sequence[Run]) -> None:
    """Refuses runs that were judged on other test examples, or with other classes.

    Raises:
      RunFolderError: with the first that does not fit.
    """
    first = runs[0]
    for run in runs[1:]:
        if bool(run.results.data.targets) != bool(first.results.data.targets):
            raise RunFolderError(
                f"Of {run.folder} and {first.folder} one is a regression, the other a "
                "classification. Compare runs of one task."
            )
        if run.results.data.classes != first.results.data.classes:
            what = f"classes {', '.join(run.results.data.classes[:5])}"
            theirs = ", ".join(first.results.data.classes[:5])
            raise RunFolderError(f"{run.folder} has {what}, {first.folder} has {theirs}.")
        if None not in (known := (run.test_checksum, first.test_checksum)) and len(set(known)) > 1:
            raise RunFolderError(
                f"{run.folder} was judged on other test {run.results.data.examples} than "
                f"{first.folder}. Compare runs of one data set, with the same test split."
            )


def _require_same_errors(folder: Path, entry: ArtifactResult, baseline: Predictions) -> None:
    """Holds predicted values against the error that the results record."""
    if entry.predictions is None or not entry.metrics:
        return
    try:
        found = load_predictions(folder / entry.predictions).aligned_to(baseline)
        error = statistics.mean_absolute_error(found.outputs, found.labels)
    except ValueError as error_:
        raise RunFolderError(f"{entry.predictions}: {error_}") from error_
    recorded = entry.metrics[0]
    if recorded.difference is not None:
        before = statistics.mean_absolute_error(baseline.outputs, baseline.labels)
        if not math.isclose(
            error - before, recorded.difference, rel_tol=1e-3, abs_tol=1e-4 * error
        ):
            raise RunFolderError(
                f"{entry.predictions} gives {recorded.name} {error - before:+.6g} beside the "
                f"baseline's, {results_module.FILE_NAME} says {recorded.difference:+.6g} for "
                f"{entry.name}. The two are not of one run."
            )
    if not math.isclose(error, recorded.value, rel_tol=1e-4):
        raise RunFolderError(
            f"{entry.predictions} gives {recorded.name} {error:.6g}, {results_module.FILE_NAME} "
            f"says {recorded.value:.6g} for {entry.name}. The two are not of one run."
        )
