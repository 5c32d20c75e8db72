"""A report as Markdown, with the figures as files beside it.

Knows GitHub's table syntax. Does not know what the figures say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tfcompress.report.contents import Contents
from tfcompress.report.figures import Drawn
from tfcompress.report.table_text import escape, markdown_lines, note_lines
from tfcompress.report.tables import Table


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
    if parts.verdict.command:
        yield from ("```sh", parts.verdict.command, "```", "")
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
    yield from (f"{'#' * level} {escape(table.title)}", "", *markdown_lines(table), "")
    yield from note_lines(table)
