"""The tables about a run itself: its data, its training, its layers, its machine.

Knows which figures stand in which column and how a missing one reads. Does not know any markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfcompress import level_search
from tfcompress.layer_coverage import Coverage
from tfcompress.report import comparison, metric, text
from tfcompress.report.tables import Cell, Column, Table, pairs, settings, without_empty
from tfcompress.results import CompressionReport, GivenUp, LayerReport, Results, StageResult


def stages(results: Results) -> Table | None:
    """What was trained: epochs, the epoch kept, seconds; None where nothing was."""
    main, examples = metric.of(results), results.data.examples
    columns = (
        Column("Stage", numeric=False),
        Column("Technique", numeric=False),
        Column("Epochs"),
        Column("Best epoch"),
        Column(f"Validation {main.noun}", f"{main.unit}, best epoch"),
        Column("Validation loss", "best epoch"),
        Column("Layers treated"),
        Column("Time"),
        Column(f"{examples.capitalize()} a second", "trained on"),
        Column("Memory", "MiB, peak"),
        Column("Energy", "kJ"),
    )
    rows = tuple(_stage_row(stage, main) for stage in results.stages)
    note = (
        "Epochs count from 1. The best epoch is chosen on the validation split, never on test. "
        f"{examples.capitalize()} a second: those trained on, by the wall time of the epochs, "
        "validation included. "
        "Memory: the greatest resident size of the process in an epoch. Energy: of the processors "
        "and GPUs, where they count it."
    )
    return without_empty(Table("Stages", columns, rows, note)) if rows else None


def _stage_row(stage: StageResult, main: metric.MainMetric) -> tuple[Cell, ...]:
    best = stage.best_epoch
    kept = stage.history[best] if best is not None and best < len(stage.history) else {}
    loss = kept.get("val_loss")
    return (
        Cell(stage.name),
        Cell(stage.technique),
        Cell(str(len(stage.history)) if stage.history else text.MISSING),
        Cell(text.MISSING if best is None else str(best + 1)),
        Cell(main.show(kept.get(f"val_{main.in_history}"))),
        Cell(text.MISSING if loss is None else f"{loss:.4f}"),
        Cell(_treated(stage.report)),
        Cell(text.duration(stage.seconds)),
        *_cost(stage),
    )


def _cost(stage: StageResult) -> tuple[Cell, Cell, Cell]:
    """Of the epochs: what was not recorded for every one of them is missing."""
    examples, seconds = _total(stage, "examples"), _total(stage, "seconds")
    joules = _total(stage, "energy_joules")
    peaks = [epoch.get("peak_memory_bytes") for epoch in stage.history]
    known = [peak for peak in peaks if peak is not None]
    return (
        Cell(f"{examples / seconds:,.0f}" if examples and seconds else text.MISSING),
        Cell(text.mib(max(known)) if known and len(known) == len(peaks) else text.MISSING),
        Cell(text.MISSING if joules is None else f"{joules / 1000:,.1f}"),
    )


def _total(stage: StageResult, name: str) -> float | None:
    values = [epoch.get(name) for epoch in stage.history]
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _treated(report: CompressionReport | None) -> str:
    if report is None:
        return text.MISSING
    return f"{sum(layer.treated for layer in report.layers)} of {len(report.layers)}"


def _whether_treated(layer: LayerReport) -> str:
    if layer.treated:
        done = f"in part: {layer.reason}" if layer.reason else "yes"
        return f"{done}, {layer.detail}" if layer.detail else done
    return f"no: {layer.reason or 'no reason recorded'}"


def levels(stage: StageResult) -> Table | None:
    """Every level that a stage tried; None for a stage that did not search for one."""
    if not stage.levels:
        return None
    allowed = text.points(stage.config.get("search", {}).get("max_drop")).lstrip("+")
    name = _setting(stage.levels)
    note = f"The {name} is taken as far as {allowed} points of validation accuracy allow"
    return _levels(stage.name, stage.levels, note)


def refused_levels(given_up: Sequence[GivenUp]) -> list[Table]:
    """Every level that recipes tried in vain, once where two of them begin with the same search."""
    # Those that begin alike have the very trials, with their times.
    searches: dict[tuple[level_search.LevelTrial, ...], str] = {}
    for each in given_up:
        if each.levels:
            searches.setdefault(each.levels, each.recipe)
    note = "No level keeps within the drop of validation accuracy that is allowed"
    return [_levels(name, tried, note) for tried, name in searches.items()]


def _setting(tried: Sequence[level_search.LevelTrial]) -> str:
    return tried[0].setting.replace("_", " ")


def _levels(of: str, tried: Sequence[level_search.LevelTrial], said: str) -> Table:
    name = _setting(tried)
    columns = (
        Column("Step"),
        Column(name[0].upper() + name[1:]),
        Column("Validation accuracy", "%"),
        Column("Change", "points, against the baseline"),
        Column("Epochs"),
        Column("Time"),
        Column("Outcome", numeric=False),
    )
    kept = level_search.kept(tried)
    rows = tuple(
        (
            Cell(str(number)),
            Cell(f"{trial.value:g}"),
            Cell(text.percent(trial.accuracy)),
            Cell(text.points(None if trial.drop is None else -trial.drop)),
            Cell(str(trial.epochs) if trial.epochs else text.MISSING),
            Cell(text.duration(trial.seconds)),
            Cell(_outcome(trial, kept)),
        )
        for number, trial in enumerate(tried, start=1)
    )
    note = f"{said}; the test split has no part in it."
    marked = tried.index(kept) if kept else None
    return Table(f"Levels of {of}", columns, rows, note, marked)


def _outcome(trial: level_search.LevelTrial, kept: level_search.LevelTrial | None) -> str:
    if trial == kept:
        return "kept"
    if trial.note:
        return f"not trained: {trial.note}"
    return "holds" if trial.held else "too much"


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
        (
            ("Targets", _shorten(record.targets))
            if record.targets
            else ("Classes", f"{len(record.classes)}: {_shorten(record.classes)}")
        ),
        *(
            (f"{record.examples.capitalize()}, {split}", text.count(size))
            for split, size in record.split_sizes.items()
        ),
        ("Validation split", "as published" if record.published_validation else "of train"),
        ("Input of the network", _input(results)),
        ("Parameters of the baseline", text.count(results.baseline.parameters)),
        (
            f"Multiply-accumulates of the baseline, one {record.example}",
            text.count(results.baseline.macs),
        ),
    ]
    if results.evaluation_speed is not None:
        rows += _evaluation_rows(results)
    return pairs("Data and model", rows)


def _input(results: Results) -> str:
    for stage in results.stages:
        if preprocessing := stage.config.get("preprocessing"):
            if "tokenizer_sha256" in preprocessing:
                lengths = (*preprocessing.get("shorter", ()), preprocessing["length"])
                words = text.count(preprocessing["vocabulary"])
                return f"{' or '.join(map(str, lengths))} ids of tokens, of {words}"
            shape = "x".join(str(size) for size in preprocessing["image_shape"])
            return f"{shape} (height, width, channels), {preprocessing['channel_order']}"
    return text.MISSING


def _evaluation_rows(results: Results) -> list[tuple[str, str]]:
    speed = results.evaluation_speed
    assert speed is not None
    return [
        (
            f"Evaluation of {speed.artifact}",
            f"{speed.batched:,.0f} {results.data.examples} a second in batches of {speed.batch}, "
            f"{speed.single:,.0f} one at a time "
            f"({text.ratio(comparison.ratio(speed.batched, speed.single))})",
        )
    ]


def environment(results: Results) -> Table | None:
    """Versions, processor, memory, threads, GPU, commit."""
    record = {
        key.replace("_bytes", " (MiB)"): text.mib(value)
        if key.endswith("_bytes") and isinstance(value, int)
        else value
        for key, value in results.environment.items()
    }
    return settings(record, title="Environment")


def _shorten(names: tuple[str, ...], limit: int = 12) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, and {len(names) - limit} more"
