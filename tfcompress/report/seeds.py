"""Runs that differ in their seed alone, as one table: mean and spread of every figure.

Knows what may be averaged. Does not know how a run was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfcompress import statistics
from tfcompress.report import comparison, metric, text
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.results import ArtifactResult, Results, differences


def across_seeds(runs: Sequence[Results]) -> Table:
    """One row for each file, averaged over the runs.

    Args:
      runs: at least two, of the same settings but for the seed.

    Raises:
      ValueError: fewer than two runs, settings that differ in more than seeds, a seed twice, or
        files of other names.
    """
    _check(runs)
    main = metric.of(runs[0])
    columns = (
        Column("Name", numeric=False),
        Column(main.title, f"{main.unit}, mean ± std"),
        Column("Difference", f"{main.difference_unit}, mean ± std"),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column("Gzipped", "times smaller"),
        Column("Latency", "ms, p50"),
    )
    names = [entry.name for entry in runs[0].artifacts]
    return Table(
        title=f"Mean over {len(runs)} seeds",
        columns=columns,
        rows=tuple(_row(runs, name) for name in names),
        note=(
            "± is the standard deviation over seeds. Differences are to the same seed's baseline. "
            "Times smaller is to the gzipped float32 file of the same seed's baseline."
        ),
    )


def _check(runs: Sequence[Results]) -> None:
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


def _without_seeds(config: object) -> object:
    if not isinstance(config, dict):
        return config
    return {name: _without_seeds(value) for name, value in config.items() if name != "seed"}


def _row(runs: Sequence[Results], name: str) -> tuple[Cell, ...]:
    entries = [next(entry for entry in run.artifacts if entry.name == name) for run in runs]

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
        Cell(name),
        spread(lambda entry, _: metric.figure(entry).value, metric.of(runs[0]).show),
        spread(lambda entry, _: metric.figure(entry).difference, metric.of(runs[0]).signed),
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
