"""Latency as raw samples, and what may be said of them.

Knows the samples of every round, their median and spread, when they say nothing, and how two models
compare that were measured in turns. Does not know how they were taken or how a figure is shown. No
TensorFlow and, for small machines, nothing but numpy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.machine_state import GpuState, Stretch
from tfcompress.results import Interval, Latency

TOLERANCE = 0.10
"""How wide the interval of a figure may be, as a fraction of it; see `summarize`."""

_MILLISECOND = 1_000_000
_CONFIDENCE = 0.95
# Of the processor time that the threads asked for could take, so much was left by others.
_LEAST_FREE = 0.9
_MOST_STOLEN = 0.05
# Of the second or so before the model was loaded, a kernel of others ran in so much of it.
_MOST_GPU_USE = 0.1
# Of the highest clock of a GPU: a power limit costs less, a GPU that rests is far below.
_LEAST_GPU_CLOCK = 0.5
# A quarter of fewer calls has no median worth the name.
_FEWEST_FOR_DRIFT = 8
# The 99th percentile of fewer is their greatest value by another name.
_FEWEST_FOR_P99 = 100


@dataclass(frozen=True)
class LatencySamples:
    """Every raw sample of one model at one setting, in nanoseconds.

    A field that is empty or None was not recorded, as by earlier versions.

    Attributes:
      runtime: what executed the model.
      threads: processor threads.
      batch: images in one call.
      rounds_ns: for each round, the time of each measured call, reading the outputs included.
      first_call_ns: for each round, the cold first call.
      load_ns: for each round, reading the file and preparing the model, without importing the
        runtime's library. Only the first can have met a file that was not in memory yet.
      peak_memory_bytes: greatest resident size of a round's process up to the last measured call,
        with Python and the runtime's library in it; None for a batch other than 1.
      prepare_ns: for each round, importing the runtime's library, and converting the file where the
        runtime does.
      warmup_runs: for each round, calls between the first and the measured ones.
      stable: for each round, whether these settled; None where there were too few to tell.
      joules_per_call: for each round, by the name of each counter of energy, what its whole device
        took within the measured calls, a part for each; None where there is no counter. Of GPUs
        only the one in use has an entry, and none where several may be it. Counters move in steps,
        of 1 ms for processors and up to 100 ms for GPUs.
      placement: the fields of `tfcompress.runtimes.Placement`.
      machine: for each round, the machine before the warm-up (its GPUs before the model was loaded)
        and after the measured calls.
      finite_outputs: whether every float output of the first calls was finite.
      places: for each round, the model's place among the turns, from 0.
      session: the same for all that took turns, and for nothing else.
    """

    runtime: str
    threads: int
    batch: int
    rounds_ns: tuple[tuple[int, ...], ...]
    first_call_ns: tuple[int, ...]
    load_ns: tuple[int, ...]
    peak_memory_bytes: int | None = None
    prepare_ns: tuple[int, ...] = ()
    warmup_runs: tuple[int, ...] = ()
    stable: tuple[bool | None, ...] = ()
    joules_per_call: tuple[dict[str, float] | None, ...] = ()
    placement: dict[str, Any] | None = None
    machine: tuple[Stretch, ...] = ()
    finite_outputs: bool | None = None
    places: tuple[int, ...] = ()
    session: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How long a model takes, in times of another; 0.5 is half the time.

    Attributes:
      value: median over the rounds of candidate's median by baseline's median.
      rounds: that of each round.
      interval: of `value`; None of one round.
      steady: False where `value` says nothing; None of one round, which nothing contradicts.
      reason: why it is not steady, or cannot be judged; None where it is.
    """

    value: float
    rounds: tuple[float, ...]
    interval: Interval | None
    steady: bool | None
    reason: str | None


