"""Reference values: scikit-learn, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from tfcompress import statistics


@pytest.fixture(scope="module", params=[1, 3], ids=["one target", "three targets"])
def predicted(request):
    generator = np.random.default_rng(0)
    targets = generator.normal(size=[200, request.param]) * [1, 10, 100][: request.param]
    return (targets + generator.normal(size=targets.shape)).astype(np.float32), targets


def test_errors_match_scikit_learn(predicted):
    outputs, targets = predicted
    found = statistics.summarize_regression(outputs, targets)
    assert found.examples == 200
    for value, reference in (
        (found.mean_absolute_error, metrics.mean_absolute_error),
        (found.root_mean_squared_error, metrics.root_mean_squared_error),
        (found.r_squared, metrics.r2_score),
    ):
        assert value == pytest.approx(reference(targets, outputs.astype(float)), abs=1e-9)


def test_errors_of_examples_have_the_error_as_their_mean(predicted):
    outputs, targets = predicted
    errors = statistics.absolute_errors(outputs, targets)
    assert errors.shape == (200,)
    assert errors.mean() == pytest.approx(statistics.mean_absolute_error(outputs, targets))


def test_one_target_may_stand_alone():
    outputs, targets = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 3.0])
    assert statistics.absolute_errors(outputs, targets).tolist() == [0.0, 0.0, 1.0]
    assert statistics.summarize_regression(outputs, targets) == statistics.summarize_regression(
        outputs[:, 0], targets[:, None]
    )


def test_a_model_that_says_the_mean_accounts_for_nothing():
    assert statistics.r_squared(np.full(4, 2.5), np.arange(1.0, 5.0)) == 0.0
    assert statistics.r_squared(np.arange(4.0, 0.0, -1), np.arange(1.0, 5.0)) == -3.0


def test_errors_can_be_resampled():
    generator = np.random.default_rng(0)
    targets, noise = generator.normal(size=[2, 300])
    worse, better = targets + noise, targets + 0.5 * noise
    found = statistics.paired_bootstrap(
        statistics.r_squared, (worse, targets), (better, targets), resamples=200
    )
    assert found.difference < found.interval.high < 0
    found = statistics.paired_bootstrap(
        "mean",
        statistics.absolute_errors(worse, targets),
        statistics.absolute_errors(better, targets),
    )
    assert found.interval.low > 0


def test_r_squared_refuses_targets_that_do_not_vary():
    with pytest.raises(ValueError, match=r"the same value 2.0 in all 3 examples of target 1"):
        statistics.r_squared(np.zeros([3, 2]), np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]))


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (np.zeros([3, 2]), np.zeros(3), r"\[3, 2\] and \[3\]"),
        (np.zeros([3, 1]), np.zeros(4), r"\[3, 1\] and \[4\]"),
        (np.zeros([0, 1]), np.zeros(0), r"\[0, 1\]"),
        (np.array([np.nan, 1.0]), np.zeros(2), "Outputs are not finite in 1 of 2"),
        (np.zeros(2), np.array([np.inf, 1.0]), "Targets are not finite in 1 of 2"),
    ],
    ids=["targets", "lengths", "empty", "nan", "inf"],
)
def test_errors_refuse_what_does_not_fit(outputs, targets, message):
    with pytest.raises(ValueError, match=message):
        statistics.absolute_errors(outputs, targets)
