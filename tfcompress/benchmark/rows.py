"""What follows from trials and samples: the row of each case, beside what it is compared with.

Knows which case is the baseline of which, and what the bytes of a file tell. Measures nothing.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tfcompress import durable, file_cost, latency, memory_plan, output_difference, roofline
from tfcompress.benchmark.trial import Trial
from tfcompress.benchmark_record import FileFacts, OutputDifference, RooflineShare, Row
from tfcompress.latency import LatencySamples
from tfcompress.roofline import Peaks

TFLITE = ".tflite"


@dataclass(frozen=True)
class Setting:
    """A file on a runtime with a count of threads and a batch: what a row is of."""

    file: str
    runtime: str
    threads: int
    batch: int

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.file}, {self.runtime}, threads {self.threads}, batch {self.batch}"


def facts_of(name: str, path: str) -> FileFacts:
    """What the bytes of a file tell."""
    data = Path(path).read_bytes()
    facts = FileFacts(
        name=name,
        path=path,
        sha256=durable.sha256(data),
        size_bytes=len(data),
        gzip_size_bytes=len(gzip.compress(data, 9, mtime=0)),
    )
    # What its bytes do not tell stays open; whether it runs is known from the trial.
    with suppress(ValueError):
        if path.endswith(TFLITE):
            return _counted(facts, data)
    return facts


def _counted(facts: FileFacts, data: bytes) -> FileFacts:
    cost = file_cost.count(data, source=facts.path)
    plan = memory_plan.plan(data, source=facts.path, batch=1)
    return dataclasses.replace(
        facts,
        macs=None if cost.uncounted else round(cost.macs / cost.batch),
        parameters=cost.parameters,
        activation_bytes=plan.lower_bound_bytes,
        arena_bytes=plan.arena_bytes,
    )


@dataclass(frozen=True)
class Rows:
    """Makes the rows of what was tried and measured.

    Attributes:
      first: the runtime that others are held against.
      paths: of each file by its name; the first is the baseline.
      settings: in the order of the rows.
      trials: of each, or why there is none.
      samples: of those that were measured.
      peaks: what the devices can do.
      notes: receives what cannot be told.
    """

    first: str
    paths: Mapping[str, str]
    settings: Sequence[Setting]
    trials: Mapping[Setting, Trial | str]
    samples: Mapping[Setting, LatencySamples]
    peaks: Sequence[Peaks]
    notes: list[str]

    def all(self) -> tuple[Row, ...]:
        """A row for each setting, in their order."""
        return tuple(map(self._row, self.settings))

    def _row(self, each: Setting) -> Row:
        trial = self.trials[each]
        row = Row(**dataclasses.asdict(each))
        if isinstance(trial, str):
            return dataclasses.replace(row, refused=trial)
        samples = self.samples[each]
        if samples.finite_outputs is False:
            self.notes.append(f"{each.name}: outputs that are NaN or infinite, of finite inputs.")
        first = dataclasses.replace(each, runtime=self.first)
        baseline = dataclasses.replace(each, file=next(iter(self.paths)))
        # Where its runtime does not take the baseline file, the first one's figure serves.
        other = baseline if baseline in self.trials else self._first(each)
        row = dataclasses.replace(
            row,
            latency=latency.summarize(samples),
            ratio=self._ratio(each, other),
            ratio_to="" if other == baseline else f"{other.file} on {other.runtime}",
            runtime_ratio=self._ratio(each, first),
            outputs=self._difference(each, first),
            placement=dataclasses.asdict(trial.placement),
            cold=trial.cold,
            memory=trial.memory,
            peak_memory_bytes=samples.peak_memory_bytes,
        )
        return dataclasses.replace(row, roofline=self._share(row))

    def _first(self, each: Setting) -> Setting:
        """The first case with the same threads and batch."""
        alike = ((one.threads, one.batch) == (each.threads, each.batch) for one in self.settings)
        return next(itertools.compress(self.settings, alike))

    def _ratio(self, one: Setting, other: Setting) -> latency.Ratio | None:
        if one == other or other not in self.samples:
            return None
        return latency.ratio(self.samples[one], self.samples[other])

    def _difference(self, one: Setting, other: Setting) -> OutputDifference | None:
        ours, theirs = self.trials[one], self.trials.get(other)
        if one == other or not isinstance(ours, Trial) or not isinstance(theirs, Trial):
            return None
        if ours.input_shapes != theirs.input_shapes:
            # Such as texts of other lengths: of other inputs the outputs say nothing.
            return None
        arrays = ours.outputs, theirs.outputs, theirs.details
        greatest, steps = output_difference.greatest(*arrays)
        fraction = output_difference.fraction(*arrays)
        if not (math.isfinite(greatest) and math.isfinite(fraction)):
            return OutputDifference(other.runtime, None, None, None)
        return OutputDifference(other.runtime, greatest, steps, fraction)

    def _share(self, row: Row) -> RooflineShare | None:
        peaks = [p for p in self.peaks if (p.runtime, p.threads) == (row.runtime, row.threads)]
        path = self.paths[row.file]
        if not peaks or row.latency is None or row.latency.steady is False:
            return None
        if not path.endswith(TFLITE):
            return None
        try:
            found = roofline.attained(
                Path(path).read_bytes(),
                source=row.file,
                peaks=peaks[0],
                latency_ms=row.latency.p50,
                batch=row.batch,
            )
        except ValueError as error:
            self.notes.append(str(error))
            return None
        return RooflineShare(found.share, found.bound, found.intensity)
