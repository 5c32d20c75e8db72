"""The report on a search for a recipe: the answer, the front, what was tried.

Knows what it says and in which order. Does not know markup, nor how anything was tried.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from tfcompress import search_record
from tfcompress.report import (
    definitions,
    file_tables,
    judgement,
    metric,
    tables,
    text,
)
from tfcompress.report.contents import Contents, Section
from tfcompress.report.metric import MainMetric
from tfcompress.report.run import RunFolderError
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.report.verdict import Card, Verdict, baseline_cautions
from tfcompress.results import Results
from tfcompress.search_record import FINISHED, Finalist, SearchRecord, TrialRecord

_BEST = {
    "error": "most accurate",
    "size_bytes": "smallest",
    "gzip_size_bytes": "smallest gzipped",
    "latency_ms": "fastest",
}
_NAMED = {"max_size_bytes": "stored", "max_gzip_size_bytes": "gzipped", "max_latency_ms": "latency"}


def load(folder: str | os.PathLike[str]) -> SearchRecord:
    """Reads a finished search.

    Raises:
      RunFolderError: the folder holds none, or a damaged one.
    """
    try:
        return search_record.load(folder)
    except (FileNotFoundError, ValueError, AttributeError) as error:
        raise RunFolderError(str(error)) from error


def as_results(record: SearchRecord) -> Results:
    """The front as the results of a run: its files, named by their recipes, beside the baseline."""
    run = record.config.get("run")
    return Results(
        config=run if isinstance(run, Mapping) else {},
        environment=record.environment,
        data=record.data,
        baseline=record.baseline,
        artifacts=tuple(
            dataclasses.replace(each.row, name=shown_name(each)) for each in record.finalists
        ),
        seconds=record.seconds,
    )


def shown_name(finalist: Finalist) -> str:
    """What a report calls a file of the front: its recipe, or the baseline's file."""
    return finalist.recipe if finalist.row.stages else finalist.name


def contents(record: SearchRecord) -> Contents:
    """Gathers what the report of a search shows."""
    results = as_results(record)
    backbone = results.config.get("backbone")
    network = backbone.get("name") or backbone.get("path") if isinstance(backbone, Mapping) else ""
    counts = [
        f"{number} {state}"
        for state in ("finished", "stopped", "failed")
        if (number := sum(trial.state == state for trial in record.trials))
    ]
    return Contents(
        title=f"The recipe for a budget: {network} on {record.data.name}",
        subtitle=(
            f"{text.plural(len(record.trials), 'trial')} chosen by {record.config['sampler']}: "
            f"{', '.join(counts)}; {text.duration(record.seconds)} of work on them"
        ),
        verdict=verdict(record),
        files=front_table(record),
        figures=("front-size", "front-latency"),
        sections=(
            Section(
                "What was tried",
                "Every recipe, judged on the validation split, by which the files above were "
                "chosen. Those that promised nothing were stopped before their end.",
                ("tried", "history"),
                tuple(filter(None, (_trials(record), _left_out(record)))),
            ),
            Section(
                "Which choices mattered",
                "How much each choice tells whether a recipe comes near the front, of all that the "
                "choices tell (PED-ANOVA). Of few trials it says little.",
                ("importance",),
                (),
            ),
        ),
        folded=tuple(
            table
            for table in (
                _plain(record),
                file_tables.details(results),
                file_tables.latencies(results),
                file_tables.origins(results),
                _choices(record),
                tables.settings(record.config, title="Configuration"),
                tables.settings(record.environment, title="Environment"),
            )
            if table is not None
        ),
        definitions=(*_definitions(record), *definitions.definitions(results)),
    )


# The answer.


