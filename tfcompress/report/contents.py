"""What stands in a report and in which order, before any markup.

Knows the title and the sections. Does not know Markdown or HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress.report import comparison, definitions, tables, text
from tfcompress.report.comparison import Verdict
from tfcompress.report.tables import Table
from tfcompress.results import Results


@dataclass(frozen=True)
class Contents:
    """A report's parts.

    Attributes:
      title: what was compressed, on which data.
      subtitle: recipe, sample size, wall time.
      verdict: the answer, on top.
      files: the main table.
      sections: tables that are shown in full.
      folded: tables for reference, which a page may fold.
      definitions: pairs of a term and its meaning.
    """

    title: str
    subtitle: str
    verdict: Verdict
    files: Table
    sections: tuple[Table, ...]
    folded: tuple[Table, ...]
    definitions: tuple[tuple[str, str], ...]


def contents(results: Results) -> Contents:
    """Gathers what a report of these results shows."""
    sections = (tables.latencies(results), tables.stages(results), tables.data(results))
    folded = (
        tables.origins(results),
        *(tables.coverage(found) for found in results.coverage),
        *(tables.layers(stage) for stage in results.stages),
        *(tables.stage_settings(stage) for stage in results.stages),
        tables.settings(results.config, title="Configuration"),
        tables.environment(results),
    )
    return Contents(
        title=_title(results),
        subtitle=_subtitle(results),
        verdict=comparison.verdict(results),
        files=tables.artifacts(results),
        sections=tuple(table for table in sections if table is not None),
        folded=tuple(table for table in folded if table is not None),
        definitions=definitions.definitions(results),
    )


def _title(results: Results) -> str:
    backbone = _named(results.config, "backbone")
    return f"{backbone} on {results.data.name}" if backbone else results.data.name


def _subtitle(results: Results) -> str:
    parts = []
    recipes = results.config.get("recipes") or ()
    if isinstance(recipes, (list, tuple)) and recipes:
        word = "recipe" if len(recipes) == 1 else "recipes"
        parts.append(f"{word} {', '.join(map(str, recipes))}")
    test = results.data.split_sizes.get("test")
    if test is not None:
        parts.append(f"judged on {text.plural(test, 'test image')}")
    if results.seconds is not None:
        parts.append(f"run in {text.duration(results.seconds)}")
    return ", ".join(parts)


def _named(config: Mapping[str, Any], key: str) -> str:
    """A setting that is a text, or a record with a `name`; empty where it is neither."""
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) else ""
