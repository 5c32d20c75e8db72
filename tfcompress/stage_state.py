"""What the run folder remembers of a stage: which weights it began with, and how it ended.

Knows the files of a stage's folder that are not its checkpoints. Does not know how a stage is
trained.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from tfcompress import checkpoint, durable, records
from tfcompress.results import StageResult

_DONE = "stage.json"
_START = "start.json"


def begin(folder: Path, *, started_from: str) -> bool:
    """Notes which weights a stage starts from; forgets what was trained from others.

    Args:
      folder: of the stage.
      started_from: checksum of the weights.

    Returns:
      Whether the stage was begun with other weights before, which are no longer those of the stage
      before it.
    """
    path, start = folder / _START, {"weights_sha256": started_from}
    known = path.exists()
    if known and durable.read_json(path) == start:
        return False
    if known:
        shutil.rmtree(folder)
    durable.write_json(path, start)
    return known


def is_finished(folder: Path) -> bool:
    """Whether a stage was carried out to its end."""
    return (folder / _DONE).exists()


def conclude(folder: Path, record: StageResult) -> None:
    """Writes down that a stage, whose weights lie in its folder, is finished."""
    best = durable.sha256_of_file(folder / checkpoint.BEST)
    entry = {"best_sha256": best, "record": dataclasses.asdict(record)}
    durable.write_json(folder / _DONE, entry)


def stored(folder: Path) -> bytes:
    """The record of a finished stage as bytes; empty where it was not carried out to its end.

    Raises:
      ValueError: it is damaged, or the weights are not those that it was written for.
    """
    if not is_finished(folder):
        return b""
    try:
        data = (folder / _DONE).read_bytes()
        record_of(data)
        whole = json.loads(data)["best_sha256"] == durable.sha256_of_file(folder / checkpoint.BEST)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"The record of a finished stage in {folder} is damaged ({error!r}). "
            "Remove that folder to train the stage again."
        ) from error
    if not whole:
        raise ValueError(
            f"The weights in {folder} are not those that the stage ended with. "
            "Remove that folder to train the stage again."
        )
    return data


def record_of(data: bytes) -> StageResult:
    """The record that `stored` gives the bytes of."""
    record: StageResult = records.from_record(StageResult, json.loads(data)["record"])
    return record
