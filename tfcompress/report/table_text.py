"""Tables as lines of text: Markdown, or columns that stand under one another in a terminal.

Needs nothing but Python, so that a small machine can show what it measured. Does not know what a
table is of.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from tfcompress.report.tables import Cell, Column, Table


def plain_lines(table: Table, *, width: int = 100) -> list[str]:
    r"""A table in columns for a terminal, names to the left and figures to the right.

    Headings are broken into lines, and what belongs to a figure stands below it. Figures and
    details of one column that are the same in all rows stand above the table instead.

    Args:
      table: what is shown.
      width: characters of a line, as far as the figures themselves allow.

    Example:
      >>> columns = (Column("file", numeric=False), Column("p50", "ms"), Column("threads"))
      >>> rows = (
      ...     (Cell("a"), Cell("12.5", "11 to 13"), Cell("1")),
      ...     (Cell("b"), Cell("2.5"), Cell("1")),
      ... )
      >>> print("\n".join(plain_lines(Table("Time", columns, rows))))
      Time
      threads: 1
      <BLANKLINE>
      file   p50, ms
      a         12.5
            11 to 13
      b          2.5
    """
    kept, same = _told_apart(table)
    columns = [table.columns[index] for index in kept]
    cells = [[row[index] for index in kept] for row in table.rows]
    widths = [
        max(
            [len(word) for word in _heading(column).split()]
            + [len(part) for row in cells for part in (row[i].value, row[i].detail)]
        )
        for i, column in enumerate(columns)
    ]
    heads = [textwrap.wrap(_heading(c), w) or [""] for c, w in zip(columns, widths, strict=True)]
    lines = [[part[n : n + 1] for part in heads] for n in range(max(map(len, heads), default=0))]
    shown = [["".join(part) for part in line] for line in lines]
    for row in cells:
        shown.append([cell.value for cell in row])
        if any(cell.detail for cell in row):
            shown.append([cell.detail for cell in row])
    placed = ["  ".join(_placed(line, widths, columns)).rstrip() for line in shown]
    notes = [table.note, *(f"note {n}: {text}" for n, text in enumerate(table.reasons, start=1))]
    below = [line for note in notes if note for line in textwrap.wrap(note, width)]
    return [
        *filter(None, (table.title, ", ".join(same))),
        "",
        *placed,
        *([""] if below else []),
        *below,
    ]


def _told_apart(table: Table) -> tuple[list[int], list[str]]:
    """The columns whose cells differ, and the others as text. A first column always stays."""
    kept, same = [], []
    for index, column in enumerate(table.columns):
        values = {(row[index].value, row[index].detail) for row in table.rows}
        if index and len(values) == 1 and len(table.rows) > 1:
            value, detail = values.pop()
            same.append(f"{_heading(column)}: {value}{f' ({detail})' if detail else ''}")
        else:
            kept.append(index)
    return kept, same


def _heading(column: Column) -> str:
    return f"{column.title}, {column.unit}" if column.unit else column.title


def _placed(line: list[str], widths: list[int], columns: Iterable[Column]) -> list[str]:
    return [
        cell.rjust(width) if column.numeric else cell.ljust(width)
        for cell, width, column in zip(line, widths, columns, strict=True)
    ]


def markdown_lines(table: Table) -> list[str]:
    """The lines of a table in Markdown; the marked row starts bold."""
    lines = [
        _row(escape(_heading(column)) for column in table.columns),
        _row("---:" if column.numeric else ":---" for column in table.columns),
    ]
    for index, row in enumerate(table.rows):
        bold = index == table.marked
        lines.append(_row(_cell(cell, bold=bold and not i) for i, cell in enumerate(row)))
    return lines


def note_lines(table: Table) -> list[str]:
    """What stands below a table in Markdown, each part followed by an empty line."""
    lines = [escape(table.note), ""] if table.note else []
    reasons = [f"{number}. {escape(text)}" for number, text in enumerate(table.reasons, start=1)]
    return [*lines, *reasons, ""] if reasons else lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, *, bold: bool) -> str:
    value = escape(cell.value)
    value = f"**{value}**" if bold and value else value
    return f"{value} ({escape(cell.detail)})" if cell.detail else value


def escape(text: str) -> str:
    r"""Text whose characters Markdown would take for markup.

    Example:
      >>> print(escape("conv_1|x*y <b>"))
      conv\_1\|x\*y &lt;b&gt;
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
