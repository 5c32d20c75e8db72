"""How near a call comes to what its device can do: the roofline.

    peaks = peaks_in_process("litert_cpu", threads=1)          # of benchmark.peaks
    found = attained(data, source="a.tflite", peaks=peaks, latency_ms=2.8)
    found.share, found.bound

A device can multiply and accumulate so many times a second, and move so many bytes. A call with a
given count of both cannot take less than the greater of the two times, if it does that arithmetic
and moves each activation and each weight once:

    shortest time = max(sum of MACs / peak of their arithmetic, bytes / bandwidth)
    share = shortest time / measured time

Both ceilings are measured, not taken from a data sheet: a matrix product, once in float32 and once
in int8, and a copy, on the same device with the same threads. The limits of the figure: an engine
that fuses operators moves fewer bytes, one that computes a convolution by another algorithm
(Winograd, FFT) multiplies less, and additions, pooling and activations are not counted at all, so
that a share of 1 is no promise that it can be reached. A cache helps a copy as it helps a model:
the bandwidth is that of the fastest copy whose source and target take together at least what the
call holds, weights and activations; beyond the largest copy it is that of the largest. The fastest,
since what is faster in more memory can be had in less: a copy that was slower was held up.

A share is at most 1. Ceilings and latencies are known to a tenth, so that a call that is up to a
tenth faster than its ceiling is at it; one that is faster still was not measured under it.

Knows the arithmetic of it. Does not know how the ceilings were measured. No TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress import file_cost, memory_plan

MOST = 1.1
"""What is above 1 and up to this is a share of 1; what is above this is refused: the ceilings are
not those of the measurement."""


@dataclass(frozen=True)
class Peaks:
    """What a device can do, as measured.

    Attributes:
      runtime: what executed the matrix product, with its options if any.
      threads: processor threads.
      device: `"cpu"` or `"gpu"`.
      device_name: as the driver names a GPU; None for the processor.
      macs_per_second: multiply-accumulates, for each of `file_cost.ARITHMETICS`.
      bytes_per_second: for the footprint of a copy in bytes, source and target together, the bytes
        read and written; rising footprints.

    Raises:
      ValueError: no footprint, footprints that do not rise, or a figure that is not above 0.
    """

    runtime: str
    threads: int
    device: str
    device_name: str | None
    macs_per_second: dict[str, float]
    bytes_per_second: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        footprints = [footprint for footprint, _ in self.bytes_per_second]
        figures = [*self.macs_per_second.values(), *(speed for _, speed in self.bytes_per_second)]
        rising = footprints == sorted(set(footprints)) and footprints
        if not rising or not all(figure > 0 and math.isfinite(figure) for figure in figures):
            raise ValueError(
                "Peaks takes figures above 0 and at least one footprint, rising. Received: "
                f"{dict(self.macs_per_second)}, {self.bytes_per_second}."
            )

    def bandwidth(self, footprint_bytes: float) -> float:
        """Bytes a second of the fastest measured copy of at least this footprint."""
        large = [speed for size, speed in self.bytes_per_second if size >= footprint_bytes]
        return max(large, default=self.bytes_per_second[-1][1])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return dataclasses.asdict(self)


def peaks_from_dict(record: Mapping[str, Any]) -> Peaks:
    """The inverse of `Peaks.to_dict`, from JSON."""
    speeds = tuple((int(size), float(speed)) for size, speed in record["bytes_per_second"])
    return Peaks(**(dict(record) | {"bytes_per_second": speeds}))


@dataclass(frozen=True)
class Attained:
    """How near a call comes to its device's ceilings; the module's docstring defines it.

    Attributes:
      batch: images in the call.
      macs: multiply-accumulates of the call.
      moved_bytes: weights as stored and activations, each read and written once.
      footprint_bytes: weights and the arena of activations, which decides on the bandwidth.
      arithmetic_ms: the shortest time for the multiply-accumulates.
      memory_ms: the shortest time for the bytes.
      latency_ms: as measured.
    """

    batch: int
    macs: int
    moved_bytes: int
    footprint_bytes: int
    arithmetic_ms: float
    memory_ms: float
    latency_ms: float

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte."""
        return self.macs / self.moved_bytes

    @property
    def bound(self) -> str:
        """Which ceiling is nearer: `"arithmetic"` or `"memory"`."""
        return "arithmetic" if self.arithmetic_ms >= self.memory_ms else "memory"

    @property
    def share(self) -> float:
        """The shortest time as a fraction of the measured one; 1 at the ceiling or above it."""
        return min(1.0, self.shortest_ms / self.latency_ms)

    @property
    def shortest_ms(self) -> float:
        """The shortest time that the ceilings allow."""
        return max(self.arithmetic_ms, self.memory_ms)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return dataclasses.asdict(self) | {
            "intensity": self.intensity,
            "bound": self.bound,
            "share": self.share,
        }


def attained(
    data: bytes, *, source: str, peaks: Peaks, latency_ms: float, batch: int = 1
) -> Attained:
    """Holds a measured latency against the ceilings of its device.

    Args:
      data: the file's bytes.
      source: what to call the file in a message.
      peaks: of the device, the runtime and the threads that the latency was measured with.
      latency_ms: of a call, such as the median.
      batch: images in the call.

    Raises:
      ValueError: a file whose cost cannot be counted, a latency that is not above 0, or one far
        below the shortest time, which no true measurement gives.
    """
    if not latency_ms > 0 or not math.isfinite(latency_ms):
        raise ValueError(f"latency_ms must be a number above 0. Received: {latency_ms}.")
    cost = file_cost.count(data, source=source)
    if cost.uncounted:
        raise ValueError(
            f"The share of {source} cannot be told: what {', '.join(sorted(set(cost.uncounted)))} "
            "computes is not known from the file. Expected operators of the schema without "
            "control flow."
        )
    plan = memory_plan.plan(data, source=source, batch=batch)
    found = _held_against(cost, plan, peaks, latency_ms)
    if found.shortest_ms > MOST * latency_ms:
        raise ValueError(
            f"{source} took {latency_ms:g} ms, but {peaks.runtime} with {peaks.threads} threads "
            f"needs {found.shortest_ms:g} ms by {found.bound} at its measured peaks. They were not "
            "measured with the same device, runtime and threads, or the engine does less than is "
            "counted: it fuses operators, or computes them otherwise. Measure both again, one "
            "after the other."
        )
    return found


def _held_against(
    cost: file_cost.FileCost, plan: memory_plan.MemoryPlan, peaks: Peaks, latency_ms: float
) -> Attained:
    scale = plan.batch / cost.batch
    macs = {kind: count * scale for kind, count in cost.macs_by_arithmetic().items()}
    seconds = sum(count / peaks.macs_per_second[kind] for kind, count in macs.items() if count)
    moved = cost.constant_bytes + round(cost.activation_bytes * scale)
    footprint = cost.constant_bytes + plan.arena_bytes
    return Attained(
        batch=plan.batch,
        macs=round(sum(macs.values())),
        moved_bytes=moved,
        footprint_bytes=footprint,
        arithmetic_ms=1000 * seconds,
        memory_ms=1000 * moved / peaks.bandwidth(footprint),
        latency_ms=latency_ms,
    )
