"""What a search for a recipe found, as data: its trials, the front, the answer.

Knows what belongs together and how it is written. Does not know how anything was tried or how it is
shown. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcompress import durable
from tfcompress.budgets import Budget, Figures, keeps
from tfcompress.records import read
from tfcompress.results import ArtifactResult, DataResult, Interval, Latency

SCHEMA_VERSION = 1
FILE_NAME = "search.json"

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
"""How a trial ended: with a file, before its end since it was poor, or with an error."""


@dataclass(frozen=True)
class Candidate:
    """One exported file as it was chosen by: judged on the validation split.

    Attributes:
      name: unique in the search: of the trial, or `"baseline-int8"`.
      recipe: that made it; of the baseline's files, their format alone.
      path: of the file, relative to the search's folder.
      sha256: of its bytes.
      format: export format.
      size_bytes: of the file.
      gzip_size_bytes: after gzip at level 9.
      error: fraction wrong, or of values the mean absolute error.
      error_interval: of `error`.
      drop: `error` minus the baseline's, paired by example.
      drop_interval: of `drop`.
      latency: of a call, measured when the file was made: others may have worked on the machine
        meanwhile.
      overruns: by which fraction of each limit of the budget it is over it.
    """

    name: str
    recipe: str
    path: str
    sha256: str
    format: str
    size_bytes: int
    gzip_size_bytes: int
    error: float
    error_interval: Interval | None = None
    drop: float | None = None
    drop_interval: Interval | None = None
    latency: Latency | None = None
    overruns: Mapping[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> Figures:
        """What counts against a budget."""
        latency = None if self.latency is None else self.latency.p50
        return Figures(self.size_bytes, self.gzip_size_bytes, self.error, latency)

    @property
    def in_budget(self) -> bool:
        """Whether it keeps every limit, as measured on validation."""
        return keeps(self.overruns)


@dataclass(frozen=True)
class Draft:
    """The file of a recipe before any training, of the size of the real one to a few percent.

    Attributes:
      size_bytes: of the file.
      gzip_size_bytes: after gzip at level 9.
      error: on a part of the validation split; None of a student that has learned nothing.
      latency_ms: None where there is no limit of the latency, or where it was too noisy.
      sha256: of its bytes; empty in the record of an earlier version.
    """

    size_bytes: int
    gzip_size_bytes: int
    error: float | None = None
    latency_ms: float | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a trial had come.

    Attributes:
      share: of its epochs, in [0, 1]; 0 for a draft, before any training.
      error: on validation, or for a draft on a part of it.
    """

    share: float
    error: float


@dataclass(frozen=True)
class TrialRecord:
    """One recipe that was tried.

    Attributes:
      number: of the trial in the study, from 0.
      recipe: its text.
      state: one of `FINISHED`, `STOPPED` and `FAILED`.
      reason: why it was stopped or failed; empty where it finished.
      choices: what was chosen for each name of the space.
      folder: its run folder, relative to the search's.
      candidate: its file; None where it has none.
      draft: the file of the untrained recipe; None where there was none, or nothing is trained.
      progress: in order.
      attempts: how many workers took it up: more than one where one ended in its midst.
      seconds: of the last worker's work on it.
    """

    number: int
    recipe: str
    state: str
    reason: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    candidate: Candidate | None = None
    draft: Draft | None = None
    progress: tuple[Progress, ...] = ()
    attempts: int = 1
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """As tables and folders have it."""
        return trial_name(self.number)

    @property
    def is_untrained(self) -> bool:
        """Whether it ended before any training, which costs a search next to nothing.

        It was stopped at its draft, or cannot be carried out at all.
        """
        if self.state == FAILED:
            return not self.progress and self.attempts == 1
        return self.state == STOPPED and all(each.share == 0 for each in self.progress)


def trial_name(number: int) -> str:
    """The name of a trial.

    Example:
      >>> trial_name(7)
      'trial-0007'
    """
    return f"trial-{number:04d}"


