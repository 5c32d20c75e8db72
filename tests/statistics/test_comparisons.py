"""Reference values: statsmodels, exact sums over all outcomes, simulation, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_power_het

from tfcompress import statistics


@pytest.mark.parametrize("count", [1, 2, 17, 400])
def test_holm_matches_statsmodels(count):
    p_values = np.random.default_rng(count).beta(0.3, 1.0, size=count).round(3)  # Some are equal.
    expected = multipletests(p_values, method="holm")[1]
    assert statistics.holm(p_values) == pytest.approx(expected, abs=1e-12)


def test_holm_by_hand():
    # Sorted: 4 * 0.001; 3 * 0.016; 2 * 0.03; 1 * 0.04, raised to the 0.06 before it.
    adjusted = statistics.holm(np.array([[0.04, 0.001], [0.03, 0.016]]))
    assert adjusted == pytest.approx(np.array([[0.06, 0.004], [0.06, 0.048]]))
    assert (adjusted <= 0.05).tolist() == [[False, True], [False, True]]
    assert statistics.holm([0.9, 0.8]).tolist() == [1.0, 1.0]


def test_holm_passes_over_tests_that_were_not_made():
    adjusted = statistics.holm([None, 0.01, float("nan"), 0.04])
    assert adjusted == pytest.approx([np.nan, 0.02, np.nan, 0.04], nan_ok=True)
    assert statistics.holm([]).size == 0
    assert np.isnan(statistics.holm([None])).all()


@pytest.mark.parametrize("values", [[0.5, 1.5], [-0.1]])
def test_holm_refuses_what_is_no_p_value(values):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        statistics.holm(values)


@pytest.mark.parametrize("power", [0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("examples", "discordant"), [(10000, 300), (2000, 900), (1000, 100)])
def test_detectable_difference_matches_statsmodels(examples, discordant, power):
    """A test of a mean whose variance is psi without a difference, psi - d^2 with one."""
    found = statistics.smallest_detectable_difference(examples, discordant, power=power)
    psi = discordant / examples
    # One side at half the level: statsmodels' two-sided power counts the wrong side too.
    reached = normal_power_het(
        found.difference,
        examples,
        0.025,
        std_null=psi**0.5,
        std_alternative=(psi - found.difference**2) ** 0.5,
        alternative="larger",
    )
    assert reached == pytest.approx(power, abs=1e-9)
    assert found == statistics.DetectableDifference(found.difference, psi, True)


def exact_power(examples: int, difference: float, discordance: float) -> float:
    """Of McNemar's exact test at 5%, over all counts of disagreements and of gains."""
    share, power = (discordance + difference) / (2 * discordance), 0.0
    for count in range(1, examples + 1):
        weight = stats.binom.pmf(count, examples, discordance)
        if weight > 1e-9:
            gained = np.arange(count + 1)
            tail = np.minimum(
                stats.binom.cdf(gained, count, 0.5), stats.binom.sf(gained - 1, count, 0.5)
            )
            power += weight * stats.binom.pmf(gained[2 * tail <= 0.05], count, share).sum()
    return power


@pytest.mark.parametrize(
    ("examples", "discordant"), [(2000, 200), (2000, 40), (1000, 10), (500, 100), (2000, 0)]
)
def test_the_exact_test_nearly_has_the_stated_power(examples, discordant):
    found = statistics.smallest_detectable_difference(examples, discordant)
    assert 0.765 <= exact_power(examples, found.difference, found.discordance) <= 0.80


def test_a_simulated_difference_of_that_size_is_found_four_times_in_five():
    """4,000 draws have a standard error of 0.6 points."""
    found = statistics.smallest_detectable_difference(2000, 200)
    psi, d = found.discordance, found.difference
    draws = np.random.default_rng(3).multinomial(
        2000, [(psi + d) / 2, (psi - d) / 2, 1 - psi], size=4000
    )
    gained, lost = draws[:, 0], draws[:, 1]
    rejected = np.abs(gained - lost) / np.sqrt(gained + lost) > stats.norm.ppf(0.975)
    assert rejected.mean() == pytest.approx(0.80, abs=0.02)
    exact = [statistics.mcnemar_p_value(int(g), int(n)) <= 0.05 for g, n in draws[:1000, :2]]
    assert np.mean(exact) == pytest.approx(0.78, abs=0.04)


def test_where_few_disagree_every_disagreement_has_to_go_one_way():
    for discordant in (0, 1, 7):
        found = statistics.smallest_detectable_difference(10000, discordant)
        assert found.discordance == found.difference
        assert not found.observed
        assert 7.8 < 10000 * found.difference < 7.9  # about (1.96 + 0.84)^2 examples
    assert statistics.smallest_detectable_difference(10000, 8).observed


def test_at_a_low_power_nothing_disagreeing_is_bounded_by_the_rule_of_three():
    found = statistics.smallest_detectable_difference(1000, 0, power=0.2)
    assert found.discordance == pytest.approx(3 / 1000, rel=0.01)
    assert not found.observed
    assert found.difference < found.discordance


def test_no_difference_is_shown_by_three_examples():
    found = statistics.smallest_detectable_difference(3, 0)
    assert found == statistics.DetectableDifference(None, None, observed=False)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 0), {}, "examples 0"),
        ((5, 6), {}, "discordant 6"),
        ((5, -1), {}, "discordant -1"),
        ((5, 1), {"power": 80}, "pass 0.8"),
        ((5, 1), {"confidence": 95}, "pass 0.95"),
    ],
)
def test_detectable_difference_refuses_what_is_out_of_range(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        statistics.smallest_detectable_difference(*arguments, **options)
