"""The tables about what files answer: whom a change hits, and whether confidence holds.

Knows which figures stand in which column. Does not know how they are computed, nor any markup.
"""

from __future__ import annotations

from tfcompress.report import text
from tfcompress.report.analysis import Judged
from tfcompress.report.run import Run
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.statistics import Calibration


def calibration(run: Run) -> Table | None:
    """A row for the baseline and each file; None without stored predictions."""
    columns = (
        Column("Name", numeric=False),
        Column("Accuracy", "%"),
        Column("Mean confidence", "%"),
        Column("Calibration error", "points"),
        Column("Log-likelihood, negative", "nats"),
        Column("Brier score"),
        Column("Temperature"),
        Column("Calibration error", "points, with it"),
        Column("Log-likelihood, negative", "nats, with it"),
        Column("Accuracy of the surest 80%", "%"),
    )
    rows = tuple(_calibration_row(each) for each in run.judged.values())
    note = (
        "The temperature is fitted on the validation split and judged on test; it changes no "
        "answer, only how sure the model says to be."
    )
    return Table("Calibration", columns, rows, note) if rows else None


def _calibration_row(judged: Judged) -> tuple[Cell, ...]:
    plain, scaled = judged.calibration, judged.calibrated
    surest = {each.coverage: each.accuracy for each in plain.selective}
    return (
        Cell(judged.name),
        Cell(text.percent(plain.accuracy)),
        Cell(text.percent(plain.mean_confidence)),
        Cell(text.percent(plain.ece)),
        Cell(f"{plain.nll:.4f}"),
        Cell(f"{plain.brier:.4f}"),
        *_scaled_cells(scaled),
        Cell(text.percent(surest.get(0.8))),
    )


def _scaled_cells(scaled: Calibration | None) -> tuple[Cell, Cell, Cell]:
    if scaled is None or scaled.temperature is None:
        return Cell(text.MISSING), Cell(text.MISSING), Cell(text.MISSING)
    return (
        Cell(f"{scaled.temperature:.2f}"),
        Cell(text.percent(scaled.ece)),
        Cell(f"{scaled.nll:.4f}"),
    )
