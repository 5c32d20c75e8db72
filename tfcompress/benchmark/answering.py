"""The measuring process: loads one model, runs it, answers with raw samples.

    python -m tfcompress.benchmark.answering

reads a request from standard input, as `run_in_process` gives it. Imports no TensorFlow unless the
runtime needs it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress import machine_state, resource_use, runtimes
from tfcompress.benchmark.opening import open_and_call
from tfcompress.benchmark.process import doing, serve
from tfcompress.benchmark.timing import time_calls, warm_up
from tfcompress.machine_state import GpuState, Stretch
from tfcompress.resource_use import Counter


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads a model, makes the cold first call, warms up and times the calls, in this process.

    Args:
      request: the fields of `LatencyConfig` and `path`.

    Returns:
      What `LatencySamples` keeps of a round, JSON-ready: `prepare_ns`, `load_ns`, `first_call_ns`,
      `warmup_runs`, `stable`, `samples_ns`, `machine`, `placement`, `finite_outputs`,
      `joules_per_call`, `peak_memory_bytes`.
    """
    on_gpu = runtimes.choose(request["runtime"]).device == "gpu"
    gpus: list[tuple[GpuState, ...] | None] = []

    def watch(moment: str) -> None:
        # Before anything of ours runs there: its utilization is that by others.
        if moment == "prepared":
            gpus.append(machine_state.read_gpus() if on_gpu else None)

    opened = open_and_call(request, at=watch)
    return {
        "prepare_ns": opened.prepare_ns,
        "load_ns": opened.load_ns,
        "first_call_ns": opened.first_call_ns,
        "finite_outputs": _finite(opened.outputs),
        **_warm_samples(opened.session, opened.inputs, request, gpus[0]),
    }


def _warm_samples(
    session: runtimes.Session,
    inputs: Sequence[np.ndarray],
    request: Mapping[str, Any],
    gpus: tuple[GpuState, ...] | None,
) -> dict[str, Any]:
    """What is measured, and then what it takes to prove where it ran."""

    def call() -> object:
        return session.run(inputs)

    counters = resource_use.find_counters()
    begin = dataclasses.replace(machine_state.read(), gpus=gpus)
    doing("warming up")
    warmed = warm_up(
        call,
        min_runs=request["warmup_runs"],
        max_runs=request["max_warmup_runs"],
        max_seconds=request["max_warmup_seconds"],
    )
    doing("measuring")
    joules = [resource_use.or_none(counter.read) for counter in counters]
    samples = time_calls(
        call,
        min_runs=request["min_runs"],
        min_seconds=request["min_seconds"],
        max_runs=request["max_runs"],
    )
    spent = _spent(counters, joules)
    stretch = Stretch(begin, machine_state.read(gpus=gpus is not None))
    peak = resource_use.peak_memory_bytes()
    # Last: a GPU's proof runs the model on the processor as well.
    doing("proving where it ran")
    placement = session.placement
    own = resource_use.without_other_gpus(counters, placement.device_name)
    per_call = {one.name: spent[one.name] / len(samples) for one in own if one.name in spent}
    return {
        "warmup_runs": len(warmed.samples_ns),
        "stable": warmed.stable,
        "samples_ns": samples,
        "machine": dataclasses.asdict(stretch),
        "joules_per_call": per_call or None,
        "peak_memory_bytes": peak,
        "placement": dataclasses.asdict(placement),
    }


def _spent(counters: Sequence[Counter], before: Sequence[float | None]) -> dict[str, float]:
    """Joules of each counter since its reading before; one that fails is left out."""
    found = {}
    for counter, start in zip(counters, before, strict=True):
        if start is not None:
            value = resource_use.or_none(functools.partial(counter.since, start))
            if value is not None:
                found[counter.name] = value
    return found


def _finite(outputs: Sequence[np.ndarray]) -> bool:
    floats = (output for output in outputs if output.dtype.kind == "f")
    return all(bool(np.isfinite(output).all()) for output in floats)


if __name__ == "__main__":
    serve(answer)
