"""A whole benchmark: several files, runtimes and settings, measured in turns and compared.

    found = run(BenchmarkConfig(artifacts=("a.tflite", "b.tflite"), batches=(1, 32)))

Knows the order: what the bytes tell, a trial of each case, the measurement of all that run, the
ceilings of the device, the profiles. A case that cannot run is in the record with the reason; what
the whole cannot be done with is refused before any work. Does not know how it is shown.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tfcompress import (
    durable,
    environment,
    file_cost,
    latency,
    memory_plan,
    output_difference,
    registry,
    roofline,
    runtimes,
)
from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.measuring import Case, measure_cases
from tfcompress.benchmark.peaks import peaks_in_process
from tfcompress.benchmark.process import MeasurementError
from tfcompress.benchmark.profiling import ProfileConfig, profile_in_process
from tfcompress.benchmark.trial import Trial, try_in_process
from tfcompress.benchmark_record import (
    Benchmark,
    FileFacts,
    OutputDifference,
    Profiled,
    RooflineShare,
    Row,
)
from tfcompress.latency import LatencySamples
from tfcompress.roofline import Peaks

Say: TypeAlias = Callable[[str, int, int], None]
"""Called after each process with what is done, the count done of it, and of all."""

_TFLITE = ".tflite"


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, and how.

    Attributes:
      artifacts: model files; the first is the baseline.
      runtimes: names, with their options if any; the first is the one that others are held against.
      threads: counts of processor threads.
      batches: counts of images in one call.
      rounds: see `LatencyConfig`, as for the next three.
      min_runs: calls in a round, at least.
      min_seconds: of measured time in a round, at least.
      timeout_seconds: a process that takes longer is killed.
      inputs: a `.npy` file with the images of a call; None for random numbers.
      roofline: whether to measure what the device can do, and each case's share of it.
      profile: whether to measure where the time of each `.tflite` goes on the processor.

    Raises:
      ValueError: nothing to measure, a file or a setting twice, an unknown runtime, a count out of
        range, or a file that no runtime takes.
      FileNotFoundError: a file is not there.
    """

    artifacts: tuple[str, ...]
    runtimes: tuple[str, ...] = ("litert_cpu",)
    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)
    rounds: int = 6
    min_runs: int = 50
    min_seconds: float = 0.5
    timeout_seconds: float = 300.0
    inputs: str | None = None
    roofline: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        for name in ("artifacts", "runtimes", "threads", "batches"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"BenchmarkConfig.{name} takes one or more values, each once. "
                    f"Received: {', '.join(map(str, values)) or 'none'}."
                )
        targets = [os.path.realpath(path) for path in self.artifacts]
        if len(set(targets)) < len(targets):
            raise ValueError(
                f"BenchmarkConfig.artifacts takes each file once. Received: {list(self.artifacts)}."
            )
        for setting in itertools.product(self.runtimes, self.threads, self.batches):
            self.latency(*setting)
        known = tuple(end for name in self.runtimes for end in runtimes.choose(name).suffixes)
        for path in self.artifacts:
            if not path.endswith(known):
                raise ValueError(
                    f"No runtime asked for ({', '.join(self.runtimes)}) takes {path}. They take "
                    f"files that end in {' or '.join(dict.fromkeys(known))}. {_takers(path)}"
                )
            if not os.path.isfile(path):
                raise FileNotFoundError(f"No model file at {path}.")
            if not path.isprintable():
                raise ValueError(
                    f"A file name must be of printable characters. Received: {path!r}. Rename it."
                )

    def latency(self, runtime: str, threads: int, batch: int) -> LatencyConfig:
        """How one setting is measured."""
        return LatencyConfig(
            runtime=runtime,
            threads=threads,
            batch=batch,
            rounds=self.rounds,
            min_runs=self.min_runs,
            min_seconds=self.min_seconds,
            timeout_seconds=self.timeout_seconds,
            inputs=self.inputs,
        )


@dataclass(frozen=True)
class _Setting:
    """A file on a runtime with a count of threads and a batch: what a row is of."""

    file: str
    runtime: str
    threads: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.file}, {self.runtime}, threads {self.threads}, batch {self.batch}"


@dataclass(frozen=True)
class Found:
    """A benchmark and the raw samples of each row that was measured, in the order of the rows."""

    benchmark: Benchmark
    samples: tuple[LatencySamples, ...]


