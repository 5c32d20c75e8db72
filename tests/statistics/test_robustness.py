"""Corruption errors relative to a baseline, by hand and against a plain bootstrap."""

import numpy as np
import pytest

from tfcompress.statistics import RightAnswers, compare_robustness, mean_error_ratio

# Two corruptions, two severities, four examples; 1 is right.
BASELINE = RightAnswers(
    clean=np.array([1, 1, 1, 0], bool),
    corrupted=np.array([[[1, 1, 1, 0], [1, 0, 0, 0]], [[1, 1, 0, 0], [1, 0, 0, 0]]], bool),
)
MODEL = RightAnswers(
    clean=np.array([1, 1, 0, 0], bool),
    corrupted=np.array([[[1, 1, 0, 0], [0, 0, 0, 0]], [[1, 1, 1, 0], [1, 0, 0, 0]]], bool),
)


def many(seed=0, examples=300, flips=0.1):
    """A baseline and a model that differ in a tenth of their answers."""
    generator = np.random.default_rng(seed)
    corrupted = generator.random((3, 2, examples)) < 0.6
    clean = generator.random(examples) < 0.9
    other = corrupted ^ (generator.random(corrupted.shape) < flips)
    return RightAnswers(clean, other), RightAnswers(clean, corrupted)


def test_by_hand():
    found = compare_robustness(MODEL, BASELINE)
    # Errors of the model: 2 + 4 and 1 + 3; of the baseline: 1 + 3 and 2 + 3.
    assert [c.error_ratio for c in found.corruptions] == pytest.approx([6 / 4, 4 / 5])
    assert found.mean_corruption_error == pytest.approx((6 / 4 + 4 / 5) / 2)
    # Clean errors, at two severities: 2 x 2 and 2 x 1.
    assert found.relative_mean_corruption_error == pytest.approx((2 / 2 + 0 / 3) / 2)
    assert found.accuracy == pytest.approx(1 - 10 / 16)
    assert found.difference == pytest.approx(-1 / 16)
    assert [c.difference for c in found.corruptions] == pytest.approx([-2 / 8, 1 / 8])
    assert [c.accuracy for c in found.corruptions] == pytest.approx([2 / 8, 4 / 8])


def test_a_model_beside_itself_is_as_good_as_itself():
    model, _ = many()
    found = compare_robustness(model, model, resamples=100)
    assert found.mean_corruption_error == 1
    assert found.relative_mean_corruption_error == 1
    interval = found.mean_corruption_error_interval
    assert (interval.low, interval.high) == (1, 1)
    assert (found.difference_interval.low, found.difference_interval.high) == (0, 0)


def test_the_intervals_are_those_of_a_plain_bootstrap():
    model, baseline = many()
    found = compare_robustness(model, baseline, resamples=400, seed=5)
    generator = np.random.default_rng(5)
    ratios, relative, differences = [], [], []
    for _ in range(400):
        drawn = generator.integers(0, 300, 300)
        errors, reference = (
            1 - each.corrupted[..., drawn].mean(axis=2) for each in (model, baseline)
        )
        clean, reference_clean = (1 - each.clean[drawn].mean() for each in (model, baseline))
        ratios.append(np.mean(errors.sum(axis=1) / reference.sum(axis=1)))
        increases = (errors - clean).sum(axis=1) / (reference - reference_clean).sum(axis=1)
        relative.append(np.mean(increases))
        differences.append(reference.mean() - errors.mean())
    for interval, values in (
        (found.mean_corruption_error_interval, ratios),
        (found.relative_mean_corruption_error_interval, relative),
        (found.difference_interval, differences),
    ):
        assert [interval.low, interval.high] == pytest.approx(np.quantile(values, [0.025, 0.975]))
        assert interval.method == "paired_bootstrap"


