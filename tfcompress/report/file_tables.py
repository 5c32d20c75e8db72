"""The tables about a run's files: what each is, weighs, answers and takes.

Knows which figures stand in which column and how a missing one reads. Does not know any markup.
"""

from __future__ import annotations

from typing import Any

from tfcompress import statistics
from tfcompress.report import comparison, judgement, metric, text, verdict
from tfcompress.report.comparison import Setting
from tfcompress.report.judgement import Judgement
from tfcompress.report.run import Run
from tfcompress.report.tables import Cell, Column, Table
from tfcompress.results import ArtifactResult, Latency, Parity, Results
from tfcompress.statistics import Decision


def files(results: Results) -> Table:
    """What to choose by: one row for the baseline and one for each file, in their order."""
    base, setting = comparison.reference(results), comparison.common_setting(results)
    entries = (results.baseline, *results.artifacts)
    chosen, judged = verdict.reach(results).chosen, judgement.judge(results)
    main = metric.of(results)
    columns = (
        Column("Name", numeric=False),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column(main.title, main.unit),
        Column("Difference", main.difference_unit),
        Column("Is it real?", "p, corrected", numeric=False),
        Column("Latency", "ms, p50"),
    )
    return Table(
        title="Files",
        columns=columns,
        rows=tuple(
            _file_row(e, results, base=base, setting=setting, judged=judged.get(e.name))
            for e in entries
        ),
        note=_files_note(base, setting, main),
        marked=None if chosen is None else entries.index(chosen),
    )


def _file_row(
    entry: ArtifactResult,
    results: Results,
    *,
    base: ArtifactResult | None,
    setting: Setting | None,
    judged: Judgement | None,
) -> tuple[Cell, ...]:
    latency, main = comparison.latency_in(entry, setting), metric.of(results)
    figure = metric.figure(entry)
    return (
        Cell(entry.name),
        _size(entry.size_bytes, base.size_bytes if base else None),
        _size(entry.gzip_size_bytes, base.gzip_size_bytes if base else None),
        with_interval(main.show(figure.value), main.show_interval, figure.interval),
        _difference(entry, main),
        Cell(text.MISSING) if judged is None else answer(judged, judged.p_value),
        _median(entry, latency, results),
    )


def _difference(entry: ArtifactResult, main: metric.MainMetric) -> Cell:
    figure = metric.figure(entry)
    return with_interval(
        main.signed(figure.difference), main.signed_interval, figure.difference_interval
    )


def answer(said: Decision, p_value: float | None) -> Cell:
    """What may be said of a difference, with the corrected p beside it."""
    shown = f"{said.suspected}?" if said.suspected else said.answer
    return Cell(shown, "" if p_value is None else f"p {text.p_value(p_value)}")


def _median(entry: ArtifactResult, latency: Latency | None, results: Results) -> Cell:
    if latency is None:
        return Cell(text.MISSING)
    return Cell(text.milliseconds(latency.p50), _noise(latency) or _faster(entry, results))


def _noise(latency: Latency) -> str:
    return "too noisy" if latency.steady is False else ""


def _faster(entry: ArtifactResult, results: Results) -> str:
    value = comparison.speedup(entry, results)
    return "" if value is None else text.ratio(value)


def _files_note(
    base: ArtifactResult | None, setting: Setting | None, main: metric.MainMetric
) -> str:
    sizes = (
        f"Ratios are to {base.name}: stored bytes to stored bytes, gzipped to gzipped, its latency "
        "to the file's."
        if base
        else "No float32 file of the baseline was exported, so sizes carry no ratio."
    )
    timing = f" Latency: {setting}." if setting else " Latency was not measured."
    return (
        f"{sizes}{timing} Ranges beside {main.noun} and difference are 95% intervals; "
        f"{text.MISSING} is not measured."
    )