def run(config: BenchmarkConfig, *, say: Say | None = None) -> Found:
    """Measures everything and compares it.

    Args:
      config: what and how.
      say: told of the progress.

    Raises:
      MeasurementError: no case can be measured; the message has the reason of each.
    """
    say = say or _silent
    paths = dict(zip(short_names(config.artifacts), config.artifacts, strict=True))
    files = tuple(_facts(name, path) for name, path in paths.items())
    settings = _settings(config, paths)
    trials = _try_all(config, paths, settings, say)
    running = {each: trial for each, trial in trials.items() if isinstance(trial, Trial)}
    if not running:
        raise _nothing(settings, trials)
    failures: dict[str, str] = {}
    samples = _measure(config, paths, list(running), failures, say)
    trials |= {each: failures[each.name] for each in running if each.name in failures}
    if not samples:
        raise _nothing(settings, trials)
    notes = _left_out(config, paths)
    peaks = _peaks(config, paths, running, notes, say) if config.roofline else ()
    rows = _Rows(config, paths, settings, trials, samples, peaks, notes).all()
    profiles = _profiles(config, paths, notes, say) if config.profile else ()
    for each in files:
        if durable.sha256_of_file(each.path) != each.sha256:
            notes.append(f"{each.path} was changed while it was measured: its rows mean nothing.")
    benchmark = Benchmark(
        settings=dataclasses.asdict(config),
        environment=environment.collect(),
        files=files,
        rows=rows,
        peaks=peaks,
        profiles=profiles,
        notes=tuple(dict.fromkeys(notes)),
    )
    return Found(benchmark, tuple(samples[each] for each in settings if each in samples))


def short_names(files: Sequence[str]) -> list[str]:
    """The end of each path, as many folders of it as tell the files apart.

    Example:
      >>> short_names(["runs/a/x.tflite", "runs/b/x.tflite"])
      ['a/x.tflite', 'b/x.tflite']
    """
    parts = [Path(file).parts for file in files]
    for count in range(1, max(map(len, parts)) + 1):
        short = [str(Path(*own[-count:])) for own in parts]
        if len(set(short)) == len(short):
            return short
    return list(files)


def _nothing(
    settings: Sequence[_Setting], trials: Mapping[_Setting, Trial | str]
) -> MeasurementError:
    reasons = "\n".join(f"  {each.name}: {trials[each]}" for each in settings)
    return MeasurementError(f"Nothing could be measured:\n{reasons}")


def _takers(path: str) -> str:
    """Which runtimes take a file, as a hint."""
    names = registry.names("runtimes")
    taking = [name for name in names if path.endswith(runtimes.choose(name).suffixes)]
    return f"It is taken by: {', '.join(taking)}." if taking else ""


def _silent(what: str, done: int, total: int) -> None:
    """Says nothing."""


def _settings(config: BenchmarkConfig, paths: Mapping[str, str]) -> list[_Setting]:
    suffixes = {name: runtimes.choose(name).suffixes for name in config.runtimes}
    every = itertools.product(config.batches, paths, config.runtimes, config.threads)
    return [
        _Setting(file, runtime, threads, batch)
        for batch, file, runtime, threads in every
        if paths[file].endswith(suffixes[runtime])
    ]


def _left_out(config: BenchmarkConfig, paths: Mapping[str, str]) -> list[str]:
    return [
        f"No row of {file} on {name}, which takes files that end in {' or '.join(ends)}."
        for name in config.runtimes
        for ends in [runtimes.choose(name).suffixes]
        for file, path in paths.items()
        if not path.endswith(ends)
    ]


def _try_all(
    config: BenchmarkConfig, paths: Mapping[str, str], settings: Sequence[_Setting], say: Say
) -> dict[_Setting, Trial | str]:
    """The trial of each case, or why it cannot be measured."""
    found: dict[_Setting, Trial | str] = {}
    for done, each in enumerate(settings, start=1):
        try:
            found[each] = try_in_process(
                paths[each.file],
                runtime=each.runtime,
                threads=each.threads,
                batch=each.batch,
                inputs=config.inputs,
                timeout_seconds=config.timeout_seconds,
            )
        except MeasurementError as error:
            found[each] = str(error)
        say(f"first calls: {each.name}", done, len(settings))
    return found


