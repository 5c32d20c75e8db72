"""Runs that differ in their seed alone: mean and spread of every figure, and what holds in all.

Knows what may be averaged and paired. Does not know how a run was made, nor markup.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfcompress import statistics
from tfcompress.records import differences
from tfcompress.report import comparison, file_tables, metric, text
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.results import ArtifactResult, Results
from tfcompress.statistics import WORSE, Decision, SeedDifference


@dataclass(frozen=True, kw_only=True)
class OverSeeds(Decision):
    """One file over the seeds, and what may be said of it by them.

    Attributes:
      name: of the file.
      entries: its results, in the order of the runs.
      difference: to the same seed's baseline, of the main figure, more for better; None where it is
        not known for all.
      p_value: of the paired t test, corrected for the number of files.
      losing: in how many runs the file's own test shows a loss, corrected for the number of runs.
    """

    name: str
    entries: tuple[ArtifactResult, ...]
    difference: SeedDifference | None
    p_value: float | None
    losing: int


def only_seeds_differ(runs: Sequence[Results]) -> bool:
    """Whether runs may be averaged: all settings but the seed are the same."""
    first = _without_seeds(runs[0].config)
    return all(not differences(first, _without_seeds(run.config)) for run in runs[1:])


def require_seeds(runs: Sequence[Results]) -> None:
    """Refuses runs that are no repetitions of one another.

    Raises:
      ValueError: fewer than two runs, settings that differ in more than seeds, a seed twice, or
        files of other names.
    """
    if len(runs) < 2:
        raise ValueError(f"A spread needs at least two runs. Received: {len(runs)}.")
    first = _without_seeds(runs[0].config)
    for run in runs[1:]:
        changed = differences(first, _without_seeds(run.config))
        if changed:
            raise ValueError(
                "The runs differ in more than their seeds; compare like with like. "
                f"Different: {'; '.join(changed)}."
            )
    names = [{entry.name for entry in run.artifacts} for run in runs]
    if any(own != names[0] for own in names):
        unshared = sorted({name for one in names for other in names for name in one - other})
        raise ValueError(
            f"The runs have files of different names, by different versions: {', '.join(unshared)}."
            " Give each run's command again: it names the files anew and trains nothing."
        )
    seeds = [run.config["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"A seed stands twice among the runs: {seeds}.")


def over_seeds(runs: Sequence[Results]) -> tuple[OverSeeds, ...]:
    """Every file over the seeds, in the order of the first run.

    Raises:
      ValueError: as `require_seeds`.
    """
    require_seeds(runs)
    files = {
        entry.name: tuple(
            next(each for each in run.artifacts if each.name == entry.name) for run in runs
        )
        for entry in runs[0].artifacts
    }
    found = {name: _difference(runs, entries) for name, entries in files.items()}
    # The baseline's own float32 file is no comparison.
    own = comparison.reference(runs[0])
    adjusted = statistics.holm(
        [
            each.p_value if each and not (own and name == own.name) else None
            for name, each in found.items()
        ]
    )
    return tuple(
        _over_seeds(name, entries, found[name], adjusted=float(p_value))
        for (name, entries), p_value in zip(files.items(), adjusted, strict=True)
    )


def _difference(
    runs: Sequence[Results], entries: Sequence[ArtifactResult]
) -> SeedDifference | None:
    mine = [metric.figure(entry).value for entry in entries]
    theirs = [metric.figure(run.baseline).value for run in runs]
    if None in (*mine, *theirs):
        return None
    better = metric.of(runs[0]).better
    return statistics.paired_seed_difference(
        [better * value for value in mine if value is not None],
        [better * value for value in theirs if value is not None],
    )


def _over_seeds(
    name: str,
    entries: tuple[ArtifactResult, ...],
    difference: SeedDifference | None,
    *,
    adjusted: float,
) -> OverSeeds:
    p_value = None if math.isnan(adjusted) else adjusted
    interval = difference.interval if difference else None
    found = statistics.decide(interval, difference.p_value if difference else None, p_value)
    if difference and difference.std == 0 and difference.mean < 0:
        # The same loss every time: no test of the spread, but no absence of a loss either.
        found = dataclasses.replace(found, suspected=WORSE)
    return OverSeeds(
        **vars(found),
        name=name,
        entries=entries,
        difference=difference,
        p_value=p_value,
        losing=_losing(entries),
    )


def _losing(entries: Sequence[ArtifactResult]) -> int:
    figures = [metric.figure(entry) for entry in entries]
    adjusted = statistics.holm([figure.p_value for figure in figures])
    found = (
        statistics.decide(figure.gain_interval, figure.p_value, float(p_value))
        for figure, p_value in zip(figures, adjusted, strict=True)
    )
    return sum(each.answer == WORSE for each in found)


def across_seeds(runs: Sequence[Results]) -> Table:
    """One row for each file, averaged over the runs.

    Args:
      runs: at least two, of the same settings but for the seed.

    Raises:
      ValueError: as `require_seeds`.
    """
    require_seeds(runs)
    main = metric.of(runs[0])
    columns = (
        Column("Name", numeric=False),
        Column(main.title, f"{main.unit}, mean ± std"),
        Column("Difference", f"{main.difference_unit}, mean ± std"),
        Column("Is it real?", "p, corrected", numeric=False),
        Column("Runs with a loss", "of their own test"),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column("Gzipped", "times smaller"),
        Column("Latency", "ms, p50"),
    )
    return Table(
        title=f"Mean over {len(runs)} seeds",
        columns=columns,
        rows=tuple(_row(runs, each) for each in over_seeds(runs)),
        note=(
            "± is the standard deviation over seeds. Differences are to the same seed's baseline, "
            "with the 95% interval of their mean by Student's t; p is of the paired t test, "
            "corrected for the number of files. A run's own test is corrected for the number of "
            "runs. Times smaller is to the gzipped float32 file of "
            "the same seed's baseline."
        ),
    )


def _without_seeds(config: object) -> object:
    if not isinstance(config, dict):
        return config
    return {name: _without_seeds(value) for name, value in config.items() if name != "seed"}


def _row(runs: Sequence[Results], file: OverSeeds) -> tuple[Cell, ...]:
    entries, main = file.entries, metric.of(runs[0])
    interval = metric.as_gain(file.difference.interval if file.difference else None, main)

    def spread(
        figure: Callable[[ArtifactResult, Results], float | None],
        show: Callable[[float | None], str],
    ) -> Cell:
        values = [figure(entry, run) for entry, run in zip(entries, runs, strict=True)]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return Cell(text.MISSING)
        summary = statistics.summarize_seeds(known)
        return Cell(f"{show(summary.mean)} ± {show(summary.std).lstrip('+')}")

    return (
        Cell(file.name),
        spread(lambda entry, _: metric.figure(entry).value, main.show),
        dataclasses.replace(
            spread(lambda entry, _: metric.figure(entry).difference, main.signed),
            detail=main.signed_interval(interval) if interval else "",
        ),
        file_tables.answer(file, file.p_value),
        Cell(f"{file.losing} of {len(entries)}"),
        spread(lambda entry, _: entry.size_bytes, text.kib),
        spread(lambda entry, _: entry.gzip_size_bytes, text.kib),
        spread(_times_smaller, lambda value: f"{value:.2f}"),
        spread(lambda entry, _: entry.latency_ms[0].p50 if entry.latency_ms else None, _latency),
    )


def _times_smaller(entry: ArtifactResult, run: Results) -> float | None:
    base = comparison.reference(run)
    return comparison.ratio(base.gzip_size_bytes if base else None, entry.gzip_size_bytes)


def _latency(value: float | None) -> str:
    return f"{value:.3f}"