def details(results: Results) -> Table:
    """What else is known of each file and of the baseline."""
    columns = (
        Column("Name", numeric=False),
        Column("Format", numeric=False),
        Column("Techniques", numeric=False),
        Column("Parity", "mean difference" if results.data.targets else "% same class"),
        Column("Latency", "ms, p50 / p90"),
        Column("Memory", "MiB, peak"),
        Column("Integer", "operators"),
        Column("Zeros", "% of weights"),
        Column("Parameters"),
        Column("Multiply-accumulates", f"one {results.data.example}"),
    )
    setting = comparison.common_setting(results)
    rows = tuple(
        (
            Cell(entry.name),
            Cell(_format(entry)),
            Cell("+".join(entry.stages) or "none"),
            _parity(entry.parity),
            _latency(entry, setting),
            Cell(text.mib(entry.peak_memory_bytes)),
            _integer_operators(entry),
            Cell(text.percent(entry.sparsity, 1), _distinct(entry)),
            Cell(text.count(entry.parameters)),
            Cell(text.count(entry.macs)),
        )
        for entry in (results.baseline, *results.artifacts)
    )
    return Table("Files in detail", columns, rows)


def models(run: Run) -> Table | None:
    """Where a loss comes from: each recipe's Keras model and its files; None without a recipe."""
    results, main = run.results, metric.of(run.results)
    columns = (
        Column("Recipe", numeric=False),
        Column("Keras model", main.difference_unit),
        Column("File", numeric=False),
        Column("File", main.difference_unit),
        Column("By the export", main.difference_unit),
    )
    known = {model.name: model for model in (results.baseline, *results.models)}
    rows = tuple(
        _model_row(run, known[entry.model], entry)
        for entry in results.artifacts
        if entry.model in known
    )
    note = (
        f"{main.title} minus the baseline's. A compressed Keras model loses in training what its "
        "files cannot give back; the rest is the export's: rounding to the format, and the "
        "runtime's arithmetic."
    )
    compressed = any(entry.model != results.baseline.name for entry in results.artifacts)
    return Table("Compression or export?", columns, rows, note) if rows and compressed else None


def _model_row(run: Run, model: ArtifactResult, entry: ArtifactResult) -> tuple[Cell, ...]:
    main = metric.of(run.results)
    return (
        Cell(model.name),
        _difference(model, main),
        Cell(entry.name),
        _difference(entry, main),
        _by_export(run, model, entry),
    )


def _by_export(run: Run, model: ArtifactResult, entry: ArtifactResult) -> Cell:
    """The file against the Keras model that it was made from: paired where the answers are kept."""
    if {model.name, entry.name} <= set(run.answers):
        versus = statistics.compare_right(
            run.answers[entry.name].right, run.answers[model.name].right
        )
        interval = text.points_interval(versus.difference_interval)
        return Cell(text.points(versus.difference), interval)
    ours, theirs = metric.figure(entry).value, metric.figure(model).value
    known = ours is not None and theirs is not None
    return Cell(metric.of(run.results).signed((ours or 0) - (theirs or 0) if known else None))


def _format(entry: ArtifactResult) -> str:
    if entry.path is None and entry.format in (None, "keras"):
        return "Keras model"
    return entry.format or text.MISSING


def _distinct(entry: ArtifactResult) -> str:
    return "" if entry.distinct_weights is None else f"{entry.distinct_weights:,} distinct"


def _size(size_bytes: int | None, reference_bytes: int | None) -> Cell:
    value = comparison.ratio(reference_bytes, size_bytes)
    return Cell(text.kib(size_bytes), text.ratio(value) if value else "")


def with_interval(value: str, render: Any, interval: Any) -> Cell:
    """A figure with its interval in smaller type, where there is one."""
    return Cell(value, render(interval) if interval is not None else "")


def _parity(parity: Parity | None) -> Cell:
    if parity is None:
        return Cell(text.MISSING)
    if parity.top1_agreement is None:
        return Cell(f"{parity.mean_difference:.2g}", f"max {parity.max_difference:.2g}")
    return Cell(text.percent(parity.top1_agreement), f"max {parity.max_difference:.2g}")


