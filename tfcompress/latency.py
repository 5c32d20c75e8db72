"""Latency as raw samples, and what may be said of them.

Knows the samples of every round, their median and spread. Does not know how they were taken or how
a figure is shown. No TensorFlow and, for small machines, nothing but numpy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.results import Latency

_MILLISECOND = 1_000_000


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