def test_pairing_makes_the_interval_of_a_difference_narrow():
    model, baseline = many(flips=0.01)
    found = compare_robustness(model, baseline)
    difference, accuracy = found.difference_interval, found.accuracy_interval
    assert difference.high - difference.low < (accuracy.high - accuracy.low) / 4


def test_severities_share_their_examples():
    """An example that is wrong in all severities is one example, not as many as severities."""
    wrong_everywhere = np.arange(400) < 100
    repeated = np.broadcast_to(~wrong_everywhere, (1, 5, 400))
    answers = RightAnswers(~wrong_everywhere, repeated)
    found = compare_robustness(answers, answers)
    width = found.accuracy_interval.high - found.accuracy_interval.low
    expected = 2 * 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert width == pytest.approx(expected, rel=0.1)


def test_the_same_seed_gives_the_same():
    model, baseline = many()
    first = compare_robustness(model, baseline, resamples=200, seed=1)
    assert compare_robustness(model, baseline, resamples=200, seed=1) == first
    assert compare_robustness(model, baseline, resamples=200, seed=2) != first


def test_no_number_is_made_up_where_the_baseline_makes_no_error():
    perfect = RightAnswers(np.ones(50, bool), np.ones([1, 2, 50], bool))
    worse = RightAnswers(np.ones(50, bool), np.zeros([1, 2, 50], bool))
    found = compare_robustness(worse, perfect, resamples=100)
    assert found.mean_corruption_error is None
    assert found.mean_corruption_error_interval is None
    assert found.corruptions[0].error_ratio is None
    assert found.difference == -1


def test_no_number_is_made_up_where_the_baseline_does_not_fall():
    """Corrupted images on which it errs less than on clean ones: it has an error, no increase."""
    baseline = RightAnswers(np.arange(50) < 30, np.tile(np.arange(50) < 40, (1, 2, 1)))
    model = RightAnswers(np.arange(50) < 30, np.tile(np.arange(50) < 20, (1, 2, 1)))
    found = compare_robustness(model, baseline, resamples=100)
    assert found.mean_corruption_error == pytest.approx(3)
    assert found.relative_mean_corruption_error is None
    assert found.relative_mean_corruption_error_interval is None


def test_an_interval_is_left_out_where_many_resamples_leave_the_figure_undefined():
    baseline = RightAnswers(np.ones(50, bool), np.tile(np.arange(50) > 0, (1, 1, 1)))
    found = compare_robustness(baseline, baseline, resamples=200)
    # Without its one wrong example, in a third of the resamples, the baseline makes no error.
    assert found.mean_corruption_error == 1
    assert found.mean_corruption_error_interval is None


@pytest.mark.parametrize(
    ("errors", "baseline", "expected"),
    [
        ([0.3, 0.2], [0.2, 0.2], 1.25),
        ([0.0, 0.0], [0.2, 0.1], 0.0),
        ([0.1, 0.1], [0.1, 0.0], None),
        ([0.1], [-0.1], None),
    ],
)
def test_ratios(errors, baseline, expected):
    assert mean_error_ratio(np.array(errors), np.array(baseline)) == (
        None if expected is None else pytest.approx(expected)
    )


@pytest.mark.parametrize(
    ("clean", "corrupted"),
    [((4,), (2, 4)), ((3,), (1, 1, 4)), ((0,), (1, 1, 0)), ((4,), (0, 1, 4))],
)
def test_answers_that_do_not_fit(clean, corrupted):
    with pytest.raises(ValueError, match="RightAnswers takes clean"):
        RightAnswers(np.ones(clean, bool), np.ones(corrupted, bool))


def test_answers_to_other_questions():
    other = RightAnswers(np.ones(4, bool), np.ones([1, 2, 4], bool))
    with pytest.raises(ValueError, match="same corruptions, severities and examples"):
        compare_robustness(MODEL, other)


def test_right_answers_are_bool():
    with pytest.raises(ValueError, match=r"clean must be bool.*float64"):
        RightAnswers(np.full(4, np.nan), np.ones((1, 1, 4), bool))
