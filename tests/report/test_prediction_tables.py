"""What changed, and whether confidence holds, for figures known beforehand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfcompress import statistics
from tfcompress.predictions import Predictions
from tfcompress.report import analysis, file_tables, prediction_tables, text
from tfcompress.report.run import Run
from tfcompress.results import ArtifactResult

LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 2])


def predictions(predicted, confidence=0.8):
    outputs = np.full((8, 3), (1 - confidence) / 2)
    outputs[np.arange(8), predicted] = confidence
    return Predictions(outputs.astype(np.float32), LABELS, np.arange(8), "probabilities")


BASELINE = predictions([0, 1, 1, 1, 2, 2, 2, 0])
FILE = predictions([0, 0, 1, 0, 2, 2, 0, 1])


@pytest.fixture
def run(tmp_path, example):
    """Three classes, eight images: one gained, two lost, one wrong in another way."""
    data = dataclasses.replace(example.data, classes=("ant", "bee", "cat"))
    judged = {
        "baseline": analysis.judge("baseline", BASELINE, BASELINE, baseline=None, classes=3),
        "file": analysis.judge("file", FILE, None, baseline=BASELINE, classes=3),
    }
    return Run(tmp_path, dataclasses.replace(example, data=data), judged, judged)


def cells(table, name):
    row = next(row for row in table.rows if row[0].value == name)
    return [cell.value for cell in row[1:]]


def test_what_changed(run):
    table = prediction_tables.flips(run)
    assert [row[0].value for row in table.rows] == ["file"]
    assert cells(table, "file") == [
        "50.00",
        "2",
        "1",
        "1",
        "ant taken for bee: 1 to 0; bee taken for ant: 0 to 1; cat taken for bee: 0 to 1",
    ]


def test_calibration(run):
    table = prediction_tables.calibration(run)
    accuracy, confidence, error, nll, change, brier, *rest = cells(table, "file")
    assert (accuracy, confidence, error) == ("62.50", "80.00", "17.50")
    # Five right at 0.8, three wrong at 0.1.
    assert nll == f"{-(5 * np.log(0.8) + 3 * np.log(0.1)) / 8:.4f}"
    assert brier == f"{(5 * (0.04 + 0.01 * 2) + 3 * (0.64 + 0.81 + 0.01)) / 8:.4f}"
    # The baseline has six right at 0.8, two wrong at 0.1: one loss of ln 8 more for the file.
    assert change == f"+{np.log(8) / 8:.4f}"
    assert rest[0] == "\u2013"
    # 6 of 8 right: a temperature that makes confidence 0.75 leaves no error.
    row = table.rows[0]
    assert (row[0].value, row[2].detail, row[3].detail) == ("baseline", "75.00", "0.00")
    assert float(row[7].value) > 1


def test_a_validation_split_without_a_mistake_gives_no_temperature():
    perfect = predictions(LABELS)
    found = analysis.judge("x", FILE, perfect, baseline=None, classes=3)
    assert found.calibrated is None


def test_what_the_export_took_by_hand(run):
    """The Keras model has one image right that its file has wrong, and none the other way."""
    keras_model = predictions([0, 0, 1, 0, 2, 2, 2, 1])
    model = ArtifactResult("prune", format="keras", stages=("prune",), difference=0.0)
    file = ArtifactResult("file", model="prune", format="int8", stages=("prune",))
    whole = dataclasses.replace(
        run,
        results=dataclasses.replace(run.results, models=(model,), artifacts=(file,)),
        answers={**run.answers, "prune": analysis.answers("prune", keras_model)},
    )
    (row,) = file_tables.models(whole).rows
    interval = statistics.paired_difference_interval(0, 1, 8)
    assert row[-1].value == "\u221212.50"
    assert row[-1].detail == text.points_interval(interval)
    assert file_tables.models(run) is None
