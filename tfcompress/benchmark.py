"""Measures the time of a call, the time to load, and the memory, each in a process of its own.

    samples = measure_latency({"small": "a.tflite", "large": "b.tflite"}, LatencyConfig(threads=2))
    print(summarize(samples["small"]).p50)

Knows how to measure side by side: the models take turns, round by round, in fresh processes that
import no TensorFlow unless the runtime needs it; every raw sample is kept. Does not know how a
figure is shown.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import registry, resource_use
from tfcompress.litert import TensorDetails, check_counts
from tfcompress.results import Latency

_NANOSECONDS = 1_000_000_000
_MILLISECOND = 1_000_000


@dataclass(frozen=True)
class LatencyConfig:
    """How to measure the latency of a model.

    Attributes:
      runtime: a name in `tfcompress.runtimes`.
      threads: processor threads given to the runtime, 1 to 256.
      batch: images in one call, 1 to 65,536.
      rounds: processes for each model; in each round every model has its turn.
      warmup_runs: calls before the measured ones, besides the cold first call.
      min_runs: measured calls in a round, at least.
      min_seconds: measured time in a round, at least, as far as `max_runs` allows.
      max_runs: measured calls in a round, at most.
      timeout_seconds: a process that takes longer is killed.

    Raises:
      ValueError: an unknown runtime or a number out of range.
    """

    runtime: str = "litert_cpu"
    threads: int = 1
    batch: int = 1
    rounds: int = 5
    warmup_runs: int = 10
    min_runs: int = 50
    min_seconds: float = 0.5
    max_runs: int = 10_000
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        registry.require(self.runtime, registry.names("runtimes"), what="runtime")
        check_counts(
            threads=self.threads, batch=self.batch, rounds=self.rounds, min_runs=self.min_runs
        )
        if self.max_runs < self.min_runs or self.warmup_runs < 0 or self.min_seconds < 0:
            raise ValueError(
                "LatencyConfig takes max_runs >= min_runs, warmup_runs >= 0 and min_seconds >= 0. "
                f"Received: max_runs={self.max_runs}, min_runs={self.min_runs}, "
                f"warmup_runs={self.warmup_runs}, min_seconds={self.min_seconds}."
            )
        if self.timeout_seconds <= self.min_seconds:
            raise ValueError(
                "LatencyConfig.timeout_seconds must be greater than min_seconds. "
                f"Received: {self.timeout_seconds} and {self.min_seconds}."
            )


@dataclass(frozen=True)
class LatencySamples:
    """Every raw sample of one model at one setting, in nanoseconds.

    Attributes:
      runtime: what executed the model.
      threads: processor threads.
      batch: images in one call.
      rounds_ns: for each round, the time of each measured call, reading the outputs included.
      first_call_ns: for each round, the cold first call.
      load_ns: for each round, reading the file and preparing the model, without importing the
        runtime's library.
      peak_memory_bytes: greatest resident size of a round's process, with Python and the runtime's
        library in it; None for a batch other than 1.
    """

    runtime: str
    threads: int
    batch: int
    rounds_ns: tuple[tuple[int, ...], ...]
    first_call_ns: tuple[int, ...]
    load_ns: tuple[int, ...]
    peak_memory_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return dataclasses.asdict(self)


class MeasurementError(RuntimeError):
    """A measuring process failed or was killed. The message names the model and the reason."""


# Runs one request in a process of its own: takes the request and a time limit in seconds.
Runner = Callable[[Mapping[str, Any], float], Mapping[str, Any]]
# Called after each process with the count done, of all, and the model's name.
Progress = Callable[[int, int, str], None]


def time_calls(
    call: Callable[[], object],
    *,
    warmup_runs: int,
    min_runs: int,
    min_seconds: float,
    max_runs: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[int]:
    """Times a call until there are enough samples.

    Args:
      call: what is timed.
      warmup_runs: calls that are not timed, before the others.
      min_runs: samples, at least.
      min_seconds: sum of the samples, at least, as far as `max_runs` allows.
      max_runs: samples, at most.
      clock: nanoseconds, rising.

    Returns:
      the time of each call in nanoseconds, in order.
    """
    for _ in range(warmup_runs):
        call()
    samples: list[int] = []
    total = 0
    while len(samples) < min_runs or total < min_seconds * _NANOSECONDS:
        if len(samples) >= max_runs:
            break
        start = clock()
        call()
        samples.append(clock() - start)
        total += samples[-1]
    return samples


def measure_latency(
    models: Mapping[str, str | os.PathLike[str]],
    config: LatencyConfig = LatencyConfig(),
    *,
    progress: Progress | None = None,
    runner: Runner | None = None,
) -> dict[str, LatencySamples]:
    """Measures several models side by side.

    In each round every model has its turn in a new process, so that a change of the machine's speed
    meets all of them alike.

    Args:
      models: name and file of each.
      config: how to measure.
      progress: called after each process.
      runner: runs one request in a process of its own; for tests.

    Returns:
      the samples of each model, in the order given.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: no model, or a file that the runtime does not take.
      MeasurementError: the runtime is not available, or a process failed or took too long.
    """
    _check_models(models, config.runtime)
    runner = runner or run_in_process
    replies: dict[str, list[Mapping[str, Any]]] = {name: [] for name in models}
    turns = [name for _ in range(config.rounds) for name in models]
    for done, name in enumerate(turns, start=1):
        request = dataclasses.asdict(config) | {"path": os.fspath(models[name])}
        try:
            replies[name].append(runner(request, config.timeout_seconds))
        except MeasurementError as error:
            raise MeasurementError(
                f"Measuring {name!r} ({models[name]}) on {config.runtime} with {config.threads} "
                f"threads and batch {config.batch} failed: {error}"
            ) from error
        if progress is not None:
            progress(done, len(turns), name)
    return {name: _samples(config, answers) for name, answers in replies.items()}


def summarize(samples: LatencySamples) -> Latency:
    """Median, 90th percentile and spread of raw samples, in milliseconds."""
    together = np.concatenate([np.asarray(part, np.float64) for part in samples.rounds_ns])
    return Latency(
        p50=float(np.percentile(together, 50)) / _MILLISECOND,
        p90=float(np.percentile(together, 90)) / _MILLISECOND,
        runtime=samples.runtime,
        threads=samples.threads,
        batch=samples.batch,
        samples=len(together),
        round_p50=tuple(float(np.median(part)) / _MILLISECOND for part in samples.rounds_ns),
        first_call=samples.first_call_ns[0] / _MILLISECOND,
        load=samples.load_ns[0] / _MILLISECOND,
    )


def run_in_process(
    request: Mapping[str, Any], timeout_seconds: float, *, module: str = "tfcompress.benchmark"
) -> Mapping[str, Any]:
    """Answers a request in a new process, which sees this process's environment.

    Args:
      request: JSON-ready.
      timeout_seconds: a process that takes longer is killed.
      module: run as a program; it reads the request and prints the reply as its last line.

    Raises:
      MeasurementError: it failed, answered nothing, or took longer than the limit and was killed.
    """
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        finished = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(
            f"its process did not end within {timeout_seconds:g} s and was killed."
        ) from None
    lines = finished.stdout.splitlines()
    if finished.returncode != 0 or not lines:
        last = "\n  ".join(finished.stderr.strip().splitlines()[-5:])
        raise MeasurementError(f"its process ended with {finished.returncode}:\n  {last}")
    reply: dict[str, Any] = json.loads(lines[-1])
    if "error" in reply:
        raise MeasurementError(reply["error"])
    return reply


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads a model, makes the cold first call and times the warm ones, in this process.

    Args:
      request: the fields of `LatencyConfig` and `path`.

    Returns:
      `load_ns`, `first_call_ns`, `samples_ns`, `peak_memory_bytes`.
    """
    runtime = registry.load("runtimes", request["runtime"])
    runtime.prepare()
    start = time.perf_counter_ns()
    session = runtime.open(request["path"], threads=request["threads"], batch=request["batch"])
    loaded = time.perf_counter_ns()
    inputs = _inputs(session.input_details)
    before = time.perf_counter_ns()
    session.run(inputs)
    first_call = time.perf_counter_ns() - before
    samples = time_calls(
        lambda: session.run(inputs),
        warmup_runs=request["warmup_runs"],
        min_runs=request["min_runs"],
        min_seconds=request["min_seconds"],
        max_runs=request["max_runs"],
    )
    return {
        "load_ns": loaded - start,
        "first_call_ns": first_call,
        "samples_ns": samples,
        "peak_memory_bytes": resource_use.peak_memory_bytes(),
    }


