"""Tables of where the time of files goes, operator by operator.

Knows which figures stand in which column, and that shares which say nothing are not shown. Does not
know how anything was timed.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfcompress.benchmark_record import Profiled
from tfcompress.operator_profile import OperatorProfile, OperatorTime
from tfcompress.report import text
from tfcompress.report.benchmark_tables import NOISY, REFUSED
from tfcompress.report.tables import Cell, Column, Table

_TIMES = (Column("time", "us a call"), Column("share", "%"))
_BY_NAME = (
    Column("operators", numeric=False),
    Column("engine", numeric=False),
    Column("count"),
    *_TIMES,
)
_SINGLE = (
    Column("operator", numeric=False),
    Column("no."),
    Column("output", numeric=False),
    *_TIMES,
)
_CALL = "the call"


def tables(each: Profiled, *, slowest: int) -> Iterator[Table]:
    """Where the time of a file goes: by the operators' names, and the slowest ones.

    Args:
      each: a file at a setting. Where its profile is missing, or says nothing, one table gives the
        reason.
      slowest: rows of the second table; 0 leaves it out.
    """
    setting = f"{text.plural(each.threads, 'thread')}, batch {each.batch}"
    title = f"Where the time of {each.file} on {each.runtime} goes, {setting}"
    profile = each.profile
    reason = each.reason if profile is None else profile.reason
    if profile is None or reason is not None:
        said = Cell(REFUSED if profile is None else NOISY, "note 1")
        columns = (Column("", numeric=False), Column("share"))
        yield Table(title, columns, ((Cell(_CALL), said),), reasons=(reason or "",))
        return
    yield Table(title, _BY_NAME, tuple(_by_name(profile)), _note(profile))
    if slowest:
        rows = tuple(_single(profile, *row) for row in profile.slowest(slowest))
        yield Table(
            f"The slowest operators of {each.file} on {each.runtime}, {setting}", _SINGLE, rows
        )


def _by_name(profile: OperatorProfile) -> Iterator[tuple[Cell, ...]]:
    for name, engine, count, time in profile.by_name():
        yield Cell(name), Cell(engine), Cell(str(count)), *_time(profile, time)
    for name, time in (("unaccounted", profile.unaccounted_us), (_CALL, profile.call_us)):
        yield Cell(name), Cell(""), Cell(""), *_time(profile, time)


def _single(profile: OperatorProfile, one: OperatorTime, time: float) -> tuple[Cell, ...]:
    return Cell(one.name), Cell(str(one.index)), Cell(one.output or ""), *_time(profile, time)


def _time(profile: OperatorProfile, time: float) -> tuple[Cell, Cell]:
    return Cell(f"{time:.1f}"), Cell(text.percent(profile.share(time), 1))


def _note(profile: OperatorProfile) -> str:
    note = (
        f"{profile.kernels} kernels, mean of the quieter half of {len(profile.plain_us)} calls; "
        "unaccounted is what a call takes beyond its operators."
    )
    if any(operator.engine == "xnnpack" for operator in profile.operators):
        note += (
            " XNNPACK fuses operators and splits others: its rows are its own operators, not the "
            "file's."
        )
    return note
