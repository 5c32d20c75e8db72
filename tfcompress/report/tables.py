"""Tables as data: the same cells go to Markdown, HTML, CSV and the terminal.

Knows cells, columns, and how nested settings become rows. Does not know any markup, nor which
figures a report shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress.report import text


@dataclass(frozen=True)
class Cell:
    """A figure and, in smaller type, what belongs to it (an interval, a setting)."""

    value: str
    detail: str = ""


@dataclass(frozen=True)
class Column:
    """A heading; figures stand to the right, names to the left."""

    title: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A titled table.

    Attributes:
      title: heading.
      columns: one for each cell of a row.
      rows: cells in column order.
      note: a sentence below the table.
      reasons: below it, numbered from 1; cells name them as `note 1`.
      marked: index of the row to point out; None for none.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    marked: int | None = None
    reasons: tuple[str, ...] = ()


def settings(record: Mapping[str, Any], *, title: str) -> Table | None:
    """A nested record as dotted names and values; None for an empty one."""
    rows = list(flatten(record))
    return pairs(title, rows) if rows else None


def flatten(record: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted names and readable values of a nested record.

    Example:
      >>> list(flatten({"a": {"b": 1}, "c": [1, 2], "d": None, "e": ""}))
      [('a.b', '1'), ('c', '1, 2'), ('d', '–'), ('e', '–')]
    """
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            for index, item in enumerate(value):
                inner = item if isinstance(item, Mapping) else {"value": item}
                yield from flatten(inner, f"{name}[{index}].")
        else:
            yield name, _readable(value)


def _readable(value: Any) -> str:
    if value is None or value in ("", (), [], {}):
        return text.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_readable(item) for item in value)
    return str(value)


def without_empty(table: Table) -> Table:
    """The table without its columns of numbers that hold none."""
    kept = [
        i
        for i, column in enumerate(table.columns)
        if not column.numeric or any(row[i].value != text.MISSING for row in table.rows)
    ]
    return dataclasses.replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
    )


def pairs(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values, with no headings."""
    columns = (Column("", numeric=False), Column("", numeric=False))
    return Table(title, columns, tuple((Cell(name), Cell(value)) for name, value in rows))
