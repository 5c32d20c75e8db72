"""Tables as lines of text: Markdown, or columns that stand under one another in a terminal.

Needs nothing but Python, so that a small machine can show what it measured. Does not know what a
table is of.
"""

from __future__ import annotations

from collections.abc import Iterable

from tfcompress.report.tables import Cell, Column, Table


def plain_lines(table: Table) -> list[str]:
    r"""The lines of a table in columns, names to the left and figures to the right.

    Example:
      >>> columns = (Column("file", numeric=False), Column("p50", "ms"))
      >>> rows = ((Cell("a"), Cell("12.5", "11 to 13")),)
      >>> print("\n".join(plain_lines(Table("", columns, rows))))
      file          p50, ms
      a     12.5 (11 to 13)
    """
    lines = [
        [f"{c.title}, {c.unit}" if c.unit else c.title for c in table.columns],
        *([f"{c.value} ({c.detail})" if c.detail else c.value for c in row] for row in table.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(_placed(line, widths, table.columns)).rstrip() for line in lines]


def _placed(line: list[str], widths: list[int], columns: Iterable[Column]) -> list[str]:
    return [
        cell.rjust(width) if column.numeric else cell.ljust(width)
        for cell, width, column in zip(line, widths, columns, strict=True)
    ]


def markdown_lines(table: Table) -> list[str]:
    """The lines of a table in Markdown; the marked row starts bold."""
    lines = [
        _row(_heading(column) for column in table.columns),
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


def _heading(column: Column) -> str:
    return escape(f"{column.title}, {column.unit}" if column.unit else column.title)


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
