"""The figures of a row from stored predictions, by hand."""

import numpy as np
import pytest

from tfcompress import judging
from tfcompress.predictions import Predictions
from tfcompress.results import ArtifactResult

LABELS = np.arange(40, dtype=np.float32)[:, None]
ROW = ArtifactResult("a")


def values(errors, labels=LABELS):
    outputs = labels + np.asarray(errors, np.float32).reshape(len(labels), -1)
    return Predictions(outputs, labels, np.arange(len(labels)), "values")


def test_errors_and_their_paired_difference_by_hand():
    baseline, file = values(np.tile([1.0, -1.0], 20)), values(np.tile([1.0, -3.0], 20))
    mae, rmse, r2 = judging.judged(ROW, file, baseline).metrics
    assert (mae.name, rmse.name, r2.name) == tuple(judging.FIGURES)
    assert (mae.value, mae.difference) == (2.0, 1.0)
    assert rmse.value == pytest.approx(np.sqrt(5))
    assert rmse.difference == pytest.approx(np.sqrt(5) - 1)
    # The variance of 0 ... 39 is (40^2 - 1) / 12 = 133.25.
    assert r2.value == pytest.approx(1 - 5 / 133.25)
    assert r2.difference == pytest.approx(-4 / 133.25)
    # Half of the images have a difference of 2: 1 +- 1.96 / sqrt(40).
    assert mae.difference_interval.low == pytest.approx(1 - 0.31, abs=0.06)
    assert mae.difference_interval.high == pytest.approx(1 + 0.31, abs=0.06)
    assert mae.p_value < 0.01


def test_the_baseline_has_no_difference():
    metrics = judging.judged(ROW, values(np.ones(40)), None).metrics
    assert all(m.difference is None and m.p_value is None for m in metrics)
    assert all(m.interval is not None for m in metrics)


def test_several_targets_are_averaged_and_told_apart():
    labels = np.concatenate([LABELS, 2 * LABELS], axis=1)
    errors = np.stack([np.full(40, 1.0), np.full(40, 3.0)], axis=1)
    metrics = {m.name: m.value for m in judging.value_metrics(values(errors, labels))}
    assert metrics["mean_absolute_error"] == 2.0
    assert metrics["mean_absolute_error/1"] == pytest.approx(3.0)
    assert metrics["r_squared/0"] == pytest.approx(1 - 1 / 133.25)


def test_r_squared_is_left_out_where_the_target_does_not_vary():
    names = [m.name for m in judging.value_metrics(values(np.ones(40), np.ones_like(LABELS)))]
    assert names == ["mean_absolute_error", "root_mean_squared_error"]


def test_classes_have_accuracy_and_no_metrics():
    outputs = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    found = Predictions(outputs, np.array([0, 1, 0, 0]), np.arange(4), "logits")
    row = judging.judged(ROW, found, found)
    assert (row.accuracy, row.difference, row.gained, row.metrics) == (0.75, 0, 0, ())
    assert judging.sentence(row).startswith("75.00% (")
    with pytest.raises(ValueError, match="not right or wrong"):
        _ = values(np.ones(40)).accuracy


def test_a_bootstrap_of_few_images_is_not_made():
    """Of one or two images every resample is alike, and any difference would look certain."""
    truth = np.arange(29, dtype=np.float32)[:, None]
    ids = np.arange(29)
    baseline = Predictions(truth + 2, truth, ids, "values")
    better = Predictions(truth + 1, truth, ids, "values")
    few = judging.value_metrics(better, baseline)[0]
    assert (few.value, few.interval, few.difference, few.p_value) == (1.0, None, None, None)
    whole = np.arange(30, dtype=np.float32)[:, None]
    many = Predictions(whole + 2, whole, np.arange(30), "values")
    assert judging.value_metrics(many)[0].interval is not None
