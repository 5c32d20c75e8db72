"""What stands in a report and in which order, before any markup.

Knows the title and the sections. Does not know Markdown or HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress.report import (
    definitions,
    file_tables,
    prediction_tables,
    run_tables,
    tables,
    text,
    value_tables,
    verdict,
)
from tfcompress.report.run import Run
from tfcompress.report.tables import Table
from tfcompress.report.verdict import Verdict
from tfcompress.results import Results


@dataclass(frozen=True)
class Section:
    """A question, its figures and tables.

    Attributes:
      title: heading.
      lead: what to take from it, in a sentence or two.
      figures: names of the figures, in order; one that the run has no data for is not drawn.
      tables: shown in full, below the figures.
    """

    title: str
    lead: str
    figures: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Contents:
    """A report's parts.

    Attributes:
      title: what was compressed, on which data.
      subtitle: recipe, sample size, wall time.
      verdict: the answer, on top.
      files: the main table.
      figures: names of those that belong to the answer.
      sections: the questions behind the answer.
      folded: tables for reference, which a page may fold.
      definitions: pairs of a term and its meaning.
    """

    title: str
    subtitle: str
    verdict: Verdict
    files: Table
    figures: tuple[str, ...]
    sections: tuple[Section, ...]
    folded: tuple[Table, ...]
    definitions: tuple[tuple[str, str], ...]


def contents(run: Run) -> Contents:
    """Gathers what the report of a run shows."""
    results = run.results
    folded = (
        file_tables.details(results),
        file_tables.lengths(results),
        file_tables.latencies(results),
        run_tables.data(results),
        file_tables.origins(results),
        *(run_tables.coverage(found) for found in results.coverage),
        *(run_tables.layers(stage) for stage in results.stages),
        *(run_tables.stage_settings(stage) for stage in results.stages),
        tables.settings(results.config, title="Configuration"),
        run_tables.environment(results),
    )
    return Contents(
        title=title(results),
        subtitle=_subtitle(results),
        verdict=verdict.reach(results),
        files=file_tables.files(results),
        figures=("accuracy-size", "accuracy-latency"),
        sections=_sections(run),
        folded=_present(folded),
        definitions=definitions.definitions(results),
    )


def _sections(run: Run) -> tuple[Section, ...]:
    results, examples = run.results, run.results.data.examples
    return (
        Section(
            "How far off",
            "The same errors in three figures: the usual distance, one in which large errors weigh "
            "more, and the share of the variance that the model explains.",
            (),
            _present((value_tables.errors(results),)),
        ),
        Section(
            "Who paid",
            f"A file of the same accuracy may be right on other {examples}. Lost are those that "
            "only the baseline has right, gained those that only the file has right.",
            ("class-change", "changed-images"),
            _present((prediction_tables.flips(run),)),
        ),
        Section(
            "Can its confidence be believed?",
            f"A model is calibrated where, of the {examples} that it is 90% sure of, 90% are "
            "right.",
            ("reliability", "selective-accuracy"),
            _present((prediction_tables.calibration(run),)),
        ),
        Section(
            "Where it comes from",
            "What the layers lost, and whether compression or export took it.",
            ("layer-sparsity",),
            _present((file_tables.models(run),)),
        ),
        Section(
            "Training",
            "What every stage learned, and what it cost.",
            ("levels", "training-curves", "accuracy-time"),
            _present(
                (
                    run_tables.stages(results),
                    *map(run_tables.levels, results.stages),
                    *run_tables.refused_levels(results.given_up),
                )
            ),
        ),
    )


def _present(found: tuple[Table | None, ...]) -> tuple[Table, ...]:
    return tuple(table for table in found if table is not None)


def title(results: Results) -> str:
    """What was compressed, on which data."""
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
        parts.append(f"judged on {text.plural(test, f'test {results.data.example}')}")
    if results.seconds is not None:
        parts.append(f"run in {text.duration(results.seconds)}")
    return ", ".join(parts)


def _named(config: Mapping[str, Any], key: str) -> str:
    """A setting that is a text, or a record with a `name`; empty where it is neither."""
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) else ""
