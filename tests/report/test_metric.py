"""The main figure of a run: which it is, which way is better, how it reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfcompress.predictions import Predictions
from tfcompress.report import (
    csv_files,
    figures,
    judgement,
    metric,
    repetitions,
    run,
    seeds,
    side_by_side,
    trade_off,
    trade_off_chart,
    verdict,
)
from tfcompress.results import ArtifactResult, Interval, Metric


def error(value, difference=None, half=0.1, p_value=0.5):
    around = Interval(value - 0.5, value + 0.5)
    if difference is None:
        return (Metric("mean_absolute_error", value, around),)
    ends = Interval(difference - half, difference + half)
    return (Metric("mean_absolute_error", value, around, difference, ends, p_value),)


@pytest.fixture
def measured(example):
    """The example as a regression: no accuracy, errors of 4 degrees."""

    def without_accuracy(entry, metrics):
        return dataclasses.replace(
            entry,
            accuracy=None,
            accuracy_interval=None,
            difference=None,
            difference_interval=None,
            p_value=None,
            gained=None,
            lost=None,
            predictions=None,
            validation_predictions=None,
            metrics=metrics,
        )

    found = {
        "baseline-float32": error(4.0, 0.0),
        "baseline-int8": error(4.05, 0.05),
        "prune+qat-float32": error(4.6, 0.6, p_value=0.001),
        "prune+qat-int8": error(4.7, 0.7, p_value=0.001),
    }
    data = dataclasses.replace(example.data, classes=(), targets=("angle_degrees",))
    return dataclasses.replace(
        example,
        data=data,
        baseline=without_accuracy(example.baseline, error(4.0)),
        artifacts=tuple(without_accuracy(e, found[e.name]) for e in example.artifacts),
        models=(),
    )


def test_less_error_is_a_gain():
    entry = ArtifactResult("a", metrics=error(4.0, -0.3))
    found = metric.figure(entry)
    assert (found.difference, found.gain) == (-0.3, 0.3)
    assert (found.gain_interval.low, found.gain_interval.high) == pytest.approx((0.2, 0.4))
    assert metric.level(entry) == (-4.0, -4.5, -3.5)


def test_an_accuracy_is_its_own_gain(example):
    entry = example.artifacts[1]
    assert metric.figure(entry).gain == entry.difference
    assert metric.level(entry)[0] == 100 * entry.accuracy
    assert metric.of(example) is metric.ACCURACY


def test_units_and_digits_are_those_of_the_target(measured):
    main = metric.of(measured)
    assert main.heading == "Mean absolute error, angle_degrees"
    assert (main.show(4.0512), main.signed(-0.05121)) == ("4.051", "\u22120.0512")


def test_larger_errors_are_worse(measured):
    judged = judgement.judge(measured)
    assert judged["baseline-int8"].answer == judgement.NOT_SHOWN
    assert judged["prune+qat-int8"].answer == judgement.WORSE
    sentence = judgement.sentence(measured.artifacts[-1], measured)
    assert "mean absolute error difference +0.7000 angle_degrees" in sentence
    assert sentence.endswith("worse by 0.7000 angle_degrees")


def test_the_verdict_is_the_smallest_file_without_larger_errors(measured):
    found = verdict.reach(measured)
    assert found.chosen.name == "baseline-int8"
    assert "a loss of up to 0.1500 angle_degrees is not excluded" in found.remarks[0]
    assert "prune+qat-int8" in found.remarks[1]
    assert found.cards[-1].label == "angle_degrees of mean absolute error, less is better"


def test_a_baseline_that_explains_nothing_is_told(measured):
    explained = Metric("r_squared", 0.01, Interval(-0.02, 0.04))
    baseline = dataclasses.replace(
        measured.baseline, metrics=(*measured.baseline.metrics, explained)
    )
    told = " ".join(verdict.reach(dataclasses.replace(measured, baseline=baseline)).remarks)
    assert "better than always saying the mean" in told


def test_the_figure_has_small_errors_on_top(measured, tmp_path):
    points = {p.name: p for p in trade_off.size_points(measured)}
    assert points["baseline-int8"].accuracy > points["prune+qat-int8"].accuracy
    low, high = trade_off_chart._accuracy_range(
        list(points.values()), measured.baseline, trade_off.Limits()
    )
    assert low < -4.7 < -4.0 < high <= 0.5
    drawn = figures.draw_all(run.Run(tmp_path, measured, {}))
    by_name = {each.name: each for each in drawn}
    assert by_name["accuracy-size"].title == "Mean absolute error against size"
    assert "Up, where errors are smaller," in by_name["accuracy-size"].description


def test_over_seeds_less_error_is_better(measured):
    def repeated(seed):
        def shifted(entry, by):
            (main,) = entry.metrics
            moved = dataclasses.replace(main, value=main.value + by)
            return dataclasses.replace(entry, metrics=(moved,))

        by = 0.01 * seed
        return dataclasses.replace(
            measured,
            config={**measured.config, "seed": seed},
            baseline=shifted(measured.baseline, by),
            artifacts=tuple(
                shifted(e, by * (2 if "qat" in e.name else 1)) for e in measured.artifacts
            ),
        )

    runs = [repeated(seed) for seed in range(3)]
    by_name = {each.name: each for each in seeds.over_seeds(runs)}
    assert by_name["prune+qat-int8"].answer == judgement.WORSE
    assert by_name["prune+qat-int8"].difference.mean == pytest.approx(-0.71)
    table = seeds.across_seeds(runs)
    assert table.columns[1].title == "Mean absolute error"
    row = next(row for row in table.rows if row[0].value == "prune+qat-int8")
    assert row[1].value == "4.720 ± 0.020"
    assert row[2].detail.startswith("+0.6")
    folders = [run.Run(Path(str(seed)), each, {}) for seed, each in enumerate(runs)]
    said = repetitions.contents(folders).verdict.remarks[0]
    assert said.startswith("Mean absolute error difference +")


def test_the_figures_of_a_regression_stand_in_the_csv(measured, tmp_path):
    text = csv_files.tables(run.Run(tmp_path, measured, {}))["files"]
    heading, _, *rows = text.splitlines()
    assert "mean_absolute_error_difference_low" in heading
    assert any(row.startswith("prune+qat-int8") and ",4.7," in row for row in rows)


def predicted(folder, name, offset):
    """Values that are off by `offset`, and by a little more or less from image to image."""
    truth = np.linspace(-45, 45, 400, dtype=np.float32)[:, None]
    noise = np.random.default_rng(0).uniform(0, 1, truth.shape).astype(np.float32)
    Predictions(truth + offset + noise, truth, np.arange(400), "values").save(folder / name)


def test_other_settings_stand_side_by_side(measured, tmp_path):
    """The second run's file is off by two degrees more than the first run's baseline."""
    runs = []
    for name, offset in (("one", 0.0), ("two", 2.0)):
        folder = tmp_path / name
        predicted(folder, "predictions/baseline.npz", 0.0)
        predicted(folder, "predictions/file.npz", offset)
        baseline = dataclasses.replace(measured.baseline, predictions="predictions/baseline.npz")
        file = dataclasses.replace(measured.artifacts[1], predictions="predictions/file.npz")
        results = dataclasses.replace(
            measured, baseline=baseline, artifacts=(file,), config={"epochs": len(name), "x": name}
        )
        runs.append(run.Run(folder, results))
    found = side_by_side.contents(runs)
    rows = {(row[0].value, row[1].value): row for row in found.files.rows}
    assert set(rows) == {("A", "baseline-int8"), ("B", "baseline"), ("B", "baseline-int8")}
    assert rows["B", "baseline-int8"][5].value.startswith("+2.0")
    assert rows["B", "baseline-int8"][6].value == "worse"
    assert rows["A", "baseline-int8"][6].value == "no difference shown"
    assert found.verdict.headline.startswith("A: baseline-int8 is the smallest file")
