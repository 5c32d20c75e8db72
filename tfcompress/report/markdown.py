"""A report as Markdown, with the figures as files beside it.

Knows GitHub's table syntax. Does not know what the figures say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tfcompress.report.contents import Contents
from tfcompress.report.figures import Drawn
from tfcompress.report.tables import Cell, Column, Table


def render(parts: Contents, figures: Iterable[Drawn]) -> str:
    """The text of `report.md`.

    Args:
      parts: of the report.
      figures: lie in `figures/` beside the report.
    """
    return "\n".join(_lines(parts, {figure.name: figure for figure in figures})) + "\n"


def _lines(parts: Contents, figures: Mapping[str, Drawn]) -> Iterator[str]:
    yield from (f"# {escape(parts.title)}", "")
    if parts.subtitle:
        yield from (escape(parts.subtitle), "")
    yield from (f"**{escape(parts.verdict.headline)}**", "")
    for remark in parts.verdict.remarks:
        yield from (escape(remark), "")
    yield from _table(parts.files, level=2)
    yield from _figures(parts.figures, figures)
    for section in parts.sections:
        if section.tables or any(name in figures for name in section.figures):
            yield from (f"## {section.title}", "", escape(section.lead), "")
            yield from _figures(section.figures, figures)
            for table in section.tables:
                yield from _table(table, level=3)
    yield from ("## For reference", "")
    for table in parts.folded:
        yield from _table(table, level=3)
    yield from ("## Definitions", "")
    for term, meaning in parts.definitions:
        yield f"- **{escape(term)}**: {escape(meaning)}"


def _figures(names: Iterable[str], figures: Mapping[str, Drawn]) -> Iterator[str]:
    for figure in (figures[name] for name in names if name in figures):
        yield from (f"### {figure.title}", "", escape(figure.description), "")
        yield from (f"![{escape(figure.title)}](figures/{figure.name}.svg)", "")


def _table(table: Table, *, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {escape(table.title)}", "", *table_lines(table), "")
    if table.note:
        yield from (escape(table.note), "")


def table_lines(table: Table) -> list[str]:
    """The lines of a table; the marked row starts bold."""
    lines = [
        _row(_heading(column) for column in table.columns),
        _row("---:" if column.numeric else ":---" for column in table.columns),
    ]
    for index, row in enumerate(table.rows):
        bold = index == table.marked
        lines.append(_row(_cell(cell, bold=bold and not i) for i, cell in enumerate(row)))
    return lines


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
