"""How a latency is measured, as data. No engine here."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from tfcompress import recipe, runtimes
from tfcompress.litert import check_counts


@dataclass(frozen=True)
class LatencyConfig:
    """How to measure the latency of a model.

    Attributes:
      runtime: a name in `tfcompress.runtimes`, with its options if any, such as
        `"litert_cpu(kernels=reference)"`.
      threads: processor threads given to the runtime, 1 to 256.
      batch: images in one call, 1 to 65,536.
      rounds: processes for each model; in each round every model has its turn. One cannot disagree
        with itself and has no verdict; six give a ratio an interval at 95%.
      warmup_runs: calls before the measured ones, besides the cold first call, at least.
      max_warmup_runs: calls until their times settle, at most.
      max_warmup_seconds: no further call to warm up after so much time, once ten were made.
      min_runs: measured calls in a round, at least.
      min_seconds: measured time in a round, at least. Where `max_runs` calls do not take so long,
        the measurement fails and says so.
      max_runs: measured calls in a round, at most, for the memory that their times take.
      timeout_seconds: a process that takes longer is killed.
      inputs: a `.npy` file, `[images, ...]`, whose first `batch` images are the input, in the
        model's own type; those beyond them are not read. None for random numbers, the same ones at
        each call.

    Raises:
      ValueError: an unknown runtime, option or value of one, or a number out of range.
    """

    runtime: str = "litert_cpu"
    threads: int = 1
    batch: int = 1
    rounds: int = 5
    warmup_runs: int = 10
    min_runs: int = 50
    min_seconds: float = 0.5
    max_runs: int = 1_000_000
    timeout_seconds: float = 300.0
    max_warmup_runs: int = 100_000
    max_warmup_seconds: float = 5.0
    inputs: str | None = None

    def __post_init__(self) -> None:
        runtimes.choose(self.runtime)
        check_counts(
            threads=self.threads, batch=self.batch, rounds=self.rounds, min_runs=self.min_runs
        )
        for name in ("min_seconds", "max_warmup_seconds", "timeout_seconds"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(
                    f"LatencyConfig.{name} must be a finite number of seconds. "
                    f"Received: {getattr(self, name)}."
                )
        if self.min_runs > self.max_runs:
            raise ValueError(
                f"LatencyConfig.min_runs must be at most {self.max_runs:,}, the most calls of a "
                f"round whose times are kept. Received: {self.min_runs}."
            )
        if self.warmup_runs < 0 or self.min_seconds < 0:
            raise ValueError(
                "LatencyConfig takes warmup_runs >= 0 and min_seconds >= 0. "
                f"Received: warmup_runs={self.warmup_runs}, min_seconds={self.min_seconds}."
            )
        if self.max_warmup_runs < self.warmup_runs or self.max_warmup_seconds < 0:
            raise ValueError(
                "LatencyConfig takes max_warmup_runs >= warmup_runs and max_warmup_seconds >= 0. "
                f"Received: max_warmup_runs={self.max_warmup_runs}, "
                f"warmup_runs={self.warmup_runs}, max_warmup_seconds={self.max_warmup_seconds}."
            )
        if self.timeout_seconds <= self.min_seconds:
            raise ValueError(
                "LatencyConfig.timeout_seconds must be greater than min_seconds. "
                f"Received: {self.timeout_seconds} and {self.min_seconds}."
            )
        if self.inputs is not None and not self.inputs.endswith(".npy"):
            raise ValueError(
                "LatencyConfig.inputs must be a .npy file, as numpy.save writes it. "
                f"Received: {self.inputs}."
            )

    def at_length(self, length: int) -> LatencyConfig:
        """The same for texts of so many tokens, of a file that takes several lengths.

        Raises:
          ValueError: the runtime runs no such files, or has a length already.

        Example:
          >>> LatencyConfig().at_length(32).runtime
          'litert_cpu(length=32)'
        """
        term = recipe.parse_term(self.runtime, what="Runtime")
        options = (*term.options, ("length", length))
        return dataclasses.replace(self, runtime=str(dataclasses.replace(term, options=options)))
