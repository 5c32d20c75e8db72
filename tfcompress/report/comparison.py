"""What the results say when set against one another: ratios, and a common timing setting.

Knows which file stands for the baseline. Does not know what is concluded, nor tables or figures.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tfcompress.report import text
from tfcompress.results import ArtifactResult, Latency, Results


@dataclass(frozen=True)
class Setting:
    """How a latency was measured: only equal settings are compared."""

    runtime: str
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.runtime}, {text.plural(self.threads, 'thread')}, batch {self.batch}"


def reference(results: Results) -> ArtifactResult | None:
    """The file that sizes and latencies are compared with: the baseline exported as float32.

    None where the run exported no such file; ratios are then missing, not guessed.
    """
    return next(
        (a for a in results.artifacts if a.format == "float32" and not a.stages),
        None,
    )


def ratio(reference_value: float | None, value: float | None) -> float | None:
    """How many times smaller (or faster) `value` is; None where either is missing."""
    return None if not reference_value or not value else reference_value / value


def common_setting(results: Results) -> Setting | None:
    """The setting that most files were timed in; of several, the one measured first."""
    settings = Counter(_setting(latency) for a in results.artifacts for latency in a.latency_ms)
    return settings.most_common(1)[0][0] if settings else None


def latency_in(entry: ArtifactResult, setting: Setting | None) -> Latency | None:
    """The latency of one file in a setting; None where it was not timed in it."""
    return next((each for each in entry.latency_ms if _setting(each) == setting), None)


def speedup(entry: ArtifactResult, results: Results) -> float | None:
    """Median latency of the reference file over that of `entry`, in the common setting."""
    setting, base = common_setting(results), reference(results)
    theirs = None if base is None else latency_in(base, setting)
    return times_faster(latency_in(entry, setting), theirs)


def times_faster(mine: Latency | None, theirs: Latency | None) -> float | None:
    """Their median over mine; None where one is not there or too noisy to be compared."""
    if mine is None or theirs is None or False in (mine.steady, theirs.steady):
        return None
    return ratio(theirs.p50, mine.p50)


def _setting(latency: Latency) -> Setting:
    return Setting(latency.runtime, latency.threads, latency.batch)