def summarize(samples: LatencySamples, *, tolerance: float = TOLERANCE) -> Latency:
    """Percentiles and spread of raw samples in milliseconds, and whether they mean anything.

    They do not (`steady` is False and `reason` says why) in these cases. A fault of single rounds
    counts where half of them or more have it, since a figure is a median over rounds.

    - The rounds disagree: the interval of the median of their medians is wider than `tolerance` of
      it. The usual mark of a difference worth telling is about as large, and rounds on a quiet
      machine agree within 1 to 3%. An interval, not the range: of up to eight rounds, both are the
      same, so that a single deviating one is enough; of nine or more, one is not, since the others
      tell that it is not the figure.
    - The warm-up ended before the calls settled, or the first and the last quarter of a round
      differ by more than `tolerance`, so that the figure would be another had it been measured
      longer.
    - Other processes left less processor time than the threads could take, a hypervisor took some
      of it, or the processor was throttled. Such a figure can agree with itself from round to round
      and still be wrong.
    - On an NVIDIA GPU: others used it, its clock was below half of its highest after the calls, or
      it was another from round to round by more than `tolerance`. Of several GPUs that may be the
      one in use, all must be so.

    Args:
      samples: of one model at one setting.
      tolerance: a fraction.

    Returns:
      The figures in any case, for the record: what shows them asks `steady` first. It is None of
      one round without a fault, which nothing contradicts.
    """
    rounds = [np.asarray(part, np.float64) / _MILLISECOND for part in samples.rounds_ns]
    together = np.concatenate(rounds)
    medians = [float(np.median(part)) for part in rounds]
    interval = _interval(medians)
    reasons = [*faults(samples, tolerance=tolerance)]
    if interval is not None and interval.high - interval.low > tolerance * np.median(medians):
        reasons.insert(0, _disagreement(medians))
    steady, reason = _verdict(reasons, len(rounds))
    low, high, p90 = (float(np.percentile(together, rank)) for rank in (25, 75, 90))
    enough = len(together) >= _FEWEST_FOR_P99
    return Latency(
        p50=float(np.median(medians)),
        p90=p90,
        runtime=samples.runtime,
        threads=samples.threads,
        batch=samples.batch,
        samples=len(together),
        mean=float(np.mean(together)),
        round_p50=tuple(medians),
        first_call=samples.first_call_ns[0] / _MILLISECOND,
        load=samples.load_ns[0] / _MILLISECOND,
        p99=float(np.percentile(together, 99)) if enough else None,
        interquartile=high - low,
        spread=(max(medians) - min(medians)) / float(np.median(medians)),
        interval=interval,
        prepare=samples.prepare_ns[0] / _MILLISECOND if samples.prepare_ns else None,
        joules=_joules(samples),
        finite_outputs=samples.finite_outputs,
        steady=steady,
        reason=reason,
    )


def undisturbed_ms(samples: LatencySamples) -> float:
    """What a call takes when little else runs: the tenth percentile of all calls, in milliseconds.

    For decisions on a machine that has other work, which adds to a call and never takes from it. A
    figure that is shown is the median of `summarize`.

    Example:
      >>> calls = tuple(1_000_000 * n for n in (9, 2, 3, 8, 1, 4, 5, 6, 7, 10, 11))
      >>> samples = LatencySamples("litert_cpu", 1, 1, (calls,), (1,), (1,))
      >>> undisturbed_ms(samples)
      2.0
    """
    together = np.concatenate([np.asarray(part, np.float64) for part in samples.rounds_ns])
    return float(np.percentile(together, 10)) / _MILLISECOND


