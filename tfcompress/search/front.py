"""The end of a search: the front of its files, judged once on the test split, and the answer.

Knows how the front, the best file and the nearest one are chosen. Reads the test split of no other
file. Does not know how a file was made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress import (
    benchmark,
    budgets,
    compose,
    finished_run,
    judged_files,
    judging,
    kept_files,
    recipe,
    statistics,
    timed_files,
)
from tfcompress.artifact import Artifact
from tfcompress.config import BASELINE
from tfcompress.data import Dataset
from tfcompress.goals import Classes
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.results import ArtifactResult
from tfcompress.run_folder import RunFolder
from tfcompress.search.config import ERROR, LATENCY, SearchConfig
from tfcompress.search.trial import Shared, errors_of
from tfcompress.search_record import Candidate, Finalist, HistoryPoint, TrialRecord
from tfcompress.workflow import Job

FOLDER = "front"
_SAME_LATENCY = 1.05
"""Latencies that differ by no more than this factor count as equal: they differ by chance."""


def values_of(candidate: Candidate, objectives: Sequence[str]) -> tuple[float, ...]:
    """A file's figures for each objective, less being better.

    Args:
      candidate: judged on validation.
      objectives: names, see `SearchConfig.objectives`.
    """
    figures = candidate.figures
    assert figures.latency_ms is not None
    known = {**vars(figures), LATENCY: figures.latency_ms}
    return tuple(float(known[name]) for name in objectives)


def front(candidates: Sequence[Candidate], objectives: Sequence[str]) -> list[Candidate]:
    """The files that no other beats, from the smallest.

    Latencies within 5% count as equal, since they differ so by chance.

    Args:
      candidates: at least one.
      objectives: see `SearchConfig.objectives`.
    """
    points = np.array([values_of(each, objectives) for each in candidates])
    column = list(objectives).index(LATENCY)
    points[:, column] = np.round(np.log(points[:, column]) / math.log(_SAME_LATENCY))
    chosen = [candidates[index] for index in statistics.pareto_front(points)]
    return sorted(chosen, key=lambda each: (each.size_bytes, each.error))


def answer(candidates: Sequence[Candidate], config: SearchConfig) -> tuple[Candidate, bool]:
    """The best file within the budget, or the nearest where none keeps it.

    The best is that of the least `config.best_by`, then of the least error and size. The nearest is
    that with the least `budgets.distance`, then of the least error.

    Args:
      candidates: at least one, judged on validation.
      config: of the search.

    Returns:
      The file, and whether it is within the budget.
    """
    within = [each for each in candidates if each.in_budget]
    if not within:
        nearest = min(candidates, key=lambda c: (budgets.distance(c.overruns), c.error))
        return nearest, False

    def rank(each: Candidate) -> tuple[float, ...]:
        named = dict(zip(config.objectives, values_of(each, config.objectives), strict=True))
        return named[config.best_by], each.error, named[config.size_objective], named[LATENCY]

    return min(within, key=rank), True


def chance_error(dataset: Dataset) -> float:
    """The error of a model that knows nothing of an example.

    Of classes that of a guess; of values that of always saying the mean.
    """
    goal = dataset.goal
    if isinstance(goal, Classes):
        return 1 - 1 / len(goal.names)
    return float(np.abs(dataset.validation.labels - np.asarray(goal.mean)).mean())


def reference_of(shared: Shared) -> tuple[float, ...]:
    """The worst that counts for each objective: a guess of the float32 baseline's size and time."""
    objectives = shared.config.objectives
    named = dict(zip(objectives, values_of(shared.plain[0], objectives), strict=True))
    return tuple({**named, ERROR: chance_error(shared.dataset)}.values())


def history(shared: Shared, trials: Sequence[TrialRecord]) -> tuple[HistoryPoint, ...]:
    """How far the search had come after each trial; before the first one the baseline's files."""
    objectives, reference = shared.config.objectives, np.array(reference_of(shared))
    found, points = [], []
    for count in range(len(trials) + 1):
        new = shared.plain if not count else (trials[count - 1].candidate,)
        points += [each for each in new if each is not None]
        values = np.array([values_of(each, objectives) for each in points])
        nearest = min(budgets.distance(each.overruns)[0] for each in points)
        volume = statistics.hypervolume(values / reference, np.ones(len(reference)))
        found.append(HistoryPoint(count, volume, nearest))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Judged:
    """What the front came to.

    Attributes:
      baseline: the Keras model on the test split.
      finalists: see `SearchRecord.finalists`.
      best: the file that answers.
      reached: whether it keeps the budget on validation.
    """

    baseline: ArtifactResult
    finalists: tuple[Finalist, ...]
    best: str
    reached: bool


