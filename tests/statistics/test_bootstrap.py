"""Reference values: scipy's bootstrap, simulated coverage, by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tfcompress import statistics


def r_squared(outputs, targets):
    return metrics.r2_score(targets, outputs)


@pytest.fixture(scope="module")
def losses():
    generator = np.random.default_rng(0)
    shared = generator.exponential(size=400)
    return shared + 0.1 * generator.exponential(size=400), shared


def test_the_fast_way_and_a_function_agree(losses):
    fast = statistics.paired_bootstrap("mean", *losses)
    slow = statistics.paired_bootstrap(np.mean, *losses)
    assert fast.difference == pytest.approx(np.mean(losses[0]) - np.mean(losses[1]), abs=1e-12)
    assert (fast.interval.low, fast.interval.high) == pytest.approx(
        (slow.interval.low, slow.interval.high), abs=1e-12
    )
    assert fast.p_value == slow.p_value == 2 / 2001
    assert (fast.interval.method, fast.interval.confidence) == ("paired_bootstrap", 0.95)


def test_limits_match_scipy_within_the_noise_of_resampling(losses):
    expected = stats.bootstrap(
        losses, lambda a, b, axis: np.mean(a, axis) - np.mean(b, axis), paired=True,
        n_resamples=4000, method="percentile", random_state=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    found = statistics.paired_bootstrap("mean", *losses, resamples=4000).interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)


def test_one_model_alone(losses):
    estimate, interval = statistics.bootstrap_interval("mean", losses[0])
    assert estimate == pytest.approx(losses[0].mean())
    half = 1.96 * losses[0].std(ddof=1) / np.sqrt(400)
    assert interval.low == pytest.approx(estimate - half, abs=0.15 * half)
    assert interval.high == pytest.approx(estimate + half, abs=0.15 * half)
    assert interval.method == "bootstrap"
    _, same = statistics.bootstrap_interval(np.mean, losses[0])
    assert (same.low, same.high) == pytest.approx((interval.low, interval.high))


def test_the_seed_decides_everything(losses):
    one, same, other = (statistics.paired_bootstrap("mean", *losses, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one.difference == other.difference
    assert one.interval != other.interval


def test_a_mean_over_ten_thousand_examples_takes_no_second():
    values = np.random.default_rng(0).random([2, 10000])
    start = time.process_time()
    statistics.paired_bootstrap("mean", values[0], values[1], resamples=2000)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "metric", [r_squared, lambda scores, positive: metrics.roc_auc_score(positive, scores)],
    ids=["r squared", "auroc"],
)  # fmt: skip
def test_any_function_of_resampled_examples(metric):
    generator = np.random.default_rng(0)
    positive = (generator.random(200) < 0.5).astype(float)
    better = positive + 0.5 * generator.normal(size=200)
    worse = better + generator.normal(size=200)
    found = statistics.paired_bootstrap(
        metric, (worse, positive), (better, positive), resamples=200
    )
    assert found.difference == metric(worse, positive) - metric(better, positive)
    assert found.interval.low < found.difference < found.interval.high < 0
    assert found.p_value == 2 / 201


def test_values_of_many_columns_are_resampled_by_row():
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], size=100)
    labels = np.arange(100) % 3
    estimate, interval = statistics.bootstrap_interval(
        statistics.negative_log_likelihood, (shares, labels), resamples=300
    )
    assert estimate == statistics.negative_log_likelihood(shares, labels)
    _, fast = statistics.bootstrap_interval(
        "mean", statistics.log_losses(shares, labels), resamples=300
    )
    assert (interval.low, interval.high) == pytest.approx((fast.low, fast.high))


def test_equal_models_have_no_p_value():
    right = np.array([1.0, 0.0, 1.0])
    found = statistics.paired_bootstrap("mean", right, right)
    assert (found.difference, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)
    assert found.p_value is None


def differences(kind, generator, *, examples):
    """(values of the model, of the baseline, the true difference of their means)."""
    if kind == "accuracy":
        gained, lost, _ = generator.multinomial(1, [0.03, 0.05, 0.92], size=examples).T
        return gained.astype(float), lost.astype(float), -0.02
    shared = generator.exponential(size=examples)
    return shared * generator.lognormal(0, 0.5, size=examples), shared, np.exp(0.125) - 1


@pytest.mark.parametrize("kind", ["accuracy", "loss"])
def test_paired_intervals_cover_the_truth(kind):
    """95% nominal; 1,000 draws have a standard error of 0.7 points."""
    generator, held = np.random.default_rng(5), 0
    for seed in range(1000):
        model, baseline, truth = differences(kind, generator, examples=400)
        found = statistics.paired_bootstrap("mean", model, baseline, resamples=300, seed=seed)
        held += found.interval.low <= truth <= found.interval.high
    assert 0.925 <= held / 1000 <= 0.97


def test_intervals_of_r_squared_cover_the_truth():
    """95% nominal; 300 draws have a standard error of 1.3 points."""

    def fast_r_squared(outputs, targets):
        return 1 - np.mean((outputs - targets) ** 2) / targets.var()

    generator, held = np.random.default_rng(5), 0
    for seed in range(300):
        targets, noise = generator.normal(size=[2, 200])
        outputs = targets + 0.5 * noise
        _, found = statistics.bootstrap_interval(
            fast_r_squared, (outputs, targets), resamples=200, seed=seed
        )
        held += found.low <= 1 - 0.25 <= found.high
    assert 0.90 <= held / 300 <= 0.98


def test_no_difference_is_seldom_called_one():
    """At most 5%; 1,000 draws have a standard error of 0.7 points, and resampling adds a little."""
    generator, called = np.random.default_rng(6), 0
    for seed in range(1000):
        shared = generator.exponential(size=300)
        model, baseline = shared + generator.normal(size=[2, 300])
        found = statistics.paired_bootstrap("mean", model, baseline, resamples=300, seed=seed)
        called += found.p_value <= 0.05
    assert 0.025 <= called / 1000 <= 0.07


ONES = np.ones(4)


@pytest.mark.parametrize(
    ("metric", "model", "baseline", "options", "message"),
    [
        ("mean", ONES, np.ones(5), {}, "4 of the model, 5 of the baseline"),
        ("mean", np.array([1.0, np.nan]), np.ones(2), {}, "hold NaN"),
        ("mean", np.ones([4, 2]), np.ones([4, 2]), {}, r"takes values \[examples\]"),
        ("mean", (ONES, ONES), (ONES, ONES), {}, r"takes values \[examples\]"),
        ("mean", np.ones(0), np.ones(0), {}, "at least one example"),
        (r_squared, (ONES, np.ones(3)), (ONES, ONES), {}, "one length"),
        ("median", ONES, ONES, {}, "Received: 'median'"),
        (lambda a: float("nan"), ONES, ONES, {}, "nan on the examples"),
        ("mean", ONES, ONES, {"resamples": 10}, "at least 100"),
        ("mean", ONES, ONES, {"confidence": 95}, "pass 0.95"),
    ],
    ids=["lengths", "nan", "matrix", "tuple", "empty", "unequal", "name", "figure", "few", "level"],
)
def test_paired_bootstrap_refuses_what_does_not_fit(metric, model, baseline, options, message):
    with pytest.raises(ValueError, match=message):
        statistics.paired_bootstrap(metric, model, baseline, **options)


def test_a_figure_that_a_resample_does_not_have_is_named():
    def share(a):
        return a.mean() if a.min() == 0 else float("nan")

    with pytest.raises(ValueError, match="nan on a resample: the examples are too few"):
        statistics.bootstrap_interval(share, np.array([0.0, 1.0, 1.0]))
