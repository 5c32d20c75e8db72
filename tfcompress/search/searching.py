"""A search from start to end, by one of any number of workers.

Knows the order: the baseline, trials until none is left, the front. Does not know how a trial is
chosen, carried out or judged.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfcompress import durable, file_locks, search_record
from tfcompress.budgets import Budget
from tfcompress.goals import CLASSIFICATION
from tfcompress.progress import Reporter
from tfcompress.results import DataResult
from tfcompress.run_folder import CONFIG, DATA, ENVIRONMENT, STAGES, RunFolder, RunFolderError
from tfcompress.search import cache as shared_cache
from tfcompress.search import default_space, front, stopping, storage, trial
from tfcompress.search.config import SearchConfig
from tfcompress.search.front import Judge
from tfcompress.search.space import Space
from tfcompress.search.study import Claim, Study
from tfcompress.search.trial import Shared
from tfcompress.search_record import Importance, SearchRecord, TrialRecord
from tfcompress.workflow import Job

BASELINE_FOLDER = "baseline"
_SPACE, _STUDY, _WORKERS = "space.json", "study.json", ".lock-workers"
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class _Identity:
    """Which study in which storage is that of a folder."""

    study: str
    storage: str


@dataclass(frozen=True)
class _KeptSpaces:
    """Of `default_space`: the recipes, and what is left out with the reason."""

    texts: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def search(
    config: SearchConfig,
    output_dir: str | os.PathLike[str],
    *,
    url: str = "",
    cache: str | os.PathLike[str] | None = None,
    repeat: Callable[[str], str] = lambda recipe: "",
    reporter: Reporter | None = None,
    poll_seconds: float = _POLL_SECONDS,
) -> SearchRecord:
    """Takes part in a search until it is complete, and writes its report.

    The same call on the same folder, in another process or on another machine that shares the
    folder, takes part in it, too. Whatever a worker that ended had begun is taken up.

    Args:
      config: all settings.
      output_dir: the search's folder; new, empty, or of the same search. `config.trials` may have
        grown since, but for a grid.
      url: of a database for the trials; empty for a journal file in the folder.
      cache: a folder in which searches leave what they trained to one another: the baseline and
        trials of the same settings are not trained again under another budget or sampler.
      repeat: gives the command that repeats a recipe alone, for the report.
      reporter: told of the progress.
      poll_seconds: between two looks at what other workers do, at the end.

    Returns:
      what stands in the folder's `search.json`.

    Raises:
      ValueError: settings, data, a space or a storage that cannot be used; raised before any
        training, but for a storage that goes away later, which costs nothing.
      RunFolderError: the folder belongs to something else.
    """
    storage.require_optuna()
    reporter = reporter or Reporter()
    folder = RunFolder(output_dir)
    worker = _joined(folder, config)
    try:
        shared, study = _begun(config, folder, url=url, cache=cache, reporter=reporter)
        _work(study, shared, poll_seconds=poll_seconds)
        from tfcompress import report

        with file_locks.held(folder.root / ".lock-front"):
            record = _concluded(study, shared, repeat=repeat)
            report.render(folder.root)
        return record
    except (ValueError, FloatingPointError):
        worker.release()
        _forget_refused(folder)
        raise
    finally:
        worker.release()


def _begun(
    config: SearchConfig,
    folder: RunFolder,
    *,
    url: str,
    cache: str | os.PathLike[str] | None,
    reporter: Reporter,
) -> tuple[Shared, Study]:
    """What all trials share, with the trained baseline, and the study that they are noted in."""
    identity, trials = _identity(folder, url), folder.root / trial.FOLDER
    # A storage that cannot be reached is told of before anything is trained.
    storage.opened(identity.study, url=url, folder=trials, objectives=len(config.objectives))
    shared, space = _prepared(
        config, folder, reporter, cache=None if cache is None else Path(cache)
    )
    study = Study(
        name=identity.study,
        space=space,
        known=[each.recipe for each in shared.plain],
        folder=trials,
        url=url,
        sampler=config.sampler,
        objectives=len(config.objectives),
        trials=config.trials,
        seed=config.seed,
        has_record=lambda number: trial.record_path(trials, number).exists(),
    )
    return shared, study


def _joined(folder: RunFolder, config: SearchConfig) -> file_locks.FileLock:
    """Makes this process one of the search's workers, as long as it holds the lock."""
    while True:
        folder.join(config.to_dict())
        worker = file_locks.take(folder.root / _WORKERS, wait=True, shared=True)
        assert worker is not None
        if (folder.root / CONFIG).exists():
            return worker
        # Another was refused meanwhile, and let the folder go.
        worker.release()


