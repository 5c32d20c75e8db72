"""A trained model that is made to lose one class is found out: which class, and that it is real."""

from __future__ import annotations

import numpy as np

from tfcompress import statistics
from tfcompress.export import inference
from tfcompress.graph.rebuild import copied
from tfcompress.predictions import Predictions
from tfcompress.report import analysis

LOST = 4
LEVEL = 0.05


def predictions(model, digits):
    outputs = inference(model)(digits.inputs)
    return Predictions(outputs, digits.labels, np.arange(len(digits.labels)), "logits")


def without_a_class(model, label):
    changed = copied(model)
    kernel, bias = changed.layers[-1].get_weights()
    bias[label] = -1e3
    changed.layers[-1].set_weights([kernel, bias])
    return changed


def test_a_planted_loss_of_one_class_is_found(digits):
    baseline = predictions(digits.model, digits)
    found = predictions(without_a_class(digits.model, LOST), digits)
    judged = analysis.judge("altered", found, None, baseline=baseline, classes=10)
    corrected = statistics.holm([each.p_value for each in judged.class_changes])
    assert np.flatnonzero(corrected < LEVEL).tolist() == [LOST]
    assert judged.class_changes[LOST].accuracy == 0
    assert judged.flips.bad > 10 * judged.flips.good
    assert {each.true for each in judged.confusion_changes} == {LOST}
    versus = statistics.compare(found.outputs, baseline.outputs, digits.labels)
    assert versus.p_value < 1e-6
    assert versus.difference_interval.high < 0


def test_a_copy_is_found_equal(digits):
    baseline = predictions(digits.model, digits)
    judged = analysis.judge("copy", baseline, None, baseline=baseline, classes=10)
    assert judged.flips.churn == 0
    assert all(each.p_value == 1 for each in judged.class_changes)
    assert judged.confusion_changes == ()
