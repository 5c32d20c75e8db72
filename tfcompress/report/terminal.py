"""The closing table of a run, in the terminal.

Knows which columns fit a terminal. Does not know how a run was made.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tfcompress.report import file_tables, metric, tables, verdict
from tfcompress.results import Results

# The columns of the files table that a terminal of so many characters has room for; a narrower one
# has no room for the last.
_WIDE = 100
_TITLES = (metric.ACCURACY.title, metric.ERROR.title)
COLUMNS = ("Name", "Stored", "Gzipped", *_TITLES, "Difference", "Latency", "Is it real?")
# Characters of a name in one line, so that a long recipe leaves room for the numbers.
_NAME_WIDTH = 23


def print_summary(results: Results, console: Console) -> None:
    """Prints one line for each file and the verdict.

    Args:
      results: of the run.
      console: decides on width and colours; a plain one prints plain text.
    """
    wanted = COLUMNS if console.width >= _WIDE else COLUMNS[:-1]
    print_files(file_tables.files(results), console, wanted=wanted)
    answer = verdict.reach(results)
    for sentence in (answer.headline, *answer.remarks):
        console.print()
        console.print(Text(sentence))


def print_files(files: tables.Table, console: Console, *, wanted: Collection[str]) -> None:
    """Prints one line for each file of a table, the marked one bold.

    Args:
      files: one row for each file.
      console: decides on width and colours.
      wanted: titles of the columns that are shown.
    """
    kept = [i for i, column in enumerate(files.columns) if column.title in wanted]
    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for index in kept:
        column = files.columns[index]
        shown.add_column(
            f"{column.title}\n{column.unit}".rstrip(),
            justify="right" if column.numeric else "left",
            overflow="fold",
            min_width=max(map(len, column.title.split())),
            no_wrap=column.title == "Name",
        )
    for position, row in enumerate(files.rows):
        cells = [_cell(row[index], column=files.columns[index].title) for index in kept]
        shown.add_row(*cells, style="bold" if position == files.marked else None)
    console.print(shown)


def print_table(table: tables.Table, console: Console) -> None:
    """Prints a table of a report with all its columns, and its note below it."""
    shown = RichTable(box=None, pad_edge=False, header_style="bold", title=Text(table.title))
    shown.title_justify = "left"
    for index, column in enumerate(table.columns):
        # A technique's arguments may go on a line of their own.
        heading = f"{column.title}\n{column.unit}".rstrip().replace("(", "\n(")
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        shown.add_column(heading, justify=justify, overflow="fold", no_wrap=index > 1)
    for row in table.rows:
        shown.add_row(*(_cell(cell) for cell in row))
    console.print(shown)
    if table.note:
        console.print(Text(f"\n{table.note}"))


def _cell(cell: tables.Cell, *, column: str = "") -> Text:
    if column == "Name":
        return Text(_in_lines(cell.value))
    if not cell.detail:
        return Text(cell.value)
    return Text.assemble(cell.value, ("\n" + cell.detail, "dim not bold"))


def _in_lines(name: str) -> str:
    """A file's name, broken behind stages and settings of its recipe where it is long."""
    lines = [""]
    for part in re.split(r"(?<=[+-])", name):
        if lines[-1] and len(lines[-1] + part) > _NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