def _inputs(details: TensorDetails) -> np.ndarray:
    generator = np.random.default_rng(0)
    if details.dtype.kind == "f":
        return generator.random(details.shape, np.float32).astype(details.dtype)
    limits = np.iinfo(details.dtype)
    return generator.integers(limits.min, limits.max, details.shape, details.dtype, endpoint=True)


def _check_models(models: Mapping[str, str | os.PathLike[str]], runtime: str) -> None:
    if not models:
        raise ValueError("There is no model to measure. Expected at least one name with its file.")
    module = registry.load("runtimes", runtime)
    reason = module.unavailable()
    if reason is not None:
        raise MeasurementError(f"The runtime {runtime} is not available. {reason}")
    for path in map(Path, models.values()):
        if not path.is_file():
            raise FileNotFoundError(f"No model file at {path}.")
        if path.suffix not in module.SUFFIXES:
            raise ValueError(
                f"The runtime {runtime} takes files that end in {' or '.join(module.SUFFIXES)}. "
                f"Received: {path}."
            )


def _samples(config: LatencyConfig, replies: list[Mapping[str, Any]]) -> LatencySamples:
    peak = max(reply["peak_memory_bytes"] for reply in replies)
    return LatencySamples(
        runtime=config.runtime,
        threads=config.threads,
        batch=config.batch,
        rounds_ns=tuple(tuple(reply["samples_ns"]) for reply in replies),
        first_call_ns=tuple(reply["first_call_ns"] for reply in replies),
        load_ns=tuple(reply["load_ns"] for reply in replies),
        peak_memory_bytes=peak if config.batch == 1 else None,
    )


def serve(answering: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answers the request on standard input, as `run_in_process` expects it.

    Args:
      answering: gives the reply to a request, JSON-ready.
    """
    try:
        reply = answering(json.load(sys.stdin))
    except (ValueError, OSError, RuntimeError) as error:
        # What is wrong with the model or the setting; the caller shows it without a traceback.
        reply = {"error": str(error)}
    print(json.dumps(reply))


if __name__ == "__main__":
    serve(answer)