def ratio(
    candidate: LatencySamples, baseline: LatencySamples, *, tolerance: float = TOLERANCE
) -> Ratio:
    """How long a model takes in times of another that was measured in the same rounds.

    The median over the rounds of the ratio of the two medians of a round: what was measured one
    after the other is compared, so that a change of the machine's speed from round to round cancels
    out. The interval is of order statistics: of fewer than six rounds, it cannot be sure to 95%;
    from the least to the greatest of `n`, it is to `1 - 2^(1 - n)`, as its `confidence` says.

    Args:
      candidate: what is compared.
      baseline: what it is compared with.
      tolerance: how wide the interval may be, as a fraction of the ratio, before it is too noisy.

    Raises:
      ValueError: samples that were not taken in turns, or of different batches.
    """
    _require_paired(candidate, baseline)
    upper = [np.asarray(part, np.float64) for part in candidate.rounds_ns]
    lower = [np.asarray(part, np.float64) for part in baseline.rounds_ns]
    each = [float(np.median(a) / np.median(b)) for a, b in zip(upper, lower, strict=True)]
    value = float(np.median(each))
    interval = _interval(each)
    reasons = [
        f"{name}: {fault}"
        for name, samples in (("candidate", candidate), ("baseline", baseline))
        for fault in faults(samples, tolerance=tolerance)
    ]
    if interval is not None and interval.high - interval.low > tolerance * value:
        reasons.insert(
            0, f"the ratios of the rounds disagree, from {min(each):.3f} to {max(each):.3f}"
        )
    return Ratio(value, tuple(each), interval, *_verdict(reasons, len(each)))


def faults(samples: LatencySamples, *, tolerance: float = TOLERANCE) -> tuple[str, ...]:
    """Why samples mean nothing even where their rounds agree; empty where nothing speaks for it.

    See `summarize`.
    """
    count = len(samples.rounds_ns)
    found = []
    if (unstable := samples.stable.count(False)) and _many(unstable, count):
        found.append(f"the warm-up did not settle in {unstable} of {count} rounds")
    drifts = [_drift(part) for part in samples.rounds_ns]
    drifting = [drift for drift in drifts if abs(drift) > tolerance]
    if _many(len(drifting), count):
        median = float(np.median(np.abs(drifting)))
        found.append(
            f"the first and the last quarter of {len(drifting)} of {count} rounds differ by "
            f"{median:.0%}"
        )
    on_gpu = (samples.placement or {}).get("device") == "gpu"
    gpu = (samples.placement or {}).get("device_name")
    disturbed = [
        (*_disturbed(each, samples.threads), *(_gpu_disturbed(each, gpu) if on_gpu else ()))
        for each in samples.machine
    ]
    for reasons in zip(*disturbed, strict=True):
        said = [reason for reason in reasons if reason is not None]
        if _many(len(said), count):
            found.append(f"in {len(said)} of {count} rounds {said[len(said) // 2]}")
    clocks = [_gpu_clock(each.end.gpus, gpu) for each in samples.machine] if on_gpu else []
    known = [clock for clock, _ in filter(None, clocks)]
    if known and max(known) > (1 + tolerance) * min(known):
        found.append(
            f"the clock of the GPU was {min(known):.0f} MHz after one round and {max(known):.0f} "
            "after another"
        )
    return tuple(found)


def _disturbed(stretch: Stretch, threads: int) -> tuple[str | None, str | None, str | None]:
    """What took processor time away: other processes, a hypervisor, throttling."""
    busy = None
    others, cores = stretch.cores_of_others, stretch.end.usable_cores
    if others is not None and cores is not None:
        limit = stretch.end.cpu_limit or cores
        # A machine with fewer cores than threads is slow, not noisy.
        if min(limit, cores - others) < _LEAST_FREE * min(limit, cores, threads):
            busy = f"other processes kept {others:.1f} of {cores} cores busy"
    stolen = stretch.stolen_share
    taken = None
    if stolen is not None and stolen > _MOST_STOLEN:
        taken = f"a hypervisor took {stolen:.0%} of the processor time"
    throttled = stretch.throttled
    return busy, taken, None if throttled is None else f"{throttled} slowed the processor down"


def _gpu_disturbed(stretch: Stretch, name: str | None) -> tuple[str | None, str | None]:
    """What took a GPU's time away: other processes, a low clock."""
    shares = [gpu.utilization for gpu in _maybe_in_use(stretch.begin.gpus, name)]
    used = min((share for share in shares if share is not None), default=0.0)
    busy = f"others used the GPU {used:.0%} of the time" if used > _MOST_GPU_USE else None
    clock = _gpu_clock(stretch.end.gpus, name)
    if clock is None or clock[0] >= _LEAST_GPU_CLOCK * clock[1]:
        return busy, None
    return busy, f"the clock of the GPU was {clock[0]:.0f} of {clock[1]:.0f} MHz after the calls"


