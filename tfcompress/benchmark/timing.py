"""Times a call, again and again, in this process: until it is warm, and then for the record.

Knows clocks and when a row of times has settled. Knows no model.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_NANOSECONDS = 1_000_000_000

WINDOW_RUNS = 5
"""Calls whose median stands for a moment of the warm-up, at least."""
WINDOW_SECONDS = 0.05
"""Time that such a moment lasts, at least: clocks and caches settle in milliseconds, not calls."""
SETTLED_WITHIN = 0.05
"""Moments whose medians differ by no more than this fraction are alike."""


@dataclass(frozen=True)
class WarmUp:
    """What the calls before the measured ones took.

    Attributes:
      samples_ns: the time of each.
      stable: whether the last ones were as fast as those before them; None where there were too
        few calls to tell.
    """

    samples_ns: tuple[int, ...]
    stable: bool | None


def warm_up(
    call: Callable[[], object],
    *,
    min_runs: int,
    max_runs: int,
    max_seconds: float,
    window_seconds: float = WINDOW_SECONDS,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> WarmUp:
    """Repeats a call until its time has settled: caches filled, clocks risen, kernels compiled.

    It goes on until `settled` says so, within the bounds. A drift too slow for that shows later,
    between the first and the last quarter of what is measured (`tfcompress.latency`).

    Args:
      call: what is warmed up.
      min_runs: calls, at least, as far as `max_runs` allows.
      max_runs: calls, at most.
      max_seconds: no further call after so much time, once there are enough for two windows.
      window_seconds: what `settled` takes.
      clock: nanoseconds, rising.

    Returns:
      the time of every call, and whether they settled.
    """
    samples: list[int] = []
    total, checked = 0, 0
    stable: bool | None = None
    enough = max(min_runs, 2 * WINDOW_RUNS)
    while len(samples) < max_runs and not (stable and len(samples) >= min_runs):
        if total >= max_seconds * _NANOSECONDS and len(samples) >= enough:
            break
        start = clock()
        call()
        samples.append(clock() - start)
        total += samples[-1]
        # Of fast calls there are thousands in a window: not looked through after each.
        if len(samples) >= checked + max(WINDOW_RUNS, checked // 10):
            checked, stable = len(samples), settled(samples, window_seconds)
    if stable is None or checked < len(samples):
        stable = settled(samples, window_seconds)
    # Ended by `max_runs` before two windows lasted as long as they should: the calls decide.
    return WarmUp(tuple(samples), settled(samples, 0.0) if stable is None else stable)


def settled(samples_ns: Sequence[int], window_seconds: float) -> bool | None:
    """Whether a row of times ends in two windows that are alike; None where it holds no two.

    A window is the fewest calls that are `WINDOW_RUNS` or more and last `window_seconds` or more.
    Alike are two whose medians differ by `SETTLED_WITHIN` at most: medians, so that a call that
    something interrupted says nothing. Of a steady call whose times spread by 5%, two windows of 5
    differ by more in 1 of 5 cases; then later ones decide.

    Example:
      >>> settled([90, 60, 40, 30, 25] + [20, 21, 20, 19, 20] * 2, 0)
      True
      >>> settled([90, 60, 40, 30, 25] + [20, 21, 20, 19, 20], 0)
      False
    """
    middle = _window(samples_ns, len(samples_ns), window_seconds)
    start = None if middle is None else _window(samples_ns, middle, window_seconds)
    if start is None:
        return None
    earlier = statistics.median(samples_ns[start:middle])
    later = statistics.median(samples_ns[middle:])
    return abs(later - earlier) <= SETTLED_WITHIN * earlier


def _window(samples_ns: Sequence[int], end: int, seconds: float) -> int | None:
    """Where the window begins that goes up to `end`; None where there are too few calls."""
    elapsed = 0
    for start in range(end - 1, -1, -1):
        elapsed += samples_ns[start]
        if end - start >= WINDOW_RUNS and elapsed >= seconds * _NANOSECONDS:
            return start
    return None


def time_calls(
    call: Callable[[], object],
    *,
    min_runs: int,
    min_seconds: float,
    max_runs: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[int]:
    """Times a call until there are enough samples.

    Between two readings of the clock stands nothing but the call: what this adds to a sample is
    one reading, some 0.1 us.

    Args:
      call: what is timed; it returns when its work is done.
      min_runs: samples, at least.
      min_seconds: sum of the samples, at least.
      max_runs: samples, at most.
      clock: nanoseconds, rising.

    Returns:
      the time of each call in nanoseconds, in order.

    Raises:
      ValueError: as many samples as there may be do not come to `min_seconds`.
    """
    samples: list[int] = []
    total = 0
    while len(samples) < min_runs or total < min_seconds * _NANOSECONDS:
        if len(samples) >= max_runs:
            seconds = total / _NANOSECONDS
            raise ValueError(
                f"{max_runs:,} calls, the most of a round whose times are kept, took "
                f"{seconds:.3g} s. Received: min_seconds={min_seconds:g}. Pass at most half of "
                f"what they took, {seconds / 2:.2g}."
            )
        start = clock()
        call()
        samples.append(clock() - start)
        total += samples[-1]
    return samples