def _latency(entry: ArtifactResult, setting: Setting | None) -> Cell:
    latency = comparison.latency_in(entry, setting)
    if latency is None:
        return Cell(text.MISSING)
    shown = f"{text.milliseconds(latency.p50)} / {text.milliseconds(latency.p90)}"
    return Cell(shown, _noise(latency))


def _integer_operators(entry: ArtifactResult) -> Cell:
    if entry.operators is None or entry.integer_operators is None:
        return Cell(text.MISSING)
    return Cell(f"{entry.integer_operators} of {entry.operators}")


def latencies(results: Results) -> Table | None:
    """Every timed setting of every file; None where nothing was timed."""
    rows = tuple(
        (
            Cell(entry.name),
            Cell(each.runtime),
            Cell(str(each.threads)),
            Cell(str(each.batch)),
            Cell(text.milliseconds(each.p50), _noise(each)),
            Cell(text.milliseconds(each.p90)),
            Cell(_range(each.round_p50)),
            Cell(text.milliseconds(each.first_call)),
            Cell(text.milliseconds(each.load)),
            Cell(text.count(each.samples)),
        )
        for entry in (results.baseline, *results.artifacts)
        for each in entry.latency_ms
    )
    columns = (
        Column("Name", numeric=False),
        Column("Runtime", numeric=False),
        Column("Threads"),
        Column("Batch"),
        Column("p50", "ms"),
        Column("p90", "ms"),
        Column("Rounds' p50", "ms, least to greatest"),
        Column("First call", "ms"),
        Column("Load", "ms"),
        Column("Samples"),
    )
    return Table("Latency", columns, rows) if rows else None


def lengths(results: Results) -> Table | None:
    """Every length of text that a file takes: parity and latency; None where there is one."""
    counts = results.data.test_by_length
    rows = [
        (
            Cell(entry.name),
            Cell(length),
            Cell(text.count(counts[length])),
            _parity(parity),
            _beside(latency, _at_length(entry, max(counts, key=int))),
            Cell(text.MISSING if latency is None else text.milliseconds(latency.p90)),
        )
        for entry in results.artifacts
        for length, parity in zip(counts, (*entry.shorter_parity, entry.parity), strict=False)
        for latency in [_at_length(entry, length)]
    ]
    columns = (
        Column("Name", numeric=False),
        Column("Tokens"),
        Column("Test texts", "that are filled up to it"),
        Column("Parity", "mean difference" if results.data.targets else "% same class"),
        Column("p50", "ms"),
        Column("p90", "ms"),
    )
    note = (
        "A file reads each text at the shortest length that holds it, in the test as in use. "
        "Parity is of validation texts, all of them cut to the length."
    )
    return Table("Lengths of texts", columns, tuple(rows), note) if rows else None


def _beside(latency: Latency | None, longest: Latency | None) -> Cell:
    """A median, and how many times faster it is than at the greatest length."""
    if latency is None:
        return Cell(text.MISSING)
    value = None if latency is longest else comparison.times_faster(latency, longest)
    ratio = "" if value is None else text.ratio(value)
    return Cell(text.milliseconds(latency.p50), _noise(latency) or ratio)


def _at_length(entry: ArtifactResult, length: str) -> Latency | None:
    ending = f"length={length})"
    return next((each for each in entry.latency_ms if each.runtime.endswith(ending)), None)


def _range(values: tuple[float, ...]) -> str:
    if not values:
        return text.MISSING
    return f"{text.milliseconds(min(values))} to {text.milliseconds(max(values))}"


def origins(results: Results) -> Table | None:
    """Where each file lies and its SHA-256; None without a file."""
    columns = (
        Column("Name", numeric=False),
        Column("Path in the run folder", numeric=False),
        Column("SHA-256", numeric=False),
    )
    rows = tuple(
        (Cell(entry.name), Cell(entry.path or text.MISSING), Cell(entry.sha256 or text.MISSING))
        for entry in results.artifacts
    )
    return Table("Paths and checksums", columns, rows) if rows else None
