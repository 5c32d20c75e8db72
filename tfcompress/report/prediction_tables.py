"""The tables about what files answer: whom a change hits, and whether confidence holds.

Knows which figures stand in which column. Does not know how they are computed, nor any markup.
"""

from __future__ import annotations

from tfcompress.report import text
from tfcompress.report.analysis import Judged
from tfcompress.report.run import Run
from tfcompress.report.tables import Cell, Column, Table


def flips(run: Run) -> Table | None:
    """A row for each file: which examples changed; None without stored predictions."""
    examples = run.results.data.examples
    columns = (
        Column("Name", numeric=False),
        Column("Same class", f"% of {examples}"),
        Column("Lost", examples),
        Column("Gained", examples),
        Column("Other mistake", examples),
        Column("Changed most", "baseline to file", numeric=False),
    )
    names = run.results.data.classes
    rows = tuple(_flip_row(each, names) for each in run.files)
    note = (
        "Lost: only the baseline is right. Gained: only the file is. Other mistake: both are "
        "wrong, with different classes. Two trainings that differ in their seed alone disagree "
        "too. The mistakes on the right are places to look at: they were picked for their size."
    )
    return Table("What changed", columns, rows, note) if rows else None


def _flip_row(judged: Judged, names: tuple[str, ...]) -> tuple[Cell, ...]:
    found = judged.flips
    assert found is not None
    interval = found.churn_interval
    same = f"{text.percent(1 - interval.high)} to {text.percent(1 - interval.low)}"
    mistakes = "; ".join(
        f"{names[each.true]} taken for {names[each.predicted]}: {each.baseline} to {each.model}"
        for each in judged.confusion_changes or ()
    )
    return (
        Cell(judged.name),
        Cell(text.percent(found.agreement), same),
        Cell(text.count(found.bad)),
        Cell(text.count(found.good)),
        Cell(text.count(found.neutral)),
        Cell(mistakes or "none"),
    )


def calibration(run: Run) -> Table | None:
    """A row for the baseline and each file; None without stored predictions."""
    columns = (
        Column("Name", numeric=False),
        Column("Accuracy", "%"),
        Column("Confidence", "%, mean"),
        Column("ECE", "points"),
        Column("NLL", "nats"),
        Column("NLL, change", "nats"),
        Column("Brier score"),
        Column("Temperature"),
        Column("Accuracy of the surest 80%", "%"),
    )
    rows = tuple(_calibration_row(each) for each in run.judged.values())
    note = (
        "Small figures: with outputs divided by the temperature, which is fitted on the validation "
        "split and judged on test; it changes no answer, only how sure the model says to be. Below "
        "the NLL's change to the baseline: its 95% interval, by a paired bootstrap."
    )
    reasons = dict.fromkeys(each.no_temperature for each in run.judged.values())
    note = " ".join((note, *filter(None, reasons)))
    floored = max((each.calibration.floored for each in run.judged.values()), default=0)
    if floored:
        note += (
            f" In up to {text.plural(floored, run.results.data.example)} the true class has less "
            "than the least probability that the NLL takes a logarithm of."
        )
    return Table("Calibration", columns, rows, note) if rows else None


def _calibration_row(judged: Judged) -> tuple[Cell, ...]:
    plain, scaled = judged.calibration, judged.calibrated
    surest = {each.coverage: each.accuracy for each in plain.selective}
    return (
        Cell(judged.name),
        Cell(text.percent(plain.accuracy)),
        Cell(
            text.percent(plain.mean_confidence),
            text.percent(scaled.mean_confidence) if scaled else "",
        ),
        Cell(text.percent(plain.ece), text.percent(scaled.ece) if scaled else ""),
        Cell(f"{plain.nll:.4f}", f"{scaled.nll:.4f}" if scaled else ""),
        _nll_change(judged),
        Cell(f"{plain.brier:.4f}", f"{scaled.brier:.4f}" if scaled else ""),
        Cell(f"{scaled.temperature:.2f}" if scaled and scaled.temperature else text.MISSING),
        Cell(text.percent(surest.get(0.8))),
    )


def _nll_change(judged: Judged) -> Cell:
    found = judged.nll_change
    if found is None:
        return Cell(text.MISSING)
    interval = found.interval
    return Cell(
        text.signed(found.difference, 4),
        f"{text.signed(interval.low, 4)} to {text.signed(interval.high, 4)}",
    )
