"""The tables of a report, as data: the same cells go to Markdown, HTML and the terminal.

Knows which figures stand in which column and how a missing one reads. Does not know any markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress.layer_coverage import Coverage
from tfcompress.report import comparison, text
from tfcompress.report.comparison import Setting
from tfcompress.results import (
    ArtifactResult,
    CompressionReport,
    LayerReport,
    Parity,
    Results,
    StageResult,
)


@dataclass(frozen=True)
class Cell:
    """A figure and, in smaller type, what belongs to it (an interval, a setting)."""

    value: str
    detail: str = ""


@dataclass(frozen=True)
class Column:
    """A heading; figures stand to the right, names to the left."""

    title: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A titled table.

    Attributes:
      title: heading.
      columns: one for each cell of a row.
      rows: cells in column order.
      note: a sentence below the table.
      marked: index of the row to point out; None for none.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    marked: int | None = None


def artifacts(results: Results) -> Table:
    """One row for the baseline and one for each file, in the order of the results."""
    base, setting = comparison.reference(results), comparison.common_setting(results)
    entries = (results.baseline, *results.artifacts)
    chosen = comparison.verdict(results).chosen
    columns = (
        Column("Name", numeric=False),
        Column("Format", numeric=False),
        Column("Stored", "KiB"),
        Column("Gzipped", "KiB"),
        Column("Accuracy", "%"),
        Column("Difference", "points"),
        Column("p"),
        Column("Parity", "% same class"),
        Column("Latency", "ms, p50 / p90"),
        Column("Memory", "MiB, peak"),
        Column("Integer", "operators"),
        Column("Zeros", "% of weights"),
    )
    return Table(
        title="Files",
        columns=columns,
        rows=tuple(_artifact_row(e, base=base, setting=setting) for e in entries),
        note=_artifacts_note(base, setting),
        marked=None if chosen is None else entries.index(chosen),
    )


def _artifact_row(
    entry: ArtifactResult, *, base: ArtifactResult | None, setting: Setting | None
) -> tuple[Cell, ...]:
    return (
        Cell(entry.name),
        Cell(_format(entry)),
        _size(entry.size_bytes, base.size_bytes if base else None),
        _size(entry.gzip_size_bytes, base.gzip_size_bytes if base else None),
        _with_interval(
            text.percent(entry.accuracy), text.percent_interval, entry.accuracy_interval
        ),
        _with_interval(
            text.points(entry.difference), text.points_interval, entry.difference_interval
        ),
        Cell(text.p_value(entry.p_value)),
        _parity(entry.parity),
        _latency(entry, setting),
        Cell(text.mib(entry.peak_memory_bytes)),
        _integer_operators(entry),
        Cell(text.percent(entry.sparsity, 1), _distinct(entry)),
    )


def _format(entry: ArtifactResult) -> str:
    if entry.path is None and entry.format in (None, "keras"):
        return "Keras model"
    return entry.format or text.MISSING


def _distinct(entry: ArtifactResult) -> str:
    return "" if entry.distinct_weights is None else f"{entry.distinct_weights:,} distinct"


def _artifacts_note(base: ArtifactResult | None, setting: Setting | None) -> str:
    sizes = (
        f"Ratios are to {base.name}: stored bytes to stored bytes, gzipped to gzipped."
        if base
        else "No float32 file of the baseline was exported, so sizes carry no ratio."
    )
    timing = f" Latency: {setting}." if setting else " Latency was not measured."
    return (
        f"{sizes}{timing} Ranges beside accuracy and difference are 95% intervals; "
        f"{text.MISSING} is not measured."
    )


def _size(size_bytes: int | None, reference_bytes: int | None) -> Cell:
    value = comparison.ratio(reference_bytes, size_bytes)
    return Cell(text.kib(size_bytes), text.ratio(value) if value else "")


def _with_interval(value: str, render: Any, interval: Any) -> Cell:
    return Cell(value, render(interval) if interval is not None else "")


def _parity(parity: Parity | None) -> Cell:
    if parity is None:
        return Cell(text.MISSING)
    return Cell(text.percent(parity.top1_agreement), f"max {parity.max_difference:.2g}")


def _latency(entry: ArtifactResult, setting: Setting | None) -> Cell:
    latency = comparison.latency_in(entry, setting)
    if latency is None:
        return Cell(text.MISSING)
    return Cell(f"{text.milliseconds(latency.p50)} / {text.milliseconds(latency.p90)}")


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
            Cell(text.milliseconds(each.p50)),
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


def _range(values: tuple[float, ...]) -> str:
    if not values:
        return text.MISSING
    return f"{text.milliseconds(min(values))} to {text.milliseconds(max(values))}"


def stages(results: Results) -> Table | None:
    """What was trained: epochs, the epoch kept, seconds; None where nothing was."""
    columns = (
        Column("Stage", numeric=False),
        Column("Technique", numeric=False),
        Column("Epochs"),
        Column("Best epoch"),
        Column("Validation accuracy", "%, best epoch"),
        Column("Validation loss", "best epoch"),
        Column("Layers treated"),
        Column("Time"),
    )
    rows = tuple(_stage_row(stage) for stage in results.stages)
    note = "Epochs count from 1. The best epoch is chosen on the validation split, never on test."
    return Table("Stages", columns, rows, note) if rows else None


def _stage_row(stage: StageResult) -> tuple[Cell, ...]:
    best = stage.best_epoch
    kept = stage.history[best] if best is not None and best < len(stage.history) else {}
    loss = kept.get("val_loss")
    return (
        Cell(stage.name),
        Cell(stage.technique),
        Cell(str(len(stage.history)) if stage.history else text.MISSING),
        Cell(text.MISSING if best is None else str(best + 1)),
        Cell(text.percent(kept.get("val_accuracy"))),
        Cell(text.MISSING if loss is None else f"{loss:.4f}"),
        Cell(_treated(stage.report)),
        Cell(text.duration(stage.seconds)),
    )


def _treated(report: CompressionReport | None) -> str:
    if report is None:
        return text.MISSING
    return f"{sum(layer.treated for layer in report.layers)} of {len(report.layers)}"


def _whether_treated(layer: LayerReport) -> str:
    if layer.treated:
        done = f"in part: {layer.reason}" if layer.reason else "yes"
        return f"{done}, {layer.detail}" if layer.detail else done
    return f"no: {layer.reason or 'no reason recorded'}"


def stage_settings(stage: StageResult) -> Table | None:
    """The settings of one stage."""
    return settings(stage.config, title=f"Settings of {stage.name}")


def layers(stage: StageResult) -> Table | None:
    """Each layer of a stage: treated, or skipped and why; None for a stage with no report."""
    if stage.report is None:
        return None
    columns = (
        Column("Layer", numeric=False),
        Column("Kind", numeric=False),
        Column("Trained parameters"),
        Column("Treated", numeric=False),
        Column("Zeros", "%"),
        Column("Distinct weights"),
    )
    rows = tuple(
        (
            Cell(layer.name),
            Cell(layer.kind),
            Cell(text.count(layer.parameters)),
            Cell(_whether_treated(layer)),
            Cell(text.percent(layer.sparsity, 1)),
            Cell(text.count(layer.distinct_weights)),
        )
        for layer in stage.report.layers
    )
    return Table(f"{stage.name}: {_treated(stage.report)} layers treated", columns, rows)


def coverage(found: Coverage) -> Table:
    """Each layer by technique: treated, or passed over and why."""
    (headings, *rows), reasons = found.grid()
    columns = tuple(
        Column(heading[:1].upper() + heading[1:] if index < 4 else heading, numeric=index in (2, 3))
        for index, heading in enumerate(headings)
    )
    cells = tuple(tuple(Cell(cell) for cell in row) for row in rows)
    return Table(f"Coverage of {found.model}", columns, cells, note="; ".join(reasons))


def data(results: Results) -> Table:
    """Which data was used and how it was split."""
    record = results.data
    rows = [
        ("Data set", record.name),
        ("Source", record.source),
        ("Classes", f"{len(record.classes)}: {_shorten(record.classes)}"),
        *((f"Images, {split}", text.count(size)) for split, size in record.split_sizes.items()),
        ("Input of the network", _input(results)),
        ("Parameters of the baseline", text.count(results.baseline.parameters)),
        ("Multiply-accumulates of the baseline, one image", text.count(results.baseline.macs)),
    ]
    if results.evaluation_speed is not None:
        rows += _evaluation_rows(results)
    return _pairs("Data and model", rows)


def _input(results: Results) -> str:
    for stage in results.stages:
        if preprocessing := stage.config.get("preprocessing"):
            shape = "x".join(str(size) for size in preprocessing["image_shape"])
            return f"{shape} (height, width, channels), {preprocessing['channel_order']}"
    return text.MISSING


def origins(results: Results) -> Table | None:
    """What made each file, its network's size, its path and SHA-256; None without a file."""
    columns = (
        Column("Name", numeric=False),
        Column("Techniques", numeric=False),
        Column("Parameters"),
        Column("Multiply-accumulates", "one image"),
        Column("Path in the run folder", numeric=False),
        Column("SHA-256", numeric=False),
    )
    rows = tuple(
        (
            Cell(entry.name),
            Cell("+".join(entry.stages) or "none"),
            Cell(text.count(entry.parameters)),
            Cell(text.count(entry.macs)),
            Cell(entry.path or text.MISSING),
            Cell(entry.sha256 or text.MISSING),
        )
        for entry in results.artifacts
    )
    return Table("Files in detail", columns, rows) if rows else None


