"""The figures of a report on a search: which there are, and what each says in words.

Knows which figures of a search stand where. Does not know how marks are drawn.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from tfcompress.report import (
    drawing,
    figures,
    metric,
    search,
    search_charts,
    trade_off,
    trade_off_chart,
)
from tfcompress.report.figures import Drawn
from tfcompress.report.metric import MainMetric
from tfcompress.report.search_charts import Tried
from tfcompress.report.trade_off import Limits, Point
from tfcompress.search_record import STOPPED, SearchRecord

NAMES = ("front-size", "front-latency", "tried", "history", "importance")
"""Of the figures that the report may have."""


def draw_all(record: SearchRecord) -> tuple[Drawn, ...]:
    """Draws the figures that there are data for, in reading order."""
    with drawing.theme():
        found = (_front_size(record), _front_latency(record), _tried(record))
        others = (_history(record), _importance(record))
        return tuple(each for each in (*found, *others) if each is not None)


def _front_size(record: SearchRecord) -> Drawn | None:
    results = search.as_results(record)
    gzipped = "gzip_size_bytes" in record.objectives
    field, what = ("gzip_size_bytes", "gzipped") if gzipped else ("size_bytes", "stored")
    points = trade_off.points(results, lambda row: trade_off.size_in_kib(getattr(row, field)))
    limit = record.budget.max_gzip_size_bytes if gzipped else record.budget.max_size_bytes
    return _front(
        record,
        points,
        "front-size",
        "size",
        x_title=f"Size of the {what} file, KiB",
        limit=trade_off.size_in_kib(limit),
    )


def _front_latency(record: SearchRecord) -> Drawn | None:
    points = trade_off.latency_points(search.as_results(record))
    return _front(
        record,
        points,
        "front-latency",
        "latency",
        x_title="Median latency, ms",
        limit=record.budget.max_latency_ms,
    )


def _front(
    record: SearchRecord,
    points: list[Point],
    name: str,
    against: str,
    *,
    x_title: str,
    limit: float | None,
) -> Drawn | None:
    if not points:
        return None
    main, limits = metric.of(search.as_results(record)), _limits(record, limit)
    budget = "" if limits == Limits() else " Shaded is what keeps the budget."
    return figures.drawn(
        name,
        f"{main.title} against {against}",
        f"The front on the test split. {main.upwards} and to the left is better; the dashed line "
        f"is the baseline. Bars are 95% intervals.{budget}",
        lambda width: trade_off_chart.draw(
            points,
            record.baseline,
            x_title=x_title,
            width=width,
            y_title=main.heading,
            limits=limits,
        ),
    )


def _limits(record: SearchRecord, limit: float | None) -> Limits:
    level, main = metric.level(record.baseline), metric.of_entry(record.baseline)
    drop = record.budget.max_drop
    if drop is None or level is None:
        return Limits(limit)
    return Limits(limit, level[0] - drop * abs(main.per_unit))


def _tried(record: SearchRecord) -> Drawn | None:
    main = metric.of(search.as_results(record))
    gzipped = "gzip_size_bytes" in record.objectives
    field = "gzip_size_bytes" if gzipped else "size_bytes"
    found = [
        _mark(each.error, getattr(each, field), "within" if each.in_budget else "over", main)
        for each in record.candidates
    ]
    found += [
        _mark(trial.progress[-1].error, getattr(trial.draft, field), "stopped", main)
        for trial in record.trials
        if trial.state == STOPPED and trial.draft and trial.progress
    ]
    words = {"within": "within the budget", "over": "over it", "stopped": "stopped"}
    if record.budget.is_empty:
        words["within"] = "finished"
    what = "gzipped" if gzipped else "stored"

    def draw(width: int) -> Figure:
        return search_charts.draw_tried(
            found,
            x_title=f"Size of the {what} file, KiB",
            y_title=f"{main.heading}, validation",
            words=words,
            width=width,
        )

    return figures.drawn(
        "tried",
        "Every trial",
        f"{main.upwards} and to the left is better. A cross is a trial that was stopped, at the "
        "size of its untrained file and the figure it had then.",
        draw,
    )


def _mark(error: float, size_bytes: int, kind: str, main: MainMetric) -> Tried:
    shown = search.from_error(error, main)
    assert shown is not None
    return Tried(size_bytes / 1024, main.per_unit * shown, kind)


def _history(record: SearchRecord) -> Drawn | None:
    if len(record.history) < 2:
        return None
    with_budget = not record.budget.is_empty
    return figures.drawn(
        "history",
        "How the search came on",
        "After each trial, what share of the space the files so far beat"
        + (", and how far the nearest of them is from the budget." if with_budget else "."),
        lambda width: search_charts.draw_history(
            record.history, with_budget=with_budget, width=width
        ),
    )


def _importance(record: SearchRecord) -> Drawn | None:
    if not record.importance:
        return None
    return figures.drawn(
        "importance",
        "Importance of each choice",
        "The longer its bar, the more a choice decides whether a recipe comes near the front.",
        lambda width: search_charts.draw_importance(record.importance, width=width),
    )
