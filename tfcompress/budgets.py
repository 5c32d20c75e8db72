"""What a user has to spend: bytes, accuracy, time. And by how much a file is over it.

Knows the limits and how far from them a file lies. Does not know how a file is made or measured. No
TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tfcompress.settings import require_types

SMALLEST_FILE = 400
"""Bytes that no TFLite file of a network is below: its tables alone take more."""
LARGEST_FILE = 2**63 - 1
"""Bytes that no file has more of."""


@dataclass(frozen=True)
class Figures:
    """What of a file counts against a budget.

    Attributes:
      size_bytes: of the file.
      gzip_size_bytes: of the file after gzip at level 9.
      error: fraction wrong, or of values the mean absolute error; of some examples, all of which
        have the same share in it.
      latency_ms: median time of a call; None where it was not measured.
    """

    size_bytes: int
    gzip_size_bytes: int
    error: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class Budget:
    """Upper limits; None for no limit.

    Attributes:
      max_size_bytes: of the file as stored.
      max_gzip_size_bytes: of the file after gzip.
      max_drop: accuracy that may be lost against the baseline, a fraction in [0, 1): 0.01 is one
        point. Of a regression, by how much the mean absolute error may rise, in its unit.
      max_latency_ms: of the median call.

    Raises:
      ValueError: a limit that nothing can keep or that says nothing.

    Example:
      >>> Budget(max_size_bytes=100_000, max_drop=0.01).limits(baseline_error=0.05)
      {'max_size_bytes': 100000, 'max_drop': 0.060000000000000005}
    """

    max_size_bytes: int | None = None
    max_gzip_size_bytes: int | None = None
    max_drop: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("max_size_bytes", "max_gzip_size_bytes"):
            size = getattr(self, name)
            if size is not None and size > LARGEST_FILE:
                raise ValueError(
                    f"--{name} must be at most {LARGEST_FILE}, since no file is larger. "
                    f"Received a number of {len(str(size))} digits."
                )
            if size is not None and size < SMALLEST_FILE:
                raise ValueError(
                    f"--{name} must be at least {SMALLEST_FILE}, since no file of a network is "
                    f"smaller. Received: {size}. It counts bytes: for 100 KB pass 100000."
                )
        drop, latency = self.max_drop, self.max_latency_ms
        if drop is not None and not 0 <= drop < math.inf:
            raise ValueError(
                f"--max_drop must be at least 0 and finite. Received: {drop}. For one point of "
                "accuracy pass 0.01."
            )
        if latency is not None and not 0 < latency < math.inf:
            raise ValueError(
                f"--max_latency_ms must be above 0 and finite. Received: {latency}. It counts "
                "milliseconds: for half of one pass 0.5."
            )
        stored, gzipped = self.max_size_bytes, self.max_gzip_size_bytes
        if stored is not None and gzipped is not None and gzipped >= stored:
            raise ValueError(
                "--max_gzip_size_bytes and --max_size_bytes contradict each other: what gzip makes "
                f"of a file of {stored} bytes may take {gzipped}, which is no limit. Pass fewer "
                "bytes for the gzipped file, or leave one of the two out."
            )

    def require_task(self, *, of_classes: bool) -> None:
        """Refuses a drop that no accuracy can have.

        Args:
          of_classes: whether the task is a classification.

        Raises:
          ValueError: it is, and `max_drop` is 1 or more.
        """
        if of_classes and self.max_drop is not None and self.max_drop >= 1:
            raise ValueError(
                "--max_drop is a fraction of the accuracy, in [0, 1). "
                f"Received: {self.max_drop:g}. For {self.max_drop:g} points pass "
                f"{self.max_drop / 100:g}."
            )

    @property
    def is_empty(self) -> bool:
        """Whether there is no limit at all."""
        return all(limit is None for limit in dataclasses.astuple(self))

    def limits(self, *, baseline_error: float) -> dict[str, float]:
        """The limits that there are, that of the drop as one of the error."""
        found = {name: limit for name, limit in vars(self).items() if limit is not None}
        if self.max_drop is not None:
            found["max_drop"] = baseline_error + self.max_drop
        return found

    def overruns(
        self, figures: Figures, *, baseline_error: float, least_error: float
    ) -> dict[str, float]:
        """By which fraction of each limit a file is over it; below 0 or 0 where it keeps it.

        The drop counts as what it leaves of the error: where 5% may be wrong, 6% are over by 0.2.
        So all limits are of the same kind, amounts that must not grow, and can be compared.

        Args:
          figures: of the file.
          baseline_error: of the baseline, on the same examples.
          least_error: the smallest step of an error, above 0, such as one example of all: a limit
            of the error counts as this much at least.

        Raises:
          ValueError: there is a limit of the latency, and none was measured.

        Example:
          >>> budget = Budget(max_size_bytes=1000, max_drop=0.01)
          >>> figures = Figures(size_bytes=1200, gzip_size_bytes=900, error=0.06)
          >>> found = budget.overruns(figures, baseline_error=0.04, least_error=0.01)
          >>> {name: round(over, 3) for name, over in found.items()}
          {'max_size_bytes': 0.2, 'max_drop': 0.2}
        """
        limits = self.limits(baseline_error=baseline_error)
        if "max_latency_ms" in limits and figures.latency_ms is None:
            raise ValueError("A file whose latency was not measured has no place in this budget.")
        amounts = {
            "max_size_bytes": figures.size_bytes,
            "max_gzip_size_bytes": figures.gzip_size_bytes,
            "max_drop": figures.error,
            "max_latency_ms": figures.latency_ms or 0.0,
        }
        # A limit of 0 is kept by an error of 0 alone, and what is over it counts in examples.
        units = {**limits}
        if "max_drop" in limits:
            units["max_drop"] = max(limits["max_drop"], least_error)
        return {name: (amounts[name] - limit) / units[name] for name, limit in limits.items()}


def keeps(overruns: Mapping[str, float]) -> bool:
    """Whether no limit is passed; rounding in the last digits is none.

    Example:
      >>> keeps({"max_size_bytes": -0.5, "max_drop": 1e-12}), keeps({"max_drop": 0.01})
      (True, False)
    """
    return all(over <= 1e-9 for over in overruns.values())


def distance(overruns: Mapping[str, float]) -> tuple[float, float]:
    """How far from a budget: the largest overrun, then the sum of all. 0 within the budget.

    The nearest of several files is that with the least distance.

    Example:
      >>> distance({"max_size_bytes": 0.5, "max_drop": -0.25}), distance({})
      ((0.5, 0.5), (0.0, 0.0))
    """
    over = [max(each, 0.0) for each in overruns.values()]
    return max(over, default=0.0), sum(over, start=0.0)