def _identity(folder: RunFolder, url: str) -> _Identity:
    """The study of a folder, named when the first worker came.

    Raises:
      RunFolderError: the search keeps its trials elsewhere.
    """
    (folder.root / trial.FOLDER).mkdir(exist_ok=True)
    path = folder.root / _STUDY
    with file_locks.held(folder.root / ".lock-study"):
        if path.exists() and folder.found(path, "", _Identity) is None:
            raise RunFolderError(
                f"{path} is damaged: it says which trials of the storage are those of this search. "
                "Bring it back, or choose another --output_dir."
            )
        kept = folder.kept(
            path,
            "",
            _Identity,
            lambda: _Identity(f"tfcompress-{uuid.uuid4().hex[:12]}", storage.shown(url)),
        )
    if kept.storage != storage.shown(url):
        where = [each or "a file in the folder" for each in (kept.storage, storage.shown(url))]
        raise RunFolderError(
            f"The search in {folder.root} keeps its trials in {where[0]}. Received --storage: "
            f"{where[1]}. Give the same storage to take part in it, or choose another --output_dir."
        )
    return kept


def _forget_refused(folder: RunFolder) -> None:
    """Lets other settings have a folder in which nothing was trained and nobody is at work."""
    lock = file_locks.take(folder.root / _WORKERS)
    if lock is None:
        return
    try:
        trained = (folder.root / BASELINE_FOLDER / STAGES).glob("*/*.npz")
        if any(trained) or any((folder.root / trial.FOLDER).glob("trial-*")):
            return
        for name in (BASELINE_FOLDER, trial.FOLDER):
            shutil.rmtree(folder.root / name, ignore_errors=True)
        # The config last: without it what is left of a kill in here would belong to nobody.
        for name in (_STUDY, _SPACE, CONFIG):
            (folder.root / name).unlink(missing_ok=True)
    finally:
        lock.release()


def _prepared(
    config: SearchConfig, folder: RunFolder, reporter: Reporter, *, cache: Path | None
) -> tuple[Shared, Space]:
    """Trains the baseline, or finds it trained; what all trials share, and the recipes to try."""
    baseline = RunFolder(folder.root / BASELINE_FOLDER)
    export = dataclasses.replace(config.run.export, formats=config.baseline_formats)
    run = dataclasses.replace(config.run, export=export)
    lock = file_locks.take(folder.root / ".lock-baseline")
    if lock is None:
        reporter.stage("wait", "another worker is at the baseline")
        lock = file_locks.take(folder.root / ".lock-baseline", wait=True)
    assert lock is not None
    try:
        with baseline.open_for(run.to_dict()):
            job = Job(run, baseline, reporter)
            config.budget.require_task(of_classes=job.dataset.goal.task == CLASSIFICATION)
            config = dataclasses.replace(config, spaces=_spaces(config, folder, job, reporter))
            if cache is not None:
                shared_cache.take(baseline, cache, run, data=baseline.root / DATA)
            found = job.select()
            if cache is not None:
                shared_cache.give(baseline, cache, run)
    finally:
        lock.release()
    shared = Shared(
        config=config,
        root=folder.root,
        baseline=baseline,
        dataset=job.dataset,
        baseline_error=trial.errors_of(found.baseline)[0],
        plain=(),
        reporter=reporter,
        cache=cache,
    )
    plain = tuple(
        shared.candidate(row, name=row.name, recipe=str(row.format), folder=baseline.root)
        for row in found.artifacts
    )
    return dataclasses.replace(shared, plain=plain), config.space()