class Judge:
    """Judges the files of a front.

    Args:
      shared: by all trials.
      repeat: gives the command that repeats a recipe alone.
    """

    def __init__(self, shared: Shared, *, repeat: Callable[[str], str]) -> None:
        self._shared = shared
        self._repeat = repeat
        self._folder = RunFolder(shared.root / FOLDER)

    def judged(self, candidates: Sequence[Candidate]) -> Judged:
        """Times the front's files beside one another, chooses the answer, reads the test split.

        The answer is chosen by validation and by these latencies: the test split decides nothing.

        Args:
          candidates: every file, the float32 baseline's first.
        """
        config = self._shared.config
        wanted = [*front(candidates, config.objectives), candidates[0]]
        wanted.append(answer(candidates, config)[0])
        if config.budget.max_latency_ms is not None or config.best_by == LATENCY:
            # Which of them is the answer is told by latencies that can be compared alone.
            wanted += [each for each in candidates if _keeps_but_latency(each)]
        timed = self._timed(list({each.name: each for each in wanted}.values()))
        best, reached = answer(timed, config)
        float32 = next(each for each in timed if each.name == candidates[0].name)
        kept = {each.name: each for each in (best, float32)}
        kept |= {each.name: each for each in front(timed, config.objectives)}
        self._shared.reporter.stage("evaluate", "the files of the front on the whole test split")
        baseline = self._baseline()
        finalists = tuple(self._finalist(each, baseline) for each in kept.values())
        return Judged(baseline, finalists, best.name, reached)

    def _timed(self, chosen: Sequence[Candidate]) -> list[Candidate]:
        """The files with the latency that they have in turns with one another."""
        shared = self._shared
        shared.reporter.stage("time", f"{len(chosen)} files in turns")
        timing = timed_files.timings(shared.config.run)[0]
        cases = {each.name: benchmark.Case(shared.root / each.path, timing) for each in chosen}
        key = " ".join(f"{each.name} {each.sha256}" for each in chosen)
        measured = timed_files.timed(cases, folder=self._folder, key=key, reporter=shared.reporter)
        found = []
        for each, samples in zip(chosen, measured, strict=True):
            candidate = dataclasses.replace(each, latency=benchmark.summarize(samples))
            over = shared.overruns(candidate.figures)
            found.append(dataclasses.replace(candidate, overruns=over))
        return found

    def _baseline(self) -> ArtifactResult:
        """The Keras baseline on the test split."""
        from tfcompress.graph import cost

        run, shared = self._shared.baseline, self._shared
        model = finished_run.baseline(run.model(BASELINE))
        record = Artifact.load(shared.root / shared.plain[0].path).preprocessing
        file = judged_files.of_model(BASELINE, model, record)
        row = ArtifactResult(
            BASELINE, format="keras", parameters=cost.parameters(model), macs=cost.macs(model)
        )
        return judging.judged(row, self._answers(file, lambda: shared.dataset), None)

    def _dataset_of(self, each: Candidate) -> Dataset:
        """The examples as a file takes them: texts may be cut up into other tokens for it."""
        shared = self._shared
        run = dataclasses.replace(shared.config.run, recipes=(each.recipe,))
        folder = RunFolder((shared.root / each.path).parents[1])
        job = Job(run, folder, Reporter(), dataset=shared.dataset)
        return job.trainer.supplies(run.plans[0].stages).dataset

    def _answers(
        self, file: judged_files.JudgedFile, dataset: Callable[[], Dataset]
    ) -> Predictions:
        with self._shared.reporter.bar(file.name) as step:
            return judged_files.answers(
                file,
                self._folder,
                dataset,
                condition="test",
                split="test",
                progress=step,
            )

    def _finalist(self, each: Candidate, baseline: ArtifactResult) -> Finalist:
        artifact = Artifact.load(self._shared.root / each.path)
        reference = Predictions.load(self._folder.predictions(BASELINE))
        row = ArtifactResult(
            name=each.name,
            path=each.path,
            sha256=each.sha256,
            stages=compose.techniques(compose.plan(recipe.parse(each.recipe)).stages),
            format=each.format,
            **kept_files.facts_of(artifact),
            latency_ms=() if each.latency is None else (each.latency,),
        )
        row = judging.judged(
            row,
            self._answers(
                judged_files.of_artifact(each.name, artifact), lambda: self._dataset_of(each)
            ),
            reference,
        )
        self._shared.reporter.note(f"{each.name}: {judging.sentence(row)}")
        over = self._shared.config.budget.overruns(
            dataclasses.replace(each.figures, error=errors_of(row)[0]),
            baseline_error=errors_of(baseline)[0],
            least_error=1 / len(reference),
        )
        repeat = self._repeat(each.recipe) if each.name.startswith("trial") else ""
        return Finalist(each.name, each.recipe, row, over, repeat)


def _keeps_but_latency(candidate: Candidate) -> bool:
    others = {n: over for n, over in candidate.overruns.items() if n != "max_latency_ms"}
    return budgets.keeps(others)