def _evaluation_rows(results: Results) -> list[tuple[str, str]]:
    speed = results.evaluation_speed
    assert speed is not None
    return [
        (
            f"Evaluation of {speed.artifact}",
            f"{speed.batched:,.0f} images a second in batches of {speed.batch}, "
            f"{speed.single:,.0f} one at a time "
            f"({text.ratio(comparison.ratio(speed.batched, speed.single))})",
        )
    ]


def settings(record: Mapping[str, Any], *, title: str) -> Table | None:
    """A nested record as dotted names and values; None for an empty one."""
    rows = list(flatten(record))
    return _pairs(title, rows) if rows else None


def flatten(record: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted names and readable values of a nested record.

    Example:
      >>> list(flatten({"a": {"b": 1}, "c": [1, 2], "d": None, "e": ""}))
      [('a.b', '1'), ('c', '1, 2'), ('d', '–'), ('e', '–')]
    """
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            for index, item in enumerate(value):
                inner = item if isinstance(item, Mapping) else {"value": item}
                yield from flatten(inner, f"{name}[{index}].")
        else:
            yield name, _readable(value)


def _readable(value: Any) -> str:
    if value is None or value in ("", (), [], {}):
        return text.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_readable(item) for item in value)
    return str(value)


def environment(results: Results) -> Table | None:
    """Versions, processor, memory, threads, GPU, commit."""
    record = {
        key.replace("_bytes", " (MiB)"): text.mib(value)
        if key.endswith("_bytes") and isinstance(value, int)
        else value
        for key, value in results.environment.items()
    }
    return settings(record, title="Environment")


def _pairs(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    columns = (Column("", numeric=False), Column("", numeric=False))
    return Table(title, columns, tuple((Cell(name), Cell(value)) for name, value in rows))


def _shorten(names: tuple[str, ...], limit: int = 12) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, and {len(names) - limit} more"
