"""The beginning of every measuring process: engine, model, inputs, and the cold first call.

Times each apart. Knows their order, and keeps everything else out of the times. Does not know what
is measured afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tfcompress import runtimes
from tfcompress.benchmark.inputs import make_inputs
from tfcompress.benchmark.process import doing

T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """A model that was called once.

    Attributes:
      session: ready for more calls.
      inputs: of the call.
      outputs: likewise.
      prepare_ns: importing the engine, and converting the file where it does.
      load_ns: reading the file and preparing the model.
      first_call_ns: with the outputs in host memory.
    """

    session: runtimes.Session
    inputs: list[np.ndarray]
    outputs: tuple[np.ndarray, ...]
    prepare_ns: int
    load_ns: int
    first_call_ns: int


def open_and_call(request: Mapping[str, Any], *, at: Callable[[str], None]) -> Opened:
    """Opens a model and calls it once.

    Args:
      request: `path`, `runtime`, `threads`, `batch`, and `inputs`, a `.npy` file or None.
      at: called outside of all times when the engine is `"prepared"`, the model `"loaded"`, the
        input `"ready"`, and the call `"called"`.

    Raises:
      ValueError: a file or inputs that do not go.
      RuntimeError: a device that is not there, or an engine that fails.
    """
    engine = runtimes.choose(request["runtime"])
    path, threads, batch = (request[name] for name in ("path", "threads", "batch"))
    doing("importing the runtime")
    _, prepare_ns = _timed(lambda: engine.prepare(path))
    at("prepared")
    doing("loading the model")
    session, load_ns = _timed(lambda: engine.open(path, threads=threads, batch=batch))
    at("loaded")
    inputs = make_inputs(session.inputs, request["inputs"])
    doing("making the first call")
    at("ready")
    outputs, first_call_ns = _timed(lambda: session.run(inputs))
    at("called")
    return Opened(session, inputs, outputs, prepare_ns, load_ns, first_call_ns)


def _timed(work: Callable[[], T]) -> tuple[T, int]:
    """What work gives, and the nanoseconds that it took."""
    start = time.perf_counter_ns()
    found = work()
    return found, time.perf_counter_ns() - start