def verdict(record: SearchRecord) -> Verdict:
    """What the search answers, and what is to be known of it."""
    winner, main = record.winner, metric.of(as_results(record))
    name = shown_name(winner)
    limits, best = limits_in_words(record, main), _BEST.get(record.best_by, "best")
    if record.budget.is_empty:
        headline = f"There was no budget; {name} is the {best} file."
    elif record.reached:
        headline = f"{name} is the {best} file within the budget of {limits}."
    else:
        headline = f"No file keeps the budget of {limits}; the nearest is {name}."
    remarks = [_figures_in_words(winner, as_results(record), main)]
    if not record.reached:
        over = ", ".join(over_in_words(winner, only_over=True))
        remarks.append(
            "Nearest is the file whose largest excess over a limit is the least, as a fraction of "
            f"that limit. {f'On the test split it is over by {over}.' if over else ''}".strip()
        )
    elif not winner.in_budget:
        over = ", ".join(over_in_words(winner, only_over=True))
        remarks.append(
            f"Caution: it was chosen on validation, where it keeps the budget; on the test split "
            f"it is over by {over}."
        )
    remarks += baseline_cautions(as_results(record))
    tokenizer = " with the tokenizer beside it" if record.data.example == "text" else ""
    remarks.append(f"It lies in the search's folder as {winner.row.path}{tokenizer}.")
    if winner.command:
        remarks.append("To repeat it alone:")
    cards = _cards(winner, as_results(record))
    return Verdict(headline, tuple(remarks), winner.row, cards, winner.command)


def limits_in_words(record: SearchRecord, main: MainMetric) -> str:
    """The budget in a line."""
    budget, found = record.budget, []
    if budget.max_size_bytes is not None:
        found.append(f"{text.kib(budget.max_size_bytes)} KiB stored")
    if budget.max_gzip_size_bytes is not None:
        found.append(f"{text.kib(budget.max_gzip_size_bytes)} KiB gzipped")
    if budget.max_latency_ms is not None:
        found.append(f"{text.milliseconds(budget.max_latency_ms)} ms")
    if budget.max_drop is not None:
        drop = main.with_unit(main.amount(budget.max_drop))
        found.append(f"{drop} lost" if main.better > 0 else f"{drop} more error")
    return ", ".join(found)


def over_in_words(finalist: Finalist, *, only_over: bool = False) -> list[str]:
    """By how much a file is over each limit, or below it."""
    names = {**_NAMED, "max_drop": "error"}
    return [
        f"{text.signed(100 * over, 0)}% {names[name]}"
        for name, over in finalist.overruns.items()
        if over > 0 or not only_over
    ]


def _figures_in_words(finalist: Finalist, results: Results, main: MainMetric) -> str:
    row = finalist.row
    parts = [f"{text.kib(row.size_bytes)} KiB ({text.kib(row.gzip_size_bytes)} gzipped)"]
    if row.latency_ms:
        noisy = ", too noisy" if row.latency_ms[0].steady is False else ""
        parts.append(f"{text.milliseconds(row.latency_ms[0].p50)} ms{noisy}")
    sentence = judgement.sentence(dataclasses.replace(row, name=shown_name(finalist)), results)
    return f"{', '.join(parts)}; {sentence}."


def _cards(finalist: Finalist, results: Results) -> tuple[Card, ...]:
    row, main = finalist.row, metric.of(results)
    figure = metric.figure(row)
    value = main.show(figure.value) + (main.unit if main is metric.ACCURACY else "")
    cards = [
        Card(
            f"{text.kib(row.size_bytes)}", "KiB stored", f"{text.kib(row.gzip_size_bytes)} gzipped"
        ),
        Card(value, main.noun, main.show_interval(figure.interval)),
        Card(
            main.signed(figure.difference),
            f"{main.difference_unit} of {main.noun}".strip(),
            main.signed_interval(figure.difference_interval),
        ),
    ]
    if row.latency_ms:
        latency = row.latency_ms[0]
        noisy = "too noisy" if latency.steady is False else "median"
        cards.append(Card(text.milliseconds(latency.p50), "ms", noisy))
    return tuple(cards)


# Tables.


def front_table(record: SearchRecord) -> Table:
    """The files of the front on the test split, and whether they keep the budget."""
    results = as_results(record)
    table = dataclasses.replace(file_tables.files(results), title="The front", marked=None)
    if not record.budget.is_empty:
        kept = [Cell(text.MISSING), *(_budget_cell(each) for each in record.finalists)]
        table = dataclasses.replace(
            table,
            columns=(*table.columns, Column("Budget", "on test", numeric=False)),
            rows=tuple((*row, cell) for row, cell in zip(table.rows, kept, strict=True)),
        )
    names = [each.name for each in record.finalists]
    note = (
        f"{table.note} The front was chosen on validation: files that none other beats in error, "
        "size and latency, the float32 file of the baseline beside them. The test split was read "
        "for these alone."
    )
    return dataclasses.replace(table, note=note, marked=1 + names.index(record.best))


