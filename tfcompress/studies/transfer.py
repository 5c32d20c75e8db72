"""A study of compression in transfer learning, trial by trial. Resumable.

    found = study(config, "runs/transfer_study")

Every trial leaves one small record, which is all that a later session needs to go on without it.
Knows how records are kept and whether they belong together. Does not know what a trial does
(`transfer_trial`) nor what follows from many (`transfer_comparisons`).
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from tfcompress import durable, environment
from tfcompress.config import plain
from tfcompress.progress import Reporter, Stopwatch
from tfcompress.run_folder import RunFolder, RunFolderError
from tfcompress.studies.transfer_plan import TransferConfig, file_name, trials
from tfcompress.studies.transfer_trial import Trials, data_sha256
from tfcompress.transfer import TransferStudy, Trial, TrialResult

RESULT = "transfer_study.json"
TRIALS = "trials"
"""The folder of the records, one for each trial."""


def study(
    config: TransferConfig,
    output_dir: str | os.PathLike[str],
    *,
    reporter: Reporter | None = None,
) -> TransferStudy:
    """Carries out the trials that are missing.

    Args:
      config: which trials.
      output_dir: where records and predictions are kept; new, empty, or of a study with the same
        `settings`. Everything else may have grown since.
      reporter: told of the progress.

    Raises:
      ValueError: a compression that a backbone does not allow, or data without classes, found
        before any training.
      RunFolderError: the folder belongs to something else, or the data have changed.
    """
    folder, reporter = RunFolder(output_dir), reporter or Reporter()
    planned = trials(config)
    with folder.open_for(_settings(config)):
        missing = [trial for trial in planned if _kept(folder, trial) is None]
        before = len(planned) - len(missing)
        reporter.stage("transfer", f"{len(planned)} trials, {before} done before")
        work, watch = Trials(config, folder, reporter), Stopwatch()
        if missing:
            work.require_treatable()
        for number, trial in enumerate(missing, start=1):
            _require_same_data(planned, trial, folder, data_sha256(work.dataset(trial)))
            make = functools.partial(work.carry_out, trial)
            found = folder.kept(_record(folder, trial), str(trial), TrialResult, make)
            work.forget(trial)
            reporter.note(
                f"{before + number}/{len(planned)}  {trial}: {found.accuracy:.2%}, "
                f"{found.seconds:.0f} s; {watch.seconds / number:.0f} s a trial"
            )
        return collected(config, folder.root)


def collected(config: TransferConfig, output_dir: str | os.PathLike[str]) -> TransferStudy:
    """What a folder holds of a study, written down as its result; nothing is trained.

    Args:
      config: which trials.
      output_dir: a study's folder, also one at work.

    Raises:
      RunFolderError: it is none, or of other settings.
    """
    folder, planned = RunFolder(output_dir), trials(config)
    folder.require_settings(_settings(config))
    found = [_kept(folder, trial) for trial in planned]
    result = TransferStudy(
        results=tuple(result for result in found if result is not None),
        planned=len(planned),
        config=plain(dataclasses.asdict(config)),
        environment=environment.collect(),
    )
    durable.write_json(folder.root / RESULT, dataclasses.asdict(result))
    return result


def _settings(config: TransferConfig) -> dict[str, Any]:
    """What must not change in a folder."""
    return {"transfer_study": plain(dataclasses.asdict(config.settings))}


def _record(folder: RunFolder, trial: Trial) -> Path:
    return folder.root / TRIALS / f"{file_name(trial)}.json"


def _kept(folder: RunFolder, trial: Trial) -> TrialResult | None:
    """The record of a trial; None where it is missing or damaged."""
    found: TrialResult | None = folder.found(_record(folder, trial), str(trial), TrialResult)
    return found


def _require_same_data(
    planned: tuple[Trial, ...], trial: Trial, folder: RunFolder, checksum: str
) -> None:
    """Trials of one target and seed are paired, so that their images must be the same."""
    for other in planned:
        if (other.target, other.seed) == (trial.target, trial.seed):
            before = _kept(folder, other)
            if before is not None and before.data_sha256 != checksum:
                raise RunFolderError(
                    f"The data set {trial.target} has changed since this trial was carried out: "
                    f"{other}. Figures of old and new data would be mixed. Bring the old data "
                    "back, or choose another --output_dir."
                )