def _gpu_clock(gpus: Sequence[GpuState] | None, name: str | None) -> tuple[float, float] | None:
    """The clock and the highest one of the GPU in use: of those that may be it, the fastest's."""
    clocks = [(gpu.clock_mhz, gpu.most_clock_mhz) for gpu in _maybe_in_use(gpus, name)]
    return max(((now, most) for now, most in clocks if now and most), default=None)


def _maybe_in_use(gpus: Sequence[GpuState] | None, name: str | None) -> list[GpuState]:
    return [gpu for gpu in gpus or () if name in (gpu.name, None)]


def _many(rounds: int, count: int) -> bool:
    return rounds > 0 and 2 * rounds >= count


def _drift(part: Sequence[int]) -> float:
    """How much longer the calls of the last quarter took than those of the first, as a fraction."""
    if len(part) < _FEWEST_FOR_DRIFT:
        return 0.0
    quarter = len(part) // 4
    return float(np.median(part[-quarter:]) / np.median(part[:quarter])) - 1


def _disagreement(medians: Sequence[float]) -> str:
    return (
        f"the medians of the {len(medians)} rounds disagree, "
        f"from {min(medians):.4g} to {max(medians):.4g} ms"
    )


def _verdict(reasons: Sequence[str], rounds: int) -> tuple[bool | None, str | None]:
    if reasons:
        return False, "; ".join(reasons)
    if rounds < 2:
        return None, "one round, with nothing to compare it with"
    return True, None


def _joules(samples: LatencySamples) -> float | None:
    """For one call, the median over rounds of the devices that worked for it.

    None where a GPU worked that no counter, or more than one, may count.
    """
    on_gpu = (samples.placement or {}).get("device") == "gpu"
    found = []
    for counters in samples.joules_per_call:
        gpus = [name for name in counters or {} if name.startswith("gpu")]
        parts = [joules for name, joules in (counters or {}).items() if on_gpu or name not in gpus]
        if parts and (not on_gpu or len(gpus) == 1):
            found.append(sum(parts))
    return float(np.median(found)) if found else None


def _require_paired(candidate: LatencySamples, baseline: LatencySamples) -> None:
    counts = len(candidate.rounds_ns), len(baseline.rounds_ns)
    if candidate.session != baseline.session or counts[0] != counts[1]:
        raise ValueError(
            "A ratio compares what was measured in turns. Received: samples of two measurements, "
            f"of {counts[0]} and {counts[1]} rounds. Give both models to one measure_latency or "
            "measure_cases."
        )
    if candidate.batch != baseline.batch:
        raise ValueError(
            "A ratio compares calls on batches of one size. "
            f"Received: {candidate.batch} and {baseline.batch}."
        )


def _interval(values: Sequence[float]) -> Interval | None:
    """Of the median of what the values are drawn from; None of a single one.

    From the `k`-th least to the `k`-th greatest of `n`, which holds that median unless fewer than
    `k` values lie on one of its sides: with a confidence of `1 - 2 P(B < k)`, where `B` is the
    count of heads in `n` throws of a coin, whatever the distribution. It is the narrowest that
    comes to 95%, and from the least to the greatest where none does.

    Reference: David and Nagaraja, Order Statistics (2003), section 7.1.
    """
    count = len(values)
    if count < 2:
        return None
    ordered = sorted(values)
    left, beyond = 0, 1 / 2**count
    while True:
        # What would be outside one rank further in.
        further = beyond + math.comb(count, left + 1) / 2**count
        if 2 * further > 1 - _CONFIDENCE:
            break
        left, beyond = left + 1, further
    return Interval(ordered[left], ordered[-1 - left], 1 - 2 * beyond, "order statistics of rounds")
