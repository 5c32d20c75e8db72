"""What searches leave to one another: run folders by their settings, in a folder that they share.

Knows which files of a run another one of the same settings goes on with. Does not know what is
trained, or when.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tfcompress import durable, file_locks, stage_state
from tfcompress.config import RunConfig
from tfcompress.run_folder import CANDIDATES, ENCODED, STAGES, RunFolder

_FILES = (
    f"{STAGES}/**/*",
    f"{CANDIDATES}/**/*",
    f"{ENCODED}/**/*",
    "artifacts/*",
    "models/*",
    "predictions/validation/*",
    "data.json",
    "draft.json",
    "latency.json",
    "progress.json",
)


def take(folder: RunFolder, cache: Path, run: RunConfig) -> None:
    """Makes what is in the cache a run's own, where the run has not finished it itself.

    Args:
      folder: of the run, which no other process uses.
      cache: the shared folder.
      run: all settings of the run.
    """
    source = _folder(cache, run)
    with file_locks.held(_lock(source)):
        for stage in (path.name for path in (source.root / STAGES).glob("*")):
            # What was begun of it here belongs to other weights than those that it ended with.
            if stage_state.is_finished(source.stage(stage)) and not stage_state.is_finished(
                folder.stage(stage)
            ):
                shutil.rmtree(folder.stage(stage), ignore_errors=True)
        folder.take_over(source, _FILES)


def give(folder: RunFolder, cache: Path, run: RunConfig) -> None:
    """Leaves what a run has, and the cache has not, to others.

    Args:
      folder: of the run, whose stages are finished.
      cache: the shared folder.
      run: all settings of the run.
    """
    target = _folder(cache, run)
    with file_locks.held(_lock(target)):
        target.take_over(folder, _FILES)


def _folder(cache: Path, run: RunConfig) -> RunFolder:
    key = json.dumps(run.to_dict(), sort_keys=True)
    return RunFolder(cache / durable.sha256(key.encode())[:16])


def _lock(folder: RunFolder) -> Path:
    folder.root.mkdir(parents=True, exist_ok=True)
    return folder.root / ".lock-cache"
