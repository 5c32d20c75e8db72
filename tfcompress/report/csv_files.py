"""A run's figures as CSV, for a spreadsheet or a notebook: fractions, bytes and milliseconds.

Knows which figures stand in which column; none is rounded, and absent is empty. Does not know where
the files lie.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfcompress import statistics
from tfcompress.report import class_changes, judgement
from tfcompress.report.analysis import Judged
from tfcompress.report.run import Run
from tfcompress.results import ArtifactResult, Interval, Metric

_PLAIN = (
    "name",
    "format",
    "model",
    "path",
    "sha256",
    "size_bytes",
    "gzip_size_bytes",
    "parameters",
    "macs",
    "sparsity",
    "distinct_weights",
    "integer_operators",
    "operators",
    "accuracy",
    "difference",
    "gained",
    "lost",
    "p_value",
    "peak_memory_bytes",
)


def tables(run: Run) -> Mapping[str, str]:
    """The texts of the CSV files of a run, by name: `files`, `classes`, `latencies`, `epochs`."""
    found = {
        "files": _files(run),
        "classes": _classes(run),
        "latencies": _latencies(run),
        "epochs": _epochs(run),
    }
    return {name: _text(rows) for name, rows in found.items() if rows}


def _files(run: Run) -> list[dict[str, Any]]:
    answers = judgement.judge(run.results)
    entries = (run.results.baseline, *run.results.models, *run.results.artifacts)
    return [_file(each, run.judged.get(each.name), answers.get(each.name)) for each in entries]


def _file(
    entry: ArtifactResult, judged: Judged | None, answer: judgement.Judgement | None
) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(entry, name) for name in _PLAIN}
    row["stages"] = "+".join(entry.stages)
    row |= _interval("accuracy", entry.accuracy_interval)
    row |= _interval("difference", entry.difference_interval)
    row["answer"] = answer.answer if answer else None
    row["p_value_corrected"] = answer.p_value if answer else None
    row["detectable_difference"] = answer.detectable if answer else None
    for metric in entry.metrics:
        row |= _metric(metric)
    if judged is not None:
        row |= _confidence(judged)
    return row


def _metric(metric: Metric) -> dict[str, float | None]:
    name = metric.name
    return {
        name: metric.value,
        **_interval(name, metric.interval),
        f"{name}_difference": metric.difference,
        **_interval(f"{name}_difference", metric.difference_interval),
        f"{name}_p_value": metric.p_value,
    }


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _confidence(judged: Judged) -> dict[str, Any]:
    plain, scaled = judged.calibration, judged.calibrated
    figures = ("mean_confidence", "nll", "brier", "ece", "aurc")
    row = {name: getattr(plain, name) for name in figures}
    row["temperature"] = scaled.temperature if scaled else None
    row |= {f"{name}_scaled": getattr(scaled, name) if scaled else None for name in figures[:-1]}
    row["nll_change"] = judged.nll_change.difference if judged.nll_change else None
    row |= _interval("nll_change", judged.nll_change.interval if judged.nll_change else None)
    row["churn"] = judged.flips.churn if judged.flips else None
    return row


def _classes(run: Run) -> list[dict[str, Any]]:
    names = run.results.data.classes
    rows: list[dict[str, Any]] = [
        {
            "name": judged.name,
            "class": names[change.label],
            "examples": change.examples,
            "baseline_accuracy": change.baseline,
            "accuracy": change.accuracy,
            "change": change.change,
            "p_value": change.p_value,
        }
        for judged in run.files
        for change in judged.class_changes or ()
    ]
    adjusted = statistics.holm(class_changes.p_values(run)).ravel()
    for row, p_value in zip(rows, adjusted, strict=True):
        row["p_value_corrected"] = judgement.known(float(p_value))
    return rows


def _latencies(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "runtime": each.runtime,
            "threads": each.threads,
            "batch": each.batch,
            "p50_ms": each.p50,
            "p90_ms": each.p90,
            "p99_ms": each.p99,
            "first_call_ms": each.first_call,
            "load_ms": each.load,
            "samples": each.samples,
            "rounds_p50_ms": " ".join(map(str, each.round_p50)),
            "steady": each.steady,
            "reason": each.reason,
        }
        for entry in (run.results.baseline, *run.results.artifacts)
        for each in entry.latency_ms
    ]


def _epochs(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage.name,
            "epoch": index + 1,
            "kept": index == stage.best_epoch,
            **{
                name: int(value) if name in ("examples", "peak_memory_bytes") else value
                for name, value in metrics.items()
            },
        }
        for stage in run.results.stages
        for index, metrics in enumerate(stage.history)
    ]


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of all rows, in the order in which they first stand."""
    return list(dict.fromkeys(name for row in rows for name in row))
