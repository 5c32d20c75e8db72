"""Carries out one trial of a search: draft, training, file, figures on validation.

Knows the order of the parts, cheap ones first, and what is kept of each. A trial is a run folder
that goes on where an earlier worker left it. Does not know which recipe comes next.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcompress import benchmark, compose, durable, evaluate, judging, planned_stages
from tfcompress import recipe as recipes
from tfcompress._keras import keras, tf
from tfcompress.artifact import Artifact
from tfcompress.budgets import Figures
from tfcompress.config import RunConfig
from tfcompress.data import Dataset
from tfcompress.progress import Reporter, Stopwatch
from tfcompress.records import from_record
from tfcompress.results import ArtifactResult, Interval
from tfcompress.run_folder import CANDIDATES, DATA, ENCODED, STAGES, RunFolder, RunFolderError
from tfcompress.search import cache, stopping
from tfcompress.search.config import SearchConfig
from tfcompress.search.stopping import TrialStopped
from tfcompress.search.study import Claim
from tfcompress.search_record import (
    FAILED,
    FINISHED,
    STOPPED,
    Candidate,
    Draft,
    Progress,
    TrialRecord,
    trial_name,
)
from tfcompress.timed_files import timings
from tfcompress.workflow import Job

FOLDER = "trials"
ATTEMPTS = 3
"""A trial that so many workers were ended in is not taken up again."""
# What a recipe can come to: a loss that is not finite, no layer to treat, a file that lies too far
# from its model. What the machine lacks, such as room on the disk, ends the worker instead.
_OWN_FAILURES = (ValueError, RuntimeError, FloatingPointError, MemoryError)
# Of the baseline's folder: found once, of use to every trial. They are kept by what they are of.
_LENT = (
    f"{STAGES}/**/*",
    f"{CANDIDATES}/**/*",
    f"{ENCODED}/**/*",
    "predictions/validation/baseline.npz*",
)
_RETURNED = (f"{CANDIDATES}/**/*", f"{ENCODED}/**/*")


@dataclass(frozen=True, eq=False)
class Shared:
    """What the trials of a search have in common.

    Attributes:
      config: of the search.
      root: its folder.
      baseline: the run folder of the baseline.
      dataset: whose splits are used.
      baseline_error: on validation.
      plain: files of the baseline.
      reporter: told of the progress.
      cache: a folder in which searches leave what they trained to one another; None for none.
    """

    config: SearchConfig
    root: Path
    baseline: RunFolder
    dataset: Dataset
    baseline_error: float
    plain: tuple[Candidate, ...]
    reporter: Reporter
    cache: Path | None = None

    def candidate(self, row: ArtifactResult, *, name: str, recipe: str, folder: Path) -> Candidate:
        """A file with its figures on validation, held against the budget."""
        error, interval, drop, drop_interval = errors_of(row)
        found = Candidate(
            name=name,
            recipe=recipe,
            path=(folder / str(row.path)).relative_to(self.root).as_posix(),
            sha256=str(row.sha256),
            format=str(row.format),
            size_bytes=row.size_bytes or 0,
            gzip_size_bytes=row.gzip_size_bytes or 0,
            error=error,
            error_interval=interval,
            drop=drop,
            drop_interval=drop_interval,
            latency=row.latency_ms[0],
        )
        return dataclasses.replace(found, overruns=self.overruns(found.figures))

    def overruns(self, figures: Figures) -> dict[str, float]:
        """By which fraction of each limit a file is over it, on validation."""
        return self.config.budget.overruns(
            figures,
            baseline_error=self.baseline_error,
            # One example of all.
            least_error=1 / len(self.dataset.validation),
        )


def errors_of(
    row: ArtifactResult,
) -> tuple[float, Interval | None, float | None, Interval | None]:
    """The error of a judged model or file, its interval, its drop and that one's interval.

    Of a classification both are of the fraction wrong, of values of the mean absolute error.
    """
    if row.metrics:
        main = row.metrics[0]
        return main.value, main.interval, main.difference, main.difference_interval
    assert row.accuracy is not None
    drop = None if row.difference is None else -row.difference
    return (
        1 - row.accuracy,
        _turned(row.accuracy_interval, 1.0),
        drop,
        _turned(row.difference_interval, 0.0),
    )


def _turned(interval: Interval | None, top: float) -> Interval | None:
    if interval is None:
        return None
    return dataclasses.replace(interval, low=top - interval.high, high=top - interval.low)


def carry_out(
    claim: Claim, shared: Shared, earlier: Callable[[], Sequence[TrialRecord]]
) -> TrialRecord:
    """A trial from where it stands to its end.

    Args:
      claim: held by this worker.
      shared: by all trials.
      earlier: gives the trials that ended so far, those of other workers too.

    Raises:
      OSError: the folder cannot be written, or the disk is full; the trial can be taken up again.
      RunFolderError: the folder has a record of another recipe, or a damaged one.
    """
    root = shared.root / FOLDER / trial_name(claim.number)
    path = record_path(shared.root / FOLDER, claim.number)
    before = load(path)
    if before is not None and before.recipe != claim.recipe:
        raise RunFolderError(
            f"{path} is the record of {before.recipe}, and not of {claim.recipe}, which the "
            "storage of the search names: the storage was changed or replaced. Bring the one back "
            "that belongs to the folder, or choose another --output_dir."
        )
    if before is not None:
        return before
    record = TrialRecord(
        number=claim.number,
        recipe=claim.recipe,
        state=FAILED,
        choices=claim.choices,
        folder=root.relative_to(shared.root).as_posix(),
        attempts=claim.attempts,
    )
    watch = Stopwatch()
    if claim.attempts > ATTEMPTS:
        reason = f"{ATTEMPTS} workers ended in the midst of it, perhaps for want of memory"
        record = dataclasses.replace(record, reason=reason, attempts=ATTEMPTS)
    else:
        keras.backend.clear_session()
        trial = _Trial(record, RunFolder(root), shared, earlier)
        record = dataclasses.replace(trial.ended(), seconds=watch.seconds)
    durable.write_json(path, dataclasses.asdict(record))
    return record


def _own_failures() -> tuple[type[Exception], ...]:
    """What a recipe can come to, of TensorFlow's errors too; the others of these are the machine's.

    A disk without room has them too; there the next file of the folder raises what ends the worker.
    """
    errors = tf.errors
    of_tensorflow = (errors.ResourceExhaustedError, errors.InvalidArgumentError)
    return (*_OWN_FAILURES, *of_tensorflow, errors.UnimplementedError)


def record_path(trials: Path, number: int) -> Path:
    """Where the record of a trial lies once it has ended.

    Args:
      trials: the folder of all of them.
      number: of the trial.
    """
    return trials / trial_name(number) / "trial.json"


def load(path: Path) -> TrialRecord | None:
    """The record of a trial that ended; None where it has not.

    Args:
      path: of `record_path`.

    Raises:
      RunFolderError: it is damaged.
    """
    try:
        found: TrialRecord = from_record(TrialRecord, durable.read_json(path))
        return found
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise RunFolderError(
            f"The record of a trial, {path}, is damaged ({error}). Remove that file to "
            "carry the trial out again."
        ) from error


def all_of(root: Path) -> tuple[TrialRecord, ...]:
    """The trials of a search that have ended, in the order of their numbers.

    Args:
      root: folder of the search.
    """
    found = ((path, load(path)) for path in sorted((root / FOLDER).glob("*/trial.json")))
    # A copy that somebody put aside is no trial.
    return tuple(
        each
        for path, each in found
        if each is not None and path == record_path(root / FOLDER, each.number)
    )


class _Trial:
    """One trial at work."""

    def __init__(
        self,
        record: TrialRecord,
        folder: RunFolder,
        shared: Shared,
        earlier: Callable[[], Sequence[TrialRecord]],
    ) -> None:
        self._folder = folder
        self._shared = shared
        self._earlier = earlier
        self._record = record
        # Of an equal trial elsewhere it counts from the draft on, as if it were trained here.
        self._known: tuple[Progress, ...] = ()

    def ended(self) -> TrialRecord:
        """The record at the end of the trial, however it ends."""
        record, reporter = self._record, self._shared.reporter
        reporter.stage(record.name, record.recipe)
        run = dataclasses.replace(self._shared.config.run, recipes=(record.recipe,))
        try:
            with self._folder.open_for(run.to_dict()):
                self._borrow(run)
                candidate = self._file(run)
                self._lend(run)
            return dataclasses.replace(self._record, state=FINISHED, candidate=candidate)
        except TrialStopped as stopped:
            reporter.note(f"stopped: {stopped}")
            return dataclasses.replace(self._record, state=STOPPED, reason=str(stopped))
        except RunFolderError:
            raise
        except _own_failures() as error:
            reporter.note(f"failed: {error}")
            return dataclasses.replace(self._record, reason=str(error) or type(error).__name__)

    def _borrow(self, run: RunConfig) -> None:
        """Takes what is there of the baseline, of earlier workers and of equal trials elsewhere."""
        self._folder.take_over(self._shared.baseline, _LENT)
        own = self._progress_path.exists()
        if self._shared.cache is not None:
            data = self._shared.baseline.root / DATA
            cache.take(self._folder, self._shared.cache, run, data=data)
        kept = self._folder.found(self._progress_path, self._record.recipe, _KeptProgress)
        if kept is not None:
            self._known = kept.progress
            if own:
                self._record = dataclasses.replace(self._record, progress=kept.progress)

    def _lend(self, run: RunConfig) -> None:
        """Gives what others may need: measurements of the baseline, and the trial itself."""
        self._shared.baseline.take_over(self._folder, _RETURNED)
        if self._shared.cache is not None:
            cache.give(self._folder, self._shared.cache, run)

    def _file(self, run: RunConfig) -> Candidate:
        shared, folder = self._shared, self._folder
        job = Job(run, folder, shared.reporter, dataset=shared.dataset, watch=self._watch)
        stages = run.plans[0].stages
        # How far a stage with `max_drop` goes is not known before.
        if any(map(planned_stages.is_trained, stages)) and not any(
            stage.search for stage in stages
        ):
            self._draft(
                job, teaches=stages[0].technique == "distill" and bool(stages[0].config.student)
            )
        if len(self._known) > len(self._record.progress):
            self._keep_progress(self._known)
        rows, record = job.select().artifacts, self._record
        if not rows:
            raise ValueError(
                f"The recipe {record.recipe} makes no file of its own. Name its format in --export."
            )
        found = rows[-1]
        return shared.candidate(found, name=record.name, recipe=record.recipe, folder=folder.root)

    # Before the training.

    def _draft(self, job: Job, *, teaches: bool) -> None:
        """Makes the file of the untrained recipe, and ends the trial where that tells enough."""
        path = self._folder.root / "draft.json"
        try:
            draft = self._folder.kept(
                path, self._record.recipe, Draft, lambda: self._drafted(job, teaches=teaches)
            )
        except (ValueError, RuntimeError) as error:
            # Such as a technique that acts by training alone; the training says what comes of it.
            self._shared.reporter.note(f"no draft: {error}")
            return
        self._record = dataclasses.replace(self._record, draft=draft)
        if draft.error is not None and not self._record.progress:
            self._note_progress(0.0, draft.error)
        if not self._shared.config.stop_poor:
            return
        earlier, config = self._earlier(), self._shared.config
        made = (trial.candidate for trial in earlier)
        candidates = [*self._shared.plain, *(each for each in made if each is not None)]
        # In the first half of a search no file over the budget is trained for want of a better.
        strict = 2 * len(earlier) < config.trials
        reason = stopping.beyond_budget(
            draft, config.budget, candidates, strict=strict
        ) or stopping.same_file(draft, self._record.recipe, earlier)
        if reason:
            raise TrialStopped(reason)
        if draft.error is not None:
            self._require_promising(0.0, draft.error)

    def _drafted(self, job: Job, *, teaches: bool) -> Draft:
        """Measures the draft.

        Args:
          job: of the trial.
          teaches: whether a student takes the model's place, whose outputs mean nothing yet.
        """
        artifact = job.draft()
        error = None
        if not teaches:
            row = ArtifactResult("draft")
            part = self._part_of_validation(job)
            found = evaluate.predict_artifact(artifact, part, split="validation")
            error = errors_of(judging.judged(row, found, None))[0]
        latency = None
        if self._shared.config.budget.max_latency_ms is not None:
            latency = self._latency_ms(artifact)
        draft = Draft(
            artifact.size_bytes, artifact.gzip_size_bytes, error, latency, sha256=artifact.sha256
        )
        said = "" if error is None else f", error {error:.4g} untrained"
        self._shared.reporter.note(f"draft: {draft.size_bytes:,} bytes{said}")
        return draft

    def _part_of_validation(self, job: Job) -> Dataset:
        """As the recipe's file takes them: texts may be cut up into other tokens for it."""
        stages = compose.plan(recipes.parse(self._record.recipe)).stages
        dataset = job.trainer.supplies(stages).dataset
        count = min(self._shared.config.draft_examples, len(dataset.validation))
        part = dataset.validation.take(np.arange(count))
        return dataclasses.replace(dataset, validation=part)

    def _latency_ms(self, artifact: Artifact) -> float | None:
        """The median of a call; None where the machine was too busy to tell."""
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "draft.tflite"
            artifact.save(path)
            timing = timings(self._shared.config.run)[0]
            samples = benchmark.measure_latency({"draft": path}, timing)
        found = benchmark.summarize(samples["draft"])
        return None if found.steady is False else found.p50

    # During the training.

    def _watch(self, share: float, metrics: Mapping[str, float]) -> None:
        error = error_in(metrics)
        self._note_progress(share, error)
        if self._shared.config.stop_poor and share < 1:
            self._require_promising(share, error)

    def _require_promising(self, share: float, error: float) -> None:
        draft = self._record.draft
        if draft is None:
            return
        size = self._shared.config.size_objective
        reason = stopping.behind_peers(share, error, draft, self._earlier(), size=size)
        if reason:
            raise TrialStopped(reason)

    def _note_progress(self, share: float, error: float) -> None:
        """Keeps how far the trial has come, for a worker that goes on with it too."""
        before = [each for each in self._record.progress if each.share < share]
        self._keep_progress((*before, Progress(share, error)))

    def _keep_progress(self, progress: tuple[Progress, ...]) -> None:
        value = {"key": self._record.recipe, "value": {"progress": [vars(p) for p in progress]}}
        durable.write_json(self._progress_path, value)
        self._record = dataclasses.replace(self._record, progress=progress)

    @property
    def _progress_path(self) -> Path:
        return self._folder.root / "progress.json"


@dataclass(frozen=True)
class _KeptProgress:
    progress: tuple[Progress, ...]


def error_in(metrics: Mapping[str, float]) -> float:
    """The error on validation in the metrics of an epoch.

    Example:
      >>> error_in({"loss": 0.1, "val_accuracy": 0.75})
      0.25
    """
    if "val_accuracy" in metrics:
        return 1 - metrics["val_accuracy"]
    return metrics["val_mean_absolute_error"]
