import time

import numpy as np
import pytest

from tfcompress.benchmark import time_calls, warm_up
from tfcompress.benchmark.timing import WINDOW_RUNS, settled

MILLISECOND = 1_000_000


class Clock:
    """Moves on by the next duration at each call that is timed."""

    def __init__(self, duration):
        self.duration = duration if callable(duration) else lambda number: duration[number]
        self.now = 0
        self.calls = 0

    def __call__(self):
        return self.now

    def work(self):
        self.now += int(self.duration(self.calls))
        self.calls += 1


def first(*durations):
    """These, and the last one again and again."""
    return Clock(lambda number: durations[min(number, len(durations) - 1)])


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"min_runs": 3, "min_seconds": 0}, [100, 5, 7]),
        ({"min_runs": 1, "min_seconds": 115e-9}, [100, 5, 7, 9]),
    ],
    ids=["runs", "seconds"],
)
def test_time_calls_until_there_is_enough(limits, expected):
    clock = first(100, 5, 7, 9)
    assert time_calls(clock.work, **{"max_runs": 50, **limits}, clock=clock) == expected


def test_seconds_that_the_most_calls_do_not_fill_are_refused():
    clock = first(100, 5, 7, 9)
    with pytest.raises(ValueError, match=r"2 calls, .* took 1.05e-07 s. Received: min_seconds=1\."):
        time_calls(clock.work, min_runs=1, min_seconds=1, max_runs=2, clock=clock)


BOUNDS = {"min_runs": 10, "max_runs": 5000, "max_seconds": 1e9, "window_seconds": 0.0}


def warmed(clock, **bounds):
    return warm_up(clock.work, **{**BOUNDS, **bounds}, clock=clock)


def test_a_steady_call_is_warm_after_two_windows():
    found = warmed(first(MILLISECOND))
    assert found.stable
    assert len(found.samples_ns) == 2 * WINDOW_RUNS


def test_fast_calls_fill_windows_of_time():
    found = warmed(first(MILLISECOND), window_seconds=0.05)
    assert found.stable
    # Two windows of 50 ms are 100 calls; they are looked for after every tenth part more.
    assert 100 <= len(found.samples_ns) <= 110


def test_a_slow_start_is_waited_for():
    """A cold cache: 100 ms at first, 5% less at each call, 5 ms in the end."""
    clock = Clock(lambda number: (5 + 100 * 0.95**number) * MILLISECOND)
    found = warmed(clock)
    assert found.stable
    # Windows of 5 calls, 23% apart until the constant part is most of it.
    assert found.samples_ns[-1] < 1.25 * 5 * MILLISECOND
    assert len(found.samples_ns) > 60


@pytest.mark.parametrize(
    ("bounds", "runs"), [({"max_runs": 40}, 40), ({"max_seconds": 3}, 56)], ids=["runs", "seconds"]
)
def test_a_slow_start_that_outlasts_the_bounds_is_not_called_stable(bounds, runs):
    clock = Clock(lambda number: (5 + 100 * 0.97**number) * MILLISECOND)
    found = warmed(clock, **bounds)
    assert found.stable is False
    assert len(found.samples_ns) == runs
    assert sum(found.samples_ns[:-1]) < 3e9


def test_a_call_that_becomes_slower_is_not_stable_either():
    clock = Clock(lambda number: MILLISECOND * 1.02**number)
    assert warmed(clock, max_runs=200).stable is False


def test_seconds_bound_slow_calls_once_there_are_two_windows():
    found = warmed(first(2_000 * MILLISECOND), max_seconds=5, min_runs=0, window_seconds=0.05)
    assert found.stable
    assert len(found.samples_ns) == 2 * WINDOW_RUNS


@pytest.mark.parametrize(("runs", "stable"), [(0, None), (9, None), (10, True)])
def test_too_few_calls_tell_nothing(runs, stable):
    found = warmed(first(MILLISECOND), min_runs=0, max_runs=runs, window_seconds=1.0)
    assert found.stable is stable
    assert len(found.samples_ns) == runs


def test_an_interrupted_call_says_nothing():
    steady = [10] * 10
    assert settled([*steady[:7], 9000, 10, 10], 0)
    assert not settled([*steady[:5], 11, 11, 11, 9, 9], 0)


def test_noise_is_not_taken_for_a_slow_start():
    """Of 200 calls whose times spread by 5%, all are called stable, most at once."""
    generator = np.random.default_rng(0)
    lengths = []
    for _ in range(200):
        clock = Clock(lambda number: MILLISECOND * generator.normal(1, 0.05))
        found = warmed(clock)
        assert found.stable
        lengths.append(len(found.samples_ns))
    assert np.mean(np.array(lengths) == 10) > 0.7


def test_timing_a_call_adds_less_than_two_microseconds_to_it():
    def nothing() -> None:
        pass

    def seconds(work):
        start = time.perf_counter_ns()
        work()
        return time.perf_counter_ns() - start

    count = 20_000
    limits = {"min_runs": count, "min_seconds": 0, "max_runs": count}

    def bare():
        for _ in range(count):
            nothing()

    reported, spent = [], []
    # The least of several: what else runs here only adds.
    for _ in range(7):
        samples: list[int] = []
        whole = seconds(lambda samples=samples: samples.extend(time_calls(nothing, **limits)))
        reported.append(float(np.median(samples)))
        spent.append((whole - seconds(bare)) / count)
    assert min(reported) < 2000
    assert min(spent) < 2000
