"""Where the time of a call goes: the times of its operators, and tables of them.

    print(render(profile, slowest=10))

Knows samples and their sums. Does not know how they were taken (`benchmark.profiling`). No
TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


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
    """

    kernels: str
    threads: int
    batch: int
    operators: tuple[OperatorTime, ...]
    recorded_us: tuple[float, ...]
    plain_us: tuple[float, ...]

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
        }


def from_dict(record: dict[str, Any]) -> OperatorProfile:
    """The inverse of `OperatorProfile.to_dict`."""
    operators = tuple(
        OperatorTime(**(one | {"samples_us": tuple(one["samples_us"])}))
        for one in record["operators"]
    )
    return OperatorProfile(
        kernels=record["kernels"],
        threads=record["threads"],
        batch=record["batch"],
        operators=operators,
        recorded_us=tuple(record["recorded_us"]),
        plain_us=tuple(record["plain_us"]),
    )


def render(profile: OperatorProfile, *, slowest: int = 10) -> str:
    """Where the time goes, as Markdown: by the operators' names, and the slowest ones.

    Args:
      profile: what is shown.
      slowest: rows of the second table; 0 leaves it out.
    """
    rows = [
        (name, engine, str(count), f"{time:.1f}", _percent(profile.share(time)))
        for name, engine, count, time in profile.by_name()
    ]
    left = profile.unaccounted_us
    rows.append(("unaccounted", "", "", f"{left:.1f}", _percent(profile.share(left))))
    rows.append(("the call", "", "", f"{profile.call_us:.1f}", _percent(1.0)))
    headings = ("operators", "engine", "count", "us a call", "share")
    parts = [_summary(profile), _table(headings, rows)]
    if slowest:
        parts.append(f"The {min(slowest, len(profile.operators))} slowest operators:")
        parts.append(_table(_SINGLE, [_single(profile, *row) for row in profile.slowest(slowest)]))
    return "\n\n".join(parts) + "\n"


_SINGLE = ("operator", "no.", "output", "us a call", "share")


def _single(profile: OperatorProfile, one: OperatorTime, time: float) -> tuple[str, ...]:
    share = _percent(profile.share(time))
    return one.name, str(one.index), one.output or "", f"{time:.1f}", share


def _summary(profile: OperatorProfile) -> str:
    text = (
        f"Where the time goes: {profile.kernels} kernels, {profile.threads} thread"
        f"{'' if profile.threads == 1 else 's'}, batch {profile.batch}, mean of "
        f"the quieter half of {len(profile.plain_us)} calls."
    )
    if any(operator.engine == "xnnpack" for operator in profile.operators):
        text += (
            " XNNPACK fuses operators and splits others: its rows are its own operators, not the "
            "file's."
        )
    return text


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _quieter_half(calls_us: Sequence[float]) -> list[int]:
    """Numbers of the calls up to the median, one at least."""
    order = sorted(range(len(calls_us)), key=lambda call: calls_us[call])
    return order[: (len(order) + 1) // 2]


def _mean(samples_us: Sequence[float], calls: Sequence[int]) -> float:
    return sum(samples_us[call] for call in calls) / len(calls)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"
