"""Files of a run, timed in turns with one another; the samples stay in the folder.

Knows at which settings a run's files are timed. Does not know what follows from their latencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfcompress import benchmark
from tfcompress.backbones import TextConfig
from tfcompress.config import RunConfig
from tfcompress.progress import Reporter
from tfcompress.run_folder import RunFolder

FILE_NAME = "latency.json"


@dataclass(frozen=True)
class _KeptLatency:
    """Raw samples of each case, in the order of the cases."""

    files: tuple[benchmark.LatencySamples, ...]


def timings(config: RunConfig) -> list[benchmark.LatencyConfig]:
    """How each file of a run is timed: once for each length of texts, the greatest first."""
    source = config.backbone
    if not isinstance(source, TextConfig) or not source.shorter_lengths:
        return [config.latency]
    lengths = (source.sequence_length, *reversed(source.shorter_lengths))
    return [config.latency.at_length(length) for length in lengths]


def timed(
    cases: Mapping[str, benchmark.Case], *, folder: RunFolder, key: str, reporter: Reporter
) -> tuple[benchmark.LatencySamples, ...]:
    """Measures cases in turns, or finds again what was measured of the same files.

    Args:
      cases: by their names.
      folder: where the samples are kept.
      key: names the files and their checksums.
      reporter: told of the progress.

    Returns:
      The samples of each case, in the order of the cases.
    """

    def make() -> _KeptLatency:
        with reporter.bar("latency") as step:
            samples = benchmark.measure_cases(
                cases, progress=lambda done, total, _: step(done, total)
            )
        return _KeptLatency(tuple(samples[name] for name in cases))

    return folder.kept(folder.root / FILE_NAME, key, _KeptLatency, make).files
