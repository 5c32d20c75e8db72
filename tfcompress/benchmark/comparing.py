"""A whole benchmark: several files, runtimes and settings, measured in turns and compared.

    found = run(BenchmarkConfig(artifacts=("a.tflite", "b.tflite"), batches=(1, 32)))

Knows the order: what the bytes tell, a trial of each case, the measurement of all that run, the
ceilings of the device, the profiles. A case that cannot run is in the record with the reason; what
the whole cannot be done with is refused before any work. Does not know how it is shown.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tfcompress import (
    durable,
    environment,
    registry,
    runtimes,
)
from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.measuring import Case, measure_cases
from tfcompress.benchmark.peaks import peaks_in_process
from tfcompress.benchmark.process import MeasurementError
from tfcompress.benchmark.profiling import ProfileConfig, profile_in_process
from tfcompress.benchmark.rows import TFLITE, Rows, Setting, facts_of
from tfcompress.benchmark.trial import Trial, try_in_process
from tfcompress.benchmark_record import (
    Benchmark,
    FileFacts,
    Profiled,
)
from tfcompress.latency import LatencySamples
from tfcompress.roofline import Peaks
from tfcompress.runtimes import litert_cpu

Say: TypeAlias = Callable[[str, int, int], None]
"""Called after each process with what is done, the count done of it, and of all."""

_CHANGED = "The file was changed or removed while it was measured. Measure again."


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
    files = tuple(facts_of(name, path) for name, path in paths.items())
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
    profiles = _profiles(config, paths, notes, say) if config.profile else ()
    changed = {each.name for each in files if not _is_still(each)}
    trials |= {each: _CHANGED for each in settings if each.file in changed}
    samples = {each: found for each, found in samples.items() if each.file not in changed}
    if not samples:
        raise _nothing(settings, trials)
    rows = Rows(config.runtimes[0], paths, settings, trials, samples, peaks, notes).all()
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


def _is_still(facts: FileFacts) -> bool:
    """Whether the file is the one that was read at the beginning."""
    try:
        return durable.sha256_of_file(facts.path) == facts.sha256
    except OSError:
        return False


def _nothing(
    settings: Sequence[Setting], trials: Mapping[Setting, Trial | str]
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


def _settings(config: BenchmarkConfig, paths: Mapping[str, str]) -> list[Setting]:
    suffixes = {name: runtimes.choose(name).suffixes for name in config.runtimes}
    every = itertools.product(config.batches, paths, config.runtimes, config.threads)
    return [
        Setting(file, runtime, threads, batch)
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
    config: BenchmarkConfig, paths: Mapping[str, str], settings: Sequence[Setting], say: Say
) -> dict[Setting, Trial | str]:
    """The trial of each case, or why it cannot be measured."""
    found: dict[Setting, Trial | str] = {}
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
    running: Sequence[Setting],
    failures: dict[str, str],
    say: Say,
) -> dict[Setting, LatencySamples]:
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
    trials: Mapping[Setting, Trial],
    notes: list[str],
    say: Say,
) -> tuple[Peaks, ...]:
    asked = [
        (each.runtime, each.threads)
        for each, trial in trials.items()
        # The processor plays the GPU: the ceilings would mean as little as the times.
        if not trial.placement.software and paths[each.file].endswith(TFLITE)
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
    files = [file for file, path in paths.items() if path.endswith(TFLITE)]
    known = [
        name for name, engine in engines.items() if isinstance(engine.options, litert_cpu.Options)
    ]
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
