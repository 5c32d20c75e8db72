"""What a benchmark found, as data: files, figures of each setting, what could not be measured.

Knows what belongs together: a row is one file on one runtime at one setting, all rows were measured
in turns. Does not know how anything was measured or how it is shown. No TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import durable
from tfcompress.latency import Ratio
from tfcompress.operator_profile import OperatorProfile
from tfcompress.records import from_record
from tfcompress.results import Latency
from tfcompress.roofline import Peaks

SCHEMA_VERSION = 1
FILE_NAME = "benchmark.json"


@dataclass(frozen=True)
class FileFacts:
    """A model file, and what its bytes alone tell.

    Attributes:
      name: what the tables call it.
      path: as it was given.
      sha256: of the file.
      size_bytes: as stored.
      gzip_size_bytes: after gzip at level 9.
      macs: multiply-accumulates of one image; None for a file that is no TFLite, or one whose
        operators do not all tell.
      parameters: constants that stand for real values; None for a file that is no TFLite.
      activation_bytes: the greatest sum of activations that exist at one time, of one image.
      arena_bytes: what TFLite's planner of memory needs for them.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    gzip_size_bytes: int
    macs: int | None = None
    parameters: int | None = None
    activation_bytes: int | None = None
    arena_bytes: int | None = None


@dataclass(frozen=True)
class OutputDifference:
    """How far the outputs of one call lie from those of the same file on another runtime.

    Attributes:
      runtime: the other, with its options if any.
      greatest: absolute difference, in real units; None where one of them gives NaN or infinity
        and the other does not, or nothing finite is left to compare.
      steps: the same in quantization steps of the output; None for a float output.
      fraction: of the outputs' spread; see `output_difference.fraction`; None as `greatest` is.
    """

    runtime: str
    greatest: float | None
    steps: float | None
    fraction: float | None


@dataclass(frozen=True)
class ColdStart:
    """What the first process of a case took before any other had run it, in milliseconds.

    Later ones may find the file in memory and a GPU's compiled shaders in its driver's cache.

    Attributes:
      prepare: importing the runtime, and converting the file where it does.
      load: reading the file and preparing the model.
      first_call: with the outputs in host memory.
    """

    prepare: float
    load: float
    first_call: float


@dataclass(frozen=True)
class ModelMemory:
    """What a model adds to a process that has the runtime, in bytes; see `benchmark.trial`.

    Attributes:
      load: growth of anonymous memory by loading.
      first_call: its growth by the first call: the call's inputs excluded, its outputs, as they are
        handed out, included.
      mapped: of the model file, resident; 0 for a runtime that reads it into memory of its own.
    """

    load: int
    first_call: int
    mapped: int

    @property
    def anonymous(self) -> int:
        """Growth of anonymous memory in all."""
        return self.load + self.first_call


@dataclass(frozen=True)
class RooflineShare:
    """How near a call comes to what the device can do; see `roofline`.

    Attributes:
      share: the shortest possible time as a fraction of the measured median.
      bound: which ceiling is nearer, `"arithmetic"` or `"memory"`.
      intensity: multiply-accumulates for each byte moved.
    """

    share: float
    bound: str
    intensity: float


@dataclass(frozen=True)
class Row:
    """One file on one runtime at one setting.

    Attributes:
      file: name of a `FileFacts`.
      runtime: with its options if any.
      threads: processor threads.
      batch: images in one call.
      refused: why there is no figure at all; None where it was measured.
      latency: in milliseconds; its `steady` says whether it means anything.
      ratio: to the baseline file on the same runtime at the same setting.
      ratio_to: what else `ratio` is of, where the runtime does not take the baseline file.
      runtime_ratio: to the same file on the first runtime, with the same threads and batch.
      outputs: compared with the same file's on the first runtime.
      placement: the fields of `tfcompress.runtimes.Placement`.
      cold: the start of the first process.
      memory: what the model takes.
      peak_memory_bytes: greatest resident size of a measuring process, library included.
      roofline: None where the ceilings were not measured, or do not tell.
    """

    file: str
    runtime: str
    threads: int
    batch: int
    refused: str | None = None
    latency: Latency | None = None
    ratio: Ratio | None = None
    ratio_to: str = ""
    runtime_ratio: Ratio | None = None
    outputs: OutputDifference | None = None
    placement: dict[str, Any] | None = None
    cold: ColdStart | None = None
    memory: ModelMemory | None = None
    peak_memory_bytes: int | None = None
    roofline: RooflineShare | None = None


@dataclass(frozen=True)
class Profiled:
    """Where the time of a file goes; `profile` is None where it cannot be told, for `reason`."""

    file: str
    runtime: str
    threads: int
    batch: int
    profile: OperatorProfile | None
    reason: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """All that one benchmark found.

    Attributes:
      settings: it was asked for.
      environment: see `environment.collect`.
      files: in the order given; the first is the baseline.
      rows: by batch, then file, runtime and threads.
      peaks: what the devices can do, for each runtime and count of threads; empty where not asked.
      profiles: likewise where the time goes.
      notes: what could not be told, and why.
    """

    settings: dict[str, Any]
    environment: dict[str, Any]
    files: tuple[FileFacts, ...]
    rows: tuple[Row, ...]
    peaks: tuple[Peaks, ...] = ()
    profiles: tuple[Profiled, ...] = ()
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION


def write(found: Benchmark, folder: str | os.PathLike[str]) -> Path:
    """Writes the record into a folder; see `FILE_NAME`."""
    path = Path(folder) / FILE_NAME
    durable.write_json(path, dataclasses.asdict(found))
    return path


def load(folder: str | os.PathLike[str]) -> Benchmark:
    """Reads what `write` wrote.

    Raises:
      ValueError: there is no such file in the folder, or it is damaged or of another version.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise ValueError(f"No {FILE_NAME} in {os.fspath(folder)}. Pass a folder of a benchmark.")
    record = durable.read_json(path)
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {version!r}. "
            f"Expected {SCHEMA_VERSION}: measure again with this version."
        )
    try:
        found: Benchmark = from_record(Benchmark, record)
        _require_whole(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole record of a benchmark: {error}.") from error
    return found


def _require_whole(found: Benchmark) -> None:
    names = {each.name for each in found.files}
    strange = [row.file for row in found.rows if row.file not in names]
    if not found.rows or strange:
        raise ValueError(f"rows of {', '.join(strange) or 'no file'}, files {', '.join(names)}")
    for row in found.rows:
        if row.latency is not None and not row.latency.p50 > 0:
            raise ValueError(f"a latency of {row.latency.p50} ms")