def _budget_cell(finalist: Finalist) -> Cell:
    over = over_in_words(finalist, only_over=True)
    return Cell("kept") if finalist.in_budget else Cell("over", ", ".join(over))


def _trials(record: SearchRecord) -> Table:
    main = metric.of(as_results(record))
    columns = (
        Column("Trial", numeric=False),
        Column("Recipe", numeric=False),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column(main.title, f"{main.unit}, validation".lstrip(", ")),
        Column("Latency", "ms, indicative"),
        Column("Took", "s"),
        Column("End", numeric=False),
    )
    rows = tuple(_trial_row(trial, main) for trial in record.trials)
    note = (
        "Of a trial that was stopped the sizes are those of its file before any training, and the "
        f"{main.noun} is the last that it had: that of the file before any training, on a part of "
        "the validation split, where it ended there. "
        "Latencies were measured while other work may have gone on; those of the front were "
        "measured anew, in turns."
    )
    return Table("Trials", columns, rows, note)


def _trial_row(trial: TrialRecord, main: MainMetric) -> tuple[Cell, ...]:
    made, draft = trial.candidate, trial.draft
    sized = made or draft
    error = made.error if made else trial.progress[-1].error if trial.progress else None
    latency = made.latency.p50 if made and made.latency else draft.latency_ms if draft else None
    end = "finished" if trial.state == FINISHED else f"{trial.state}: {trial.reason}"
    if trial.attempts > 1:
        end += f" ({trial.attempts} workers)"
    return (
        Cell(trial.name),
        Cell(trial.recipe),
        Cell(text.kib(sized.size_bytes if sized else None)),
        Cell(text.kib(sized.gzip_size_bytes if sized else None)),
        Cell(main.show(from_error(error, main))),
        Cell(text.milliseconds(latency)),
        Cell(f"{trial.seconds:.0f}"),
        Cell(end),
    )


def from_error(error: float | None, main: MainMetric) -> float | None:
    """The main figure for an error: the accuracy of a classification, else the error itself."""
    return error if error is None or main.better < 0 else 1 - error


def _plain(record: SearchRecord) -> Table:
    main = metric.of(as_results(record))
    columns = (
        Column("Name", numeric=False),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column(main.title, f"{main.unit}, validation".lstrip(", ")),
    )
    rows = tuple(
        (
            Cell(each.name),
            Cell(text.kib(each.size_bytes)),
            Cell(text.kib(each.gzip_size_bytes)),
            Cell(main.show(from_error(each.error, main))),
        )
        for each in record.plain
    )
    return Table("The baseline's files, with no recipe", columns, rows)


def _left_out(record: SearchRecord) -> Table | None:
    return tables.pairs("Not tried", record.left_out.items()) if record.left_out else None


def _choices(record: SearchRecord) -> Table | None:
    rows = [
        (trial.name, ", ".join(f"{name}: {value}" for name, value in trial.choices.items()))
        for trial in record.trials
    ]
    return tables.pairs("Choices of each trial", rows) if rows else None


def _definitions(record: SearchRecord) -> tuple[tuple[str, str], ...]:
    by = "gzipped" if "gzip_size_bytes" in record.objectives else "stored"
    return (
        (
            "Front",
            f"The files that none other beats in error, {by} size and latency at once. Latencies "
            "within 5% of each other count as equal.",
        ),
        (
            "Budget",
            "A file is over a limit by its amount over the limit's, minus one. For a lost accuracy "
            "the amount is the fraction wrong: where 5% may be wrong, 6% are over by 20%.",
        ),
        (
            "Hypervolume",
            "The share of a box that some file so far is better than, on validation, with the "
            "indicative latencies. The box goes from nothing to the error of random guessing and "
            "to the size and the latency of the baseline's float32 file.",
        ),
        (
            "Stopped",
            "A trial ends early where its untrained file is over a limit of size or latency by "
            "more than 5%, in the second half of the search only if another file is nearer to the "
            "budget; where that file is the one of an earlier trial; or where its error is above "
            "the median that finished trials with files no larger or slower had at the same point.",
        ),
    )
