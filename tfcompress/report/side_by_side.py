"""Runs of different settings on one test split, file beside file.

Knows that every file is compared with the first run's baseline, example by example. Does not know
markup.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from tfcompress import judging, statistics
from tfcompress.predictions import Predictions
from tfcompress.report import (
    comparison,
    definitions,
    file_tables,
    judgement,
    metric,
    tables,
    text,
    verdict,
)
from tfcompress.report.contents import Contents, Section
from tfcompress.report.run import Run, RunFolderError, load_predictions, names_of
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.report.verdict import Verdict
from tfcompress.results import ArtifactResult, Results
from tfcompress.statistics import Decision


@dataclass(frozen=True)
class _Row:
    """A file of one of the runs, with its difference to the first run's baseline."""

    run: str
    entry: ArtifactResult
    decision: Decision
    p_value: float | None


def contents(runs: Sequence[Run]) -> Contents:
    """The report on runs that differ in more than their seed.

    Args:
      runs: at least two, of one test split, with stored predictions.

    Raises:
      RunFolderError: other test examples, or no stored predictions.
    """
    rows, first = _rows(runs), runs[0]
    known = zip(letters(runs), names_of(runs), strict=True)
    names = ", ".join(f"{letter}: {name}" for letter, name in known)
    data = first.results.data
    tested, one = data.split_sizes.get("test"), f"test {data.example}"
    same = "" if tested is None else f"; judged on the same {text.plural(tested, one)}"
    return Contents(
        title=f"{len(runs)} runs on {data.name}",
        subtitle=f"{names}{same}",
        verdict=_verdict(rows, "A", metric.of(first.results)),
        files=_table(rows, first.results),
        figures=("accuracy-size",),
        sections=(Section("What differs", "Settings of the runs.", (), (_settings(runs),)),),
        folded=(),
        definitions=definitions.of_comparison(first.results),
    )


def letters(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: A, B and so on."""
    return [ascii_uppercase[i] if i < 26 else f"R{i + 1}" for i in range(len(runs))]


def gathered(runs: Sequence[Run]) -> Run:
    """The first run with the files of all, each named by its run: what the figures show."""
    files = tuple(
        dataclasses.replace(entry, name=f"{name}: {entry.name}")
        for name, run in zip(letters(runs), runs, strict=True)
        for entry in run.results.artifacts
    )
    results = dataclasses.replace(runs[0].results, artifacts=files)
    return dataclasses.replace(runs[0], results=results)


def _rows(runs: Sequence[Run]) -> list[_Row]:
    baseline = _predictions(runs[0], runs[0].results.baseline)
    pairs = [
        (name, _judged(run, entry, baseline))
        for name, run in zip(letters(runs), runs, strict=True)
        for entry in (run.results.baseline, *run.results.artifacts)
        # A float32 file of a baseline is that baseline, and the first one is what all are held to.
        if entry is not runs[0].results.baseline and entry is not comparison.reference(run.results)
    ]
    figures = [metric.figure(entry) for _, entry in pairs]
    adjusted = statistics.holm([figure.p_value for figure in figures])
    return [
        _Row(
            name,
            entry,
            statistics.decide(figure.gain_interval, figure.p_value, p_value),
            p_value,
        )
        for (name, entry), figure, p_value in zip(
            pairs, figures, map(judgement.known, adjusted), strict=True
        )
    ]


def _predictions(run: Run, entry: ArtifactResult) -> Predictions:
    if entry.predictions is None:
        one = run.results.data.example
        raise RunFolderError(
            f"{run.folder} holds no predictions of {entry.name}: runs are compared {one} by {one}. "
            "Give the command that made the run again; it evaluates what is missing."
        )
    return load_predictions(run.folder / entry.predictions)


def _judged(run: Run, entry: ArtifactResult, baseline: Predictions) -> ArtifactResult:
    try:
        found = _predictions(run, entry).aligned_to(baseline)
        return judging.judged(entry, found, baseline)
    except ValueError as error:
        raise RunFolderError(f"{run.folder}, {entry.name}: {error}") from error


def _verdict(rows: Sequence[_Row], first: str, main: metric.MainMetric) -> Verdict:
    candidates = {id(row.entry): row for row in rows if row.entry.path is not None}
    if not candidates:
        return Verdict("The runs hold no compressed file.", (), None, ())
    choice = verdict.choose(
        [
            verdict.Candidate(row.entry, row.decision, metric.figure(row.entry).gain or 0.0)
            for row in candidates.values()
        ],
        by_gzip=all(row.entry.gzip_size_bytes is not None for row in candidates.values()),
    )
    best = candidates[id(choice.chosen.entry)]
    size, figure = best.entry.gzip_size_bytes, metric.figure(best.entry)
    return Verdict(
        choice.headline(f"{best.run}: {best.entry.name}", f"the baseline of {first}", main),
        (
            f"{'' if size is None else text.kib(size) + ' KiB gzipped, '}{main.noun} difference "
            f"{main.with_unit(main.signed(figure.difference))} (95% interval "
            f"{main.signed_interval(figure.difference_interval)}).",
        ),
        None,
        (),
    )


def _table(rows: Sequence[_Row], first: Results) -> Table:
    main, one = metric.of(first), first.data.example
    columns = (
        Column("Run", numeric=False),
        Column("Name", numeric=False),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column(main.title, main.unit),
        Column("Difference", main.difference_unit),
        Column("Is it real?", "p, corrected", numeric=False),
        Column("Latency", "ms, p50"),
    )
    note = (
        f"Differences are to the baseline of A, {one} by {one}; p is corrected for all "
        f"{len(rows)} rows. Latencies of different runs were not measured side by side. Runs may "
        "differ by their trainings, too: that other seeds would show the same is not tested here."
    )
    return Table("Files", columns, tuple(_cells(row, main) for row in rows), note)


def _cells(row: _Row, main: metric.MainMetric) -> tuple[Cell, ...]:
    entry, figure = row.entry, metric.figure(row.entry)
    latency = entry.latency_ms[0] if entry.latency_ms else None
    return (
        Cell(row.run),
        Cell(entry.name),
        Cell(text.kib(entry.size_bytes)),
        Cell(text.kib(entry.gzip_size_bytes)),
        file_tables.with_interval(main.show(figure.value), main.show_interval, figure.interval),
        file_tables.with_interval(
            main.signed(figure.difference), main.signed_interval, figure.difference_interval
        ),
        file_tables.answer(row.decision, row.p_value),
        Cell(text.milliseconds(latency.p50 if latency else None)),
    )


def _settings(runs: Sequence[Run]) -> Table:
    flat = [dict(tables.flatten(run.results.config)) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = tuple(
        (Cell(key), *(Cell(each.get(key, text.MISSING)) for each in flat))
        for key in keys
        if len({each.get(key) for each in flat}) > 1
    )
    columns = (
        Column("Setting", numeric=False),
        *(Column(letter, numeric=False) for letter in letters(runs)),
    )
    return Table("Settings that differ", columns, rows)