def _measure(
    config: BenchmarkConfig,
    paths: Mapping[str, str],
    running: Sequence[_Setting],
    failures: dict[str, str],
    say: Say,
) -> dict[_Setting, LatencySamples]:
    cases = {
        each.name: Case(paths[each.file], config.latency(each.runtime, each.threads, each.batch))
        for each in running
    }
    found = measure_cases(
        cases,
        progress=lambda done, total, name: say(f"in turns: {name}", done, total),
        failures=failures,
    )
    return {each: found[each.name] for each in running if each.name in found}


def _peaks(
    config: BenchmarkConfig,
    paths: Mapping[str, str],
    trials: Mapping[_Setting, Trial],
    notes: list[str],
    say: Say,
) -> tuple[Peaks, ...]:
    asked = [
        (each.runtime, each.threads)
        for each, trial in trials.items()
        # The processor plays the GPU: the ceilings would mean as little as the times.
        if not trial.placement.software and paths[each.file].endswith(_TFLITE)
    ]
    asked = list(dict.fromkeys(asked))
    found = []
    for done, (runtime, threads) in enumerate(asked, start=1):
        try:
            found.append(
                peaks_in_process(runtime, threads=threads, timeout_seconds=config.timeout_seconds)
            )
        except (ValueError, MeasurementError) as error:
            notes.append(f"No roofline of {runtime} with {threads} threads: {error}")
        say(f"what {runtime} can do with {threads} threads", done, len(asked))
    return tuple(found)


def _profiles(
    config: BenchmarkConfig, paths: Mapping[str, str], notes: list[str], say: Say
) -> tuple[Profiled, ...]:
    engines = {name: runtimes.choose(name) for name in config.runtimes}
    files = [file for file, path in paths.items() if path.endswith(_TFLITE)]
    known = [name for name, engine in engines.items() if hasattr(engine.options, "kernels")]
    for name in engines:
        if name not in known:
            notes.append(f"No profile on {name}: LiteRT's profiler knows the processor alone.")
    asked = list(itertools.product(config.batches, files, known, config.threads))
    found = []
    for done, (batch, file, name, threads) in enumerate(asked, start=1):
        try:
            settings = ProfileConfig(
                kernels=engines[name].options.kernels,
                threads=threads,
                batch=batch,
                timeout_seconds=config.timeout_seconds,
            )
            profile = profile_in_process(paths[file], settings)
            found.append(Profiled(file, name, threads, batch, profile))
        except (ValueError, MeasurementError) as error:
            found.append(Profiled(file, name, threads, batch, None, str(error)))
        say(f"where the time of {file} goes", done, len(asked))
    return tuple(found)


def _facts(name: str, path: str) -> FileFacts:
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
        if path.endswith(_TFLITE):
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
class _Rows:
    """Makes the rows of what was tried and measured; `notes` receives what cannot be told."""

    config: BenchmarkConfig
    paths: Mapping[str, str]
    settings: Sequence[_Setting]
    trials: Mapping[_Setting, Trial | str]
    samples: Mapping[_Setting, LatencySamples]
    peaks: Iterable[Peaks]
    notes: list[str]

    def all(self) -> tuple[Row, ...]:
        return tuple(map(self._row, self.settings))

    def _row(self, each: _Setting) -> Row:
        trial = self.trials[each]
        row = Row(**dataclasses.asdict(each))
        if isinstance(trial, str):
            return dataclasses.replace(row, refused=trial)
        samples = self.samples[each]
        if samples.finite_outputs is False:
            self.notes.append(f"{each.name}: outputs that are NaN or infinite, of finite inputs.")
        first = dataclasses.replace(each, runtime=self.config.runtimes[0])
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

    def _first(self, each: _Setting) -> _Setting:
        """The first case with the same threads and batch."""
        alike = ((one.threads, one.batch) == (each.threads, each.batch) for one in self.settings)
        return next(itertools.compress(self.settings, alike))

    def _ratio(self, one: _Setting, other: _Setting) -> latency.Ratio | None:
        if one == other or other not in self.samples:
            return None
        return latency.ratio(self.samples[one], self.samples[other])

    def _difference(self, one: _Setting, other: _Setting) -> OutputDifference | None:
        ours, theirs = self.trials[one], self.trials.get(other)
        if one == other or not isinstance(ours, Trial) or not isinstance(theirs, Trial):
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
        if not path.endswith(_TFLITE):
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
