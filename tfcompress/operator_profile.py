"""Where the time of a call goes: the times of its operators, and whether they mean anything.

    if profile.reason is None:
        for name, engine, count, time_us in profile.by_name():
            ...

Knows samples, their sums and their spread. Does not know how they were taken
(`benchmark.profiling`) or how they are shown. No TensorFlow.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress import latency
from tfcompress.latency import LatencySamples
from tfcompress.machine_state import Stretch
from tfcompress.records import from_record

_PART = 10
"""Calls that are held against the next ones, to tell whether a profile would come out again."""


@dataclass(frozen=True)
class OperatorTime:
    """One operator of a model.

    Attributes:
      name: as its engine calls it: of the schema, such as `"CONV_2D"`, for one of LiteRT's own
        kernels; of XNNPACK, such as `"Convolution (NHWC, F32) IGEMM"`, for one that it fused and
        chose itself.
      index: position in the order of execution.
      output: name of what it writes, as in the file; None for one of XNNPACK's, whose operators
        are not those of the file.
      engine: `"builtin"`, `"xnnpack"`, or `"delegate"` for another.
      samples_us: time of each call, in whole microseconds, cut and not rounded: an operator of less
        than a microsecond has mostly 0.
    """

    name: str
    index: int
    output: str | None
    engine: str
    samples_us: tuple[int, ...]


@dataclass(frozen=True)
class OperatorProfile:
    """The times of all operators of a model, over a number of calls.

    Every raw sample is kept. The figures are means over the quieter half of the calls, chosen by
    the time of the whole call, so that calls which something else interrupted do not count. A
    median of single operators would not do: it cannot tell 0.1 microseconds from 0.9.

    Attributes:
      kernels: `"xnnpack"` or `"builtin"`.
      threads: processor threads.
      batch: images in one call.
      operators: in the order of execution.
      recorded_us: for each recorded call, LiteRT's own time of the call, which holds what the
        recording itself takes.
      plain_us: for each of as many calls in between, the time of a call without recording, copies
        of inputs and outputs excluded.
      machine: before the warm-up and after the last of them; None where it was not recorded.
      stable: whether the warm-up settled; None where there were too few calls to tell.
    """

    kernels: str
    threads: int
    batch: int
    operators: tuple[OperatorTime, ...]
    recorded_us: tuple[float, ...]
    plain_us: tuple[float, ...]
    machine: Stretch | None = None
    stable: bool | None = None

    @property
    def reason(self) -> str | None:
        """Why the times say nothing; None where nothing speaks against them.

        Plain and recorded calls are judged as latencies are (`latency.summarize`), with each ten
        calls, one after the other, for a round; fewer than twenty have nothing to disagree with.
        Nor are there parts of a whole that is smaller than their sum: where operators took more
        time in recorded calls than plain calls took in all, by more than `latency.TOLERANCE`, the
        recording itself is what was timed.
        """
        found = []
        plain = self._as_samples(self.plain_us)
        count = len(plain.rounds_ns)
        machine = () if self.machine is None else (self.machine,) * count
        plain = dataclasses.replace(plain, machine=machine, stable=(self.stable,) * count)
        recorded = self._as_samples(self.recorded_us)
        for name, samples in (("plain", plain), ("recorded", recorded)):
            said = latency.summarize(samples)
            if said.steady is False:
                found.append(f"{name} calls, ten a round: {said.reason}")
        if -self.unaccounted_us > latency.TOLERANCE * self.call_us:
            found.append(
                f"the operators of a recorded call took {sum(self.operators_us):.4g} us, a whole "
                f"call without recording {self.call_us:.4g}"
            )
        return "; ".join(found) or None

    def _as_samples(self, calls_us: Sequence[float]) -> LatencySamples:
        count = max(1, len(calls_us) // _PART)
        ends = [len(calls_us) * part // count for part in range(count + 1)]
        nanoseconds = [max(1, round(1000 * call)) for call in calls_us]
        return LatencySamples(
            runtime=self.kernels,
            threads=self.threads,
            batch=self.batch,
            rounds_ns=tuple(
                tuple(nanoseconds[begin:end]) for begin, end in itertools.pairwise(ends)
            ),
            first_call_ns=(0,),
            load_ns=(0,),
        )

    @property
    def call_us(self) -> float:
        """The time of a call without recording, in microseconds: the whole of the table."""
        return _mean(self.plain_us, _quieter_half(self.plain_us))

    @property
    def operators_us(self) -> tuple[float, ...]:
        """The time of each operator in a call, in microseconds."""
        quiet = _quieter_half(self.recorded_us)
        return tuple(_mean(operator.samples_us, quiet) for operator in self.operators)

    @property
    def unaccounted_us(self) -> float:
        """What of `call_us` is no operator's, in microseconds.

        It holds the work around the operators and what their times lost by being cut to whole
        microseconds. It is negative where the recorded calls were slower than the others: then the
        machine was not quiet, or there are many short operators.
        """
        return self.call_us - sum(self.operators_us)

    def share(self, time_us: float) -> float:
        """A time as a fraction of `call_us`."""
        return time_us / self.call_us

    def by_name(self) -> tuple[tuple[str, str, int, float], ...]:
        """Name, engine, count of operators and microseconds of a call, the most time first."""
        found: dict[tuple[str, str], list[float]] = {}
        for operator, time in zip(self.operators, self.operators_us, strict=True):
            found.setdefault((operator.name, operator.engine), []).append(time)
        rows = [(name, engine, len(times), sum(times)) for (name, engine), times in found.items()]
        return tuple(sorted(rows, key=lambda row: -row[3]))

    def slowest(self, count: int) -> tuple[tuple[OperatorTime, float], ...]:
        """The operators with the most time, that first, each with its microseconds of a call."""
        rows = zip(self.operators, self.operators_us, strict=True)
        return tuple(sorted(rows, key=lambda row: -row[1])[:count])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record with every raw sample."""
        return dataclasses.asdict(self) | {
            "call_us": self.call_us,
            "operators_us": self.operators_us,
            "unaccounted_us": self.unaccounted_us,
            "reason": self.reason,
        }


def from_dict(record: Mapping[str, Any]) -> OperatorProfile:
    """The inverse of `OperatorProfile.to_dict`, from JSON."""
    fields = {field.name for field in dataclasses.fields(OperatorProfile)}
    kept = {name: value for name, value in record.items() if name in fields}
    found: OperatorProfile = from_record(OperatorProfile, kept)
    return found


def _quieter_half(calls_us: Sequence[float]) -> list[int]:
    """Numbers of the calls up to the median, one at least."""
    order = sorted(range(len(calls_us)), key=lambda call: calls_us[call])
    return order[: (len(order) + 1) // 2]


def _mean(samples_us: Sequence[float], calls: Sequence[int]) -> float:
    return sum(samples_us[call] for call in calls) / len(calls)
