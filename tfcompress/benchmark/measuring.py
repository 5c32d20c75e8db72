"""Measures models side by side: they take turns, round by round, in fresh processes.

Every raw sample is kept. Does not know how a figure is shown.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tfcompress import runtimes
from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.process import MeasurementError, Runner, run_in_process
from tfcompress.latency import LatencySamples

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called after each process with the count done, of all, and the model's name."""

_ANSWERING = "tfcompress.benchmark.answering"


def measure_latency(
    models: Mapping[str, str | os.PathLike[str]],
    config: LatencyConfig | None = None,
    *,
    progress: Progress | None = None,
    runner: Runner | None = None,
) -> dict[str, LatencySamples]:
    """Measures several models side by side.

    In each round every model has its turn in a new process, so that a change of the machine's speed
    meets all of them alike.

    Args:
      models: name and file of each.
      config: how to measure; the defaults of `LatencyConfig` where None.
      progress: called after each process.
      runner: runs one request in a process of its own; for tests.

    Returns:
      the samples of each model, in the order given.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: no model, or a file that the runtime does not take.
      MeasurementError: the runtime is not available, or a process failed or took too long.
    """
    config = config or LatencyConfig()
    _check_models(models, config.runtime)
    runner = runner or functools.partial(run_in_process, module=_ANSWERING)
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


def _check_models(models: Mapping[str, str | os.PathLike[str]], runtime: str) -> None:
    if not models:
        raise ValueError("There is no model to measure. Expected at least one name with its file.")
    engine = runtimes.choose(runtime)
    reason = engine.unavailable()
    if reason is not None:
        raise MeasurementError(f"The runtime {runtime} is not available. {reason}")
    for path in map(Path, models.values()):
        if not path.is_file():
            raise FileNotFoundError(f"No model file at {path}.")
        if path.suffix not in engine.suffixes:
            raise ValueError(
                f"The runtime {runtime} takes files that end in {' or '.join(engine.suffixes)}. "
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
