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
from tfcompress.run_folder import CANDIDATES, DATA, ENCODED, STAGES, RunFolder, RunFolderError

_FILES = (
    f"{STAGES}/**/*",
    f"{CANDIDATES}/**/*",
    f"{ENCODED}/**/*",
    "artifacts/*",
    "models/*",
    "predictions/validation/*",
    "draft.json",
    "latency.json",
    "progress.json",
)


def take(folder: RunFolder, cache: Path, run: RunConfig, *, data: Path) -> None:
    """Makes what is in the cache a run's own, where the run has not finished it itself.

    What is damaged in the cache is removed there, and trained again by whoever needs it.

    Args:
      folder: of the run, which no other process uses.
      cache: the shared folder.
      run: all settings of the run.
      data: the file with the checksums of the data that are in use.

    Raises:
      RunFolderError: it was trained on other data.
    """
    source = _folder(cache, run)
    if not source.root.exists():
        return
    with file_locks.held(_lock(source)):
        try:
            _require_same_data(source, cache, data)
            stages = [path.name for path in (source.root / STAGES).glob("*")]
            finished = [each for each in stages if stage_state.stored(source.stage(each))]
        except RunFolderError:
            raise
        except ValueError:
            shutil.rmtree(source.root, ignore_errors=True)
            return
        for stage in finished:
            # What was begun of it here belongs to other weights than those that it ended with.
            if not stage_state.is_finished(folder.stage(stage)):
                shutil.rmtree(folder.stage(stage), ignore_errors=True)
        folder.take_over(source, _FILES)


def give(folder: RunFolder, cache: Path, run: RunConfig) -> None:
    """Leaves what a run has, and the cache has not, to others.

    Args:
      folder: of the run, whose stages are finished.
      cache: the shared folder.
      run: all settings of the run.

    Raises:
      RunFolderError: what the cache has was trained on other data.
    """
    target = _folder(cache, run)
    cache.mkdir(parents=True, exist_ok=True)
    with file_locks.held(_lock(target)):
        _require_same_data(target, cache, folder.root / DATA)
        # The data first: what lies there without would go with any.
        target.take_over(folder, (DATA, *_FILES))


def _folder(cache: Path, run: RunConfig) -> RunFolder:
    key = json.dumps(run.to_dict(), sort_keys=True)
    return RunFolder(cache / durable.sha256(key.encode())[:16])


def _lock(folder: RunFolder) -> Path:
    """Beside the folder, which may be removed."""
    return folder.root.with_name(f".{folder.root.name}.lock")


def _require_same_data(shared: RunFolder, cache: Path, data: Path) -> None:
    kept = shared.root / DATA
    if kept.exists() and data.exists() and durable.read_json(kept) != durable.read_json(data):
        raise RunFolderError(
            f"What --cache={cache} has of these settings was trained on other data: the data set "
            "has changed since. Give another --cache, or none."
        )
