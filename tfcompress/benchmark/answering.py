"""The measuring process: loads one model, runs it, answers with raw samples.

    python -m tfcompress.benchmark.answering < request.json

Imports no TensorFlow unless the runtime needs it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfcompress import resource_use, runtimes
from tfcompress.benchmark.process import serve
from tfcompress.benchmark.timing import time_calls
from tfcompress.litert import TensorDetails


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads a model, makes the cold first call and times the warm ones, in this process.

    Args:
      request: the fields of `LatencyConfig` and `path`.

    Returns:
      `load_ns`, `first_call_ns`, `samples_ns`, `peak_memory_bytes`.
    """
    runtime = runtimes.choose(request["runtime"])
    runtime.prepare(request["path"])
    start = time.perf_counter_ns()
    session = runtime.open(request["path"], threads=request["threads"], batch=request["batch"])
    loaded = time.perf_counter_ns()
    inputs = [_input(details) for details in session.inputs]
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


def _input(details: TensorDetails) -> np.ndarray:
    generator = np.random.default_rng(0)
    if details.dtype.kind == "f":
        return generator.random(details.shape, np.float32).astype(details.dtype)
    limits = np.iinfo(details.dtype)
    return generator.integers(limits.min, limits.max, details.shape, details.dtype, endpoint=True)


if __name__ == "__main__":
    serve(answer)
