"""Times a call, again and again, in this process. Knows no model."""

from __future__ import annotations

import time
from collections.abc import Callable

_NANOSECONDS = 1_000_000_000


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