def _spaces(
    config: SearchConfig, folder: RunFolder, job: Job, reporter: Reporter
) -> tuple[str, ...]:
    """The spaces of a search: those that were given, if the model allows them, or what suits it."""
    model, run = job.trainer.untrained, config.run
    supplied = job.trainer.supplies().of(model)
    if config.spaces:
        default_space.require_treatable(config.space(), run, model, supplied)
        return config.spaces

    def suited() -> _KeptSpaces:
        left: dict[str, str] = {}
        text = default_space.default_space(config, model, supplied, leave=left.__setitem__)
        return _KeptSpaces((text,), left)

    found = folder.kept(folder.root / _SPACE, "", _KeptSpaces, suited)
    for what, why in found.left_out.items():
        reporter.note(f"not tried: {what}, since {why}")
    reporter.note(f"space: {', '.join(found.texts)}")
    return found.texts


def _work(study: Study, shared: Shared, *, poll_seconds: float) -> None:
    """Carries out trials until all have ended, here or elsewhere."""
    waits = False
    while True:
        claim = study.claim()
        if claim is not None:
            waits = False
            _carry_out(claim, study, shared)
        elif study.is_complete:
            return
        else:
            if not waits:
                shared.reporter.stage("wait", "the last trials are at other workers")
            waits = True
            time.sleep(poll_seconds)


def _carry_out(claim: Claim, study: Study, shared: Shared) -> None:
    if claim.was_told:
        # It was worth going on with before, and others may have been stopped since because of it.
        config = dataclasses.replace(shared.config, stop_poor=False)
        shared = dataclasses.replace(shared, config=config)
    try:
        record = trial.carry_out(claim, shared, lambda: trial.all_of(shared.root))
    except (KeyboardInterrupt, SystemExit, OSError, RunFolderError):
        study.give_back(claim)
        raise
    except BaseException:
        # Perhaps because of the trial: after some more such ends it is not taken up again.
        claim.lock.release()
        raise
    values = None
    overruns: Mapping[str, float] = {}
    if record.candidate is not None:
        values = front.values_of(record.candidate, shared.config.objectives)
        overruns = record.candidate.overruns
    elif record.draft is not None:
        overruns = stopping.overruns(record.draft, shared.config.budget)
    study.tell(claim, record, values, overruns)
    shared.reporter.note(f"{record.name}: {_ending(record, shared.config.budget)}")


def _ending(record: TrialRecord, budget: Budget) -> str:
    candidate = record.candidate
    if candidate is None:
        return f"{record.state}, {record.reason}"
    over = {name: by for name, by in candidate.overruns.items() if by > 0}
    lost = f"lost {candidate.drop or 0:.4g}, of max_drop={budget.max_drop}"
    said = ", ".join(
        lost if name == "max_drop" else f"{name} by {by:.0%}" for name, by in over.items()
    )
    return f"over the budget: {said}" if said else "within the budget"


def _concluded(study: Study, shared: Shared, *, repeat: Callable[[str], str]) -> SearchRecord:
    """The record of a complete search; made once."""
    trials = trial.all_of(shared.root)
    try:
        kept = search_record.load(shared.root)
        if len(kept.trials) == len(trials):
            return kept
    except (FileNotFoundError, ValueError):
        # None yet, or a damaged one, which is made anew.
        pass
    made = [each.candidate for each in trials if each.candidate is not None]
    judged = Judge(shared, repeat=repeat).judged([*shared.plain, *made])
    importances = study.importances().items()
    kept_spaces = RunFolder(shared.root).found(shared.root / _SPACE, "", _KeptSpaces)
    dataset, config = shared.dataset, shared.config
    record = SearchRecord(
        config={**config.to_dict(), "trials": study.planned},
        environment=durable.read_json(shared.baseline.root / ENVIRONMENT),
        data=DataResult(
            config.run.data.name,
            dataset.source,
            dataset.classes,
            dataset.split_sizes(),
            dataset.targets,
            example=dataset.example,
            published_validation=dataset.published_validation,
        ),
        budget=config.budget,
        baseline=judged.baseline,
        baseline_error=shared.baseline_error,
        finalists=judged.finalists,
        best=judged.best,
        reached=judged.reached,
        plain=shared.plain,
        trials=trials,
        planned=study.planned,
        objectives=config.objectives,
        reference=front.reference_of(shared),
        importance=tuple(Importance(name, share) for name, share in importances),
        history=front.history(shared, trials),
        seconds=sum(each.seconds for each in trials),
        best_by=config.best_by,
        left_out=kept_spaces.left_out if kept_spaces else {},
    )
    search_record.save(record, shared.root)
    return record
