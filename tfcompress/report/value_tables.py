"""The table of a regression's errors. Knows its columns; does not know any markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tfcompress.report import metric, text
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.results import ArtifactResult, Interval, Metric, Results

_COLUMNS = {
    "mean_absolute_error": "Mean absolute error",
    "root_mean_squared_error": "Root mean squared error",
    "r_squared": "R squared",
}


def errors(results: Results) -> Table | None:
    """Every error of every model and file, and its difference; None of a classification."""
    entries = [e for e in (results.baseline, *results.models, *results.artifacts) if e.metrics]
    if not entries:
        return None
    unit = metric.of(results).unit
    columns = [Column("Name", numeric=False)]
    for name, title in _COLUMNS.items():
        columns.append(Column(title, "" if name == "r_squared" else unit))
        columns.append(Column("Difference"))
    rows = [row for entry in entries for row in _rows(entry, results)]
    note = (
        "Ranges are 95% intervals by bootstrap, those of differences with the same "
        f"{results.data.examples} drawn for file and baseline."
    )
    return Table("Errors", tuple(columns), tuple(rows), note)


def _rows(entry: ArtifactResult, results: Results) -> list[tuple[Cell, ...]]:
    """One row, and for each of several targets one more."""
    known, targets = {each.name: each for each in entry.metrics}, results.data.targets
    first = {each.name: each for each in results.baseline.metrics}
    rows = [_row(entry.name, "", known, first)]
    if len(targets) > 1:
        pairs = enumerate(targets)
        rows += [
            _row(f"{entry.name}, {name}", f"/{number}", known, first) for number, name in pairs
        ]
    return rows


def _row(
    name: str, suffix: str, known: Mapping[str, Metric], baseline: Mapping[str, Metric]
) -> tuple[Cell, ...]:
    cells = [Cell(name)]
    for column in _COLUMNS:
        found, usual = known.get(column + suffix), baseline.get(column + suffix)
        if found is None:
            cells += [Cell(text.MISSING), Cell(text.MISSING)]
            continue
        # The same decimals in a column.
        digits = metric.decimals(found.value if usual is None else usual.value)
        cells.append(_cell(found.value, found.interval, partial(metric.plain, digits=digits)))
        show = partial(metric.signed, digits=digits + 1)
        cells.append(_cell(found.difference, found.difference_interval, show))
    return tuple(cells)


def _cell(
    value: float | None, interval: Interval | None, show: Callable[[float | None], str]
) -> Cell:
    ends = "" if interval is None else f"{show(interval.low)} to {show(interval.high)}"
    return Cell(show(value), ends)