@dataclass(frozen=True)
class Finalist:
    """A file of the front, judged on the test split.

    Attributes:
      name: of its candidate.
      recipe: that made it.
      row: its figures on the test split, and its latency measured beside all other finalists'.
      overruns: by which fraction of each limit these figures are over it.
      command: repeats the recipe alone; empty for a file of the baseline.
    """

    name: str
    recipe: str
    row: ArtifactResult
    overruns: Mapping[str, float] = field(default_factory=dict)
    command: str = ""

    @property
    def in_budget(self) -> bool:
        """Whether it keeps every limit on the test split."""
        return keeps(self.overruns)


@dataclass(frozen=True)
class Importance:
    """How much a choice mattered for coming near the front.

    Attributes:
      name: of the choice in the space.
      share: of all importance, in [0, 1].
    """

    name: str
    share: float


@dataclass(frozen=True)
class HistoryPoint:
    """How far the search had come after a trial.

    Attributes:
      trials: that had ended.
      hypervolume: share of the space between nothing and the float32 baseline that the files so far
        beat, in [0, 1].
      distance: of the nearest file so far to the budget, 0 within it.
    """

    trials: int
    hypervolume: float
    distance: float


@dataclass(frozen=True)
class SearchRecord:
    """Everything a report on a search is rendered from; `search.json` in its folder.

    Attributes:
      config: the search's settings: `run`, `spaces`, `budget` and the rest.
      environment: versions, processor, threads, commit.
      data: which data was used.
      budget: the limits.
      baseline: the trained, uncompressed model on the test split.
      baseline_error: of the baseline on validation.
      finalists: the best or nearest file, the baseline's float32 file, then the rest of the front
        from the smallest.
      best: name of the file that answers the budget, or of the nearest where none keeps it.
      reached: whether `best` keeps the budget, on validation.
      plain: files of the baseline, with no recipe.
      trials: in the order of their numbers.
      planned: trials asked for.
      objectives: what the front is made of: `"error"`, `"size_bytes"` or `"gzip_size_bytes"`,
        `"latency_ms"`.
      reference: the worst that counts for the hypervolume, for each objective: the error of
        chance, size and latency of the float32 baseline.
      importance: of the choices, the greatest first; empty where too few trials finished.
      history: after each trial.
      seconds: of all trials together.
      best_by: the objective by which `best` was chosen of the files that keep the budget; empty
        where an older version of the package wrote the record.
      left_out: what the space leaves out that was made for the model, and for each the reason.
      schema_version: changes when a field changes meaning.
    """

    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: DataResult
    budget: Budget
    baseline: ArtifactResult
    baseline_error: float
    finalists: tuple[Finalist, ...]
    best: str
    reached: bool
    plain: tuple[Candidate, ...]
    trials: tuple[TrialRecord, ...]
    planned: int
    objectives: tuple[str, ...]
    reference: tuple[float, ...]
    importance: tuple[Importance, ...] = ()
    history: tuple[HistoryPoint, ...] = ()
    seconds: float = 0.0
    best_by: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every file, the baseline's first."""
        made = (trial.candidate for trial in self.trials)
        return (*self.plain, *(each for each in made if each is not None))

    @property
    def winner(self) -> Finalist:
        """The finalist that `best` names."""
        return next(each for each in self.finalists if each.name == self.best)


def is_in(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds the record of a search."""
    return (Path(folder) / FILE_NAME).is_file()


def save(record: SearchRecord, folder: str | os.PathLike[str]) -> Path:
    """Writes `search.json` into a folder, whole or not at all, and returns its path."""
    path = Path(folder) / FILE_NAME
    durable.write_json(path, dataclasses.asdict(record))
    return path


def load(folder: str | os.PathLike[str]) -> SearchRecord:
    """Reads the record of a search.

    Raises:
      FileNotFoundError: the folder holds none.
      ValueError: it is damaged, or of another schema version.
    """
    path = Path(folder) / FILE_NAME
    found: SearchRecord = read(SearchRecord, path, version=SCHEMA_VERSION, of="search")
    return found
