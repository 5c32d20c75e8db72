"""Whether a finished run's files hold up: on corrupted test images, and on another data set.

Asks the Keras baseline and every file about the same corrupted images, keeps all outputs, and
computes everything from what is kept. Knows which figures belong side by side. Does not know how an
image is corrupted, nor how the result is shown.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress import data, durable, environment, finished_run, statistics
from tfcompress.config import plain
from tfcompress.data import corruptions
from tfcompress.data.corruptions import SEVERITIES
from tfcompress.finished_run import FinishedRun
from tfcompress.judged_files import JudgedFile, answers, of_run
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.robustness import CorruptionScore, RobustFile, Robustness, Shift
from tfcompress.run_folder import RunFolder
from tfcompress.statistics import RightAnswers
from tfcompress.studies import shift

RESULT = "robustness.json"
CLEAN = "clean"
"""The folder of the answers on the test split as it is, under `predictions/`."""


@dataclass(frozen=True)
class RobustnessConfig:
    """What the files are asked about.

    Attributes:
      corruptions: of `data.corruptions.names()`.
      severities: each from 1 (weakest) to 5.
      files: names of the run's artifacts; none for all.
      shift_dataset: another data set; "" for none.
      resamples: of the bootstrap, at least 100.
      seed: of the corruptions and of the bootstrap, 0 or more.

    Raises:
      ValueError: an unknown corruption or severity, one named twice, or a value out of range.
    """

    corruptions: tuple[str, ...] = corruptions.names()
    severities: tuple[int, ...] = SEVERITIES
    files: tuple[str, ...] = ()
    shift_dataset: str = ""
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.corruptions or not self.severities:
            raise ValueError(
                "RobustnessConfig takes a corruption and a severity at least. "
                f"Received: {list(self.corruptions)} and {list(self.severities)}."
            )
        for name in self.corruptions:
            corruptions.check(name, 1)
        for severity in self.severities:
            corruptions.check(self.corruptions[0], severity)
        for field in ("corruptions", "severities", "files"):
            values = getattr(self, field)
            if len({*values}) < len(values):
                raise ValueError(
                    f"RobustnessConfig.{field} names something twice: {list(values)}. Give each "
                    "once."
                )
        if self.resamples < 100 or self.seed < 0:
            raise ValueError(
                "RobustnessConfig takes at least 100 resamples and a seed of 0 or more. "
                f"Received: {self.resamples} and {self.seed}."
            )


def judge(
    run_dir: str | os.PathLike[str],
    config: RobustnessConfig,
    output_dir: str | os.PathLike[str],
    *,
    reporter: Reporter | None = None,
) -> Robustness:
    """Judges the baseline and the files of a finished run, or goes on with it.

    Args:
      run_dir: folder of a finished run.
      config: what they are asked about.
      output_dir: where outputs and the result are kept; new, empty, or of the same study.
      reporter: told of the progress.

    Raises:
      FileNotFoundError: the run has no baseline model.
      ValueError: the run has no such file, there is no such data set, the folder belongs to
        something else, or the data are not those of the run.
    """
    source, run = finished_run.load(run_dir), RunFolder(run_dir)
    source.require_images("The study of robustness")
    source.require_classes("The study of robustness")
    files = of_run(source, run, names=config.files)
    # Before anything is computed or kept: what cannot be had or used is told at once.
    other = shift.load(run.root, config.shift_dataset) if config.shift_dataset else None
    folder = RunFolder(output_dir)
    settings_kept = {
        "robustness": plain(dataclasses.asdict(config)),
        "baseline_sha256": source.baseline_sha256,
    }
    with folder.open_for(settings_kept):
        folder.require_same_data(source.dataset.checksums())
        job = _Judging(source, files, folder, config, reporter or Reporter())
        found = job.carry_out(other)
        durable.write_json(folder.root / RESULT, dataclasses.asdict(found))
    return found


class _Judging:
    def __init__(
        self,
        source: FinishedRun,
        files: Sequence[JudgedFile],
        folder: RunFolder,
        config: RobustnessConfig,
        reporter: Reporter,
    ) -> None:
        self._source = source
        self._files = files
        self._folder = folder
        self._config = config
        self._reporter = reporter

    def carry_out(self, other: data.Dataset | None) -> Robustness:
        names = ", ".join(file.name for file in self._files)
        self._reporter.stage("judge", names)
        clean = {
            file.name: answers(file, self._folder, lambda: self._source.dataset, condition=CLEAN)
            for file in self._files
        }
        self._ask_about_corruptions()
        right = {name: self._right(name, found) for name, found in clean.items()}
        return Robustness(
            network=self._source.name,
            dataset=self._source.dataset.name,
            examples=len(self._first(clean)),
            severities=self._config.severities,
            files=tuple(self._row(name, clean, right) for name in clean),
            shift=None if other is None else self._shift(clean, other),
            config=plain(dataclasses.asdict(self._config)),
            environment=environment.collect(),
        )

    def _ask_about_corruptions(self) -> None:
        """All files about one set of images, then about the next."""
        conditions = list(itertools.product(self._config.corruptions, self._config.severities))
        self._reporter.note(f"{len(conditions)} sets of corrupted images")
        with self._reporter.bar("corruptions") as step:
            for done, (name, severity) in enumerate(conditions, start=1):
                self._ask_about(name, severity)
                step(done, len(conditions))
                if severity == self._config.severities[-1]:
                    self._reporter.note(name)

    def _ask_about(self, name: str, severity: int) -> None:
        seed = self._config.seed

        # Made where an answer is still missing, and once for all files.
        @functools.cache
        def dataset() -> data.Dataset:
            return corruptions.corrupted(
                self._source.dataset, name=name, severity=severity, seed=seed
            )

        for file in self._files:
            condition = _condition(name, severity)
            answers(file, self._folder, dataset, condition=condition, key=f"seed {seed}")

    def _right(self, name: str, clean: Predictions) -> RightAnswers:
        """From what is kept."""
        right = [
            [
                _correct(self._kept(name, corruption, severity).aligned_to(clean))
                for severity in self._config.severities
            ]
            for corruption in self._config.corruptions
        ]
        return RightAnswers(clean=_correct(clean), corrupted=np.array(right))

    def _kept(self, name: str, corruption: str, severity: int) -> Predictions:
        path = self._folder.predictions(name, _condition(corruption, severity))
        return Predictions.load(path)

    def _row(
        self, name: str, clean: Mapping[str, Predictions], right: Mapping[str, RightAnswers]
    ) -> RobustFile:
        found = summarized(
            name,
            right[name],
            right[self._files[0].name],
            corruptions=self._config.corruptions,
            resamples=self._config.resamples,
            seed=self._config.seed,
        )
        if name == self._files[0].name:
            return _alone(found)
        reference = self._first(clean)
        versus = statistics.compare(clean[name].outputs, reference.outputs, reference.labels)
        return dataclasses.replace(
            found,
            clean_difference=versus.difference,
            clean_difference_interval=versus.difference_interval,
        )

    def _shift(self, clean: Mapping[str, Predictions], other: data.Dataset) -> Shift:
        self._reporter.stage("shift", other.name)
        return shift.judge(
            self._files,
            clean,
            other,
            classes=self._source.dataset.classes,
            folder=self._folder,
            resamples=self._config.resamples,
            seed=self._config.seed,
        )

    def _first(self, clean: Mapping[str, Predictions]) -> Predictions:
        return clean[self._files[0].name]


def summarized(
    name: str,
    right: RightAnswers,
    baseline: RightAnswers,
    *,
    corruptions: Sequence[str],
    resamples: int,
    seed: int,
) -> RobustFile:
    """One row: a file beside the baseline, from which examples each has right.

    Args:
      name: of the file.
      right: its answers.
      baseline: the baseline's, on the same images.
      corruptions: names, in the order of the answers.
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      ValueError: answers of different shapes.
    """
    versus = statistics.compare_robustness(right, baseline, resamples=resamples, seed=seed)
    accuracies = right.corrupted.mean(axis=2)
    return RobustFile(
        name=name,
        clean_accuracy=float(right.clean.mean()),
        accuracy=versus.accuracy,
        accuracy_interval=versus.accuracy_interval,
        difference=versus.difference,
        difference_interval=versus.difference_interval,
        mean_corruption_error=versus.mean_corruption_error,
        mean_corruption_error_interval=versus.mean_corruption_error_interval,
        relative_mean_corruption_error=versus.relative_mean_corruption_error,
        relative_mean_corruption_error_interval=versus.relative_mean_corruption_error_interval,
        corruptions=tuple(
            CorruptionScore(
                corruption=corruption,
                accuracies=tuple(map(float, by_severity)),
                accuracy=one.accuracy,
                difference=one.difference,
                difference_interval=one.difference_interval,
                error_ratio=one.error_ratio,
            )
            for corruption, by_severity, one in zip(
                corruptions, accuracies, versus.corruptions, strict=True
            )
        ),
    )


def _alone(row: RobustFile) -> RobustFile:
    """The baseline's own row: nothing to compare it with."""
    scores = tuple(
        CorruptionScore(score.corruption, score.accuracies, score.accuracy)
        for score in row.corruptions
    )
    return RobustFile(row.name, row.clean_accuracy, row.accuracy, row.accuracy_interval, scores)


def _condition(name: str, severity: int) -> str:
    return f"{name}-{severity}"


def _correct(found: Predictions) -> np.ndarray:
    return statistics.correct(found.outputs, found.labels)
