"""What a trial is, and what follows from planted ones: differences, rankings, tables."""

import dataclasses

import pytest

from tfcompress import records, statistics, transfer_comparisons, transfer_tables
from tfcompress.transfer import ModelSizes, TransferStudy, Trial, TrialResult

SIZES = ModelSizes(1000, 2_500_000, 800, 160, 12, 4000, 3000)


def result(accuracy, *, seed=0, backbone="net", target="digits", **options):
    trial = Trial(backbone, target, seed, **options)
    return TrialResult(trial, accuracy, accuracy, 100, SIZES, 30, 7680, 4, 512, 0, 0, 16, 1.5, "a")


def study(*found, planned=None, parts=("a", "b", "c", "d"), frozen_compressions=("none",)):
    config = {"parts": list(parts), "frozen_compressions": list(frozen_compressions)}
    return TransferStudy(tuple(found), planned or len(found), config, {})


def seeds(accuracies, **options):
    return [result(value, seed=seed, **options) for seed, value in enumerate(accuracies)]


UP = {"compression": "prune(0.8)", "order": "upstream"}
DOWN = {"compression": "prune(0.8)", "order": "downstream"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frozen": 50}, r"in \[0, 1\]. Received: 50. For 50% pass 0.5"),
        ({"order": "upstream"}, "none exactly where the compression is"),
        ({"compression": "prune"}, "none exactly where the compression is"),
        ({**DOWN, "frozen": 0.5}, "trains every layer: Trial.frozen must be 0"),
        ({**DOWN, "upstream": "cifar10"}, "belongs to the order upstream"),
        ({"compression": "prune", "order": "sideways"}, "Unknown order"),
    ],
)
def test_a_trial_that_makes_no_sense_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Trial("net", "digits", 0, **options)


@pytest.mark.parametrize(
    ("frozen", "regime"), [(0.0, "full"), (0.5, "fine_tune"), (1.0, "linear_probe")]
)
def test_the_regime_follows_from_the_frozen_layers(frozen, regime):
    assert Trial("net", "digits", 0, frozen=frozen).regime == regime


def test_the_study_survives_json():
    import json

    found = study(*seeds([0.5, 0.6]), planned=3)
    assert records.from_record(TransferStudy, json.loads(json.dumps(as_dict(found)))) == found
    assert not found.complete


def as_dict(found):
    return dataclasses.asdict(found)


def test_orders_are_compared_seed_by_seed():
    """Differences of 4, 2 and 3 points: mean 3, deviation 1, t = 3 sqrt(3) with 2 degrees."""
    found = study(
        *seeds([0.90, 0.88, 0.92], **UP, upstream="other"), *seeds([0.86, 0.86, 0.89], **DOWN)
    )
    (one,) = transfer_comparisons.of_order(found)
    assert one.difference == pytest.approx(0.03)
    assert one.differences == pytest.approx((0.04, 0.02, 0.03))
    # 4.3027 is the quantile of Student's t with two degrees of freedom.
    half = 4.3027 * 0.01 / 3**0.5
    assert one.interval.low == pytest.approx(0.03 - half, abs=1e-6)
    # With two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    t = 0.03 / (0.01 / 3**0.5)
    assert one.p_value == pytest.approx(1 - t / (2 + t * t) ** 0.5)
    assert one.adjusted_p_value == one.p_value
    assert one.verdict == "better"


def test_only_seeds_that_both_have_count():
    found = study(*seeds([0.90, 0.88, 0.92], **UP), result(0.86, seed=1, **DOWN))
    (one,) = transfer_comparisons.of_order(found)
    assert (one.seeds, one.difference) == (1, pytest.approx(0.02))
    assert one.interval is None
    assert one.verdict == "not known with one seed"


def test_a_setting_with_no_counterpart_is_left_out():
    assert transfer_comparisons.of_order(study(*seeds([0.9], **UP))) == ()


def test_the_same_with_every_seed_has_no_p_value():
    found = study(*seeds([0.5, 0.75], **UP), *seeds([0.25, 0.5], **DOWN))
    (one,) = transfer_comparisons.of_order(found)
    assert one.verdict == "the same with every seed"


def test_p_values_are_adjusted_over_the_table_and_pairs_have_a_mean():
    """Two targets and their mean: three tests, each with its own p value."""
    found = study(
        *seeds([0.90, 0.88, 0.92], **UP),
        *seeds([0.86, 0.86, 0.89], **DOWN),
        *seeds([0.50, 0.56, 0.60], **UP, target="shirts"),
        *seeds([0.52, 0.54, 0.61], **DOWN, target="shirts"),
    )
    digits, shirts, both = transfer_comparisons.of_order(found)
    assert (both.backbone, both.target) == ("mean of all", "2 pairs")
    assert both.differences == pytest.approx((0.01, 0.02, 0.01))
    assert both.accuracy == pytest.approx((0.70 + 0.72 + 0.76) / 3)
    adjusted = statistics.holm([digits.p_value, shirts.p_value, both.p_value])
    assert [one.adjusted_p_value for one in (digits, shirts, both)] == pytest.approx(adjusted)
    # 0.035 alone would have been shown; the smallest of three counts three times.
    assert digits.p_value < 0.05 < digits.adjusted_p_value
    assert digits.verdict == "no difference shown with 3 seeds"


def test_regimes_are_held_against_the_whole_backbone_of_the_same_regime():
    found = study(
        *seeds([0.9, 0.9]),
        *seeds([0.6, 0.7], frozen=1.0),
        *seeds([0.8, 0.82], **UP),
        *seeds([0.5, 0.64], **UP, frozen=1.0),
    )
    (probe,) = transfer_comparisons.of_regime(found, "linear_probe")
    (full,) = transfer_comparisons.of_regime(found, "full")
    assert probe.differences == pytest.approx((-0.1, -0.06))
    assert full.differences == pytest.approx((-0.1, -0.08))


def test_a_pair_that_changes_places_is_a_flip():
    """Under the probe: a > none > b; fine-tuned: none > b > a. So a falls behind both."""
    a, b = {**UP, "compression": "a"}, {**UP, "compression": "b"}
    found = study(
        *seeds([0.60, 0.60], frozen=1.0),
        *seeds([0.70, 0.58], **a, frozen=1.0),
        *seeds([0.50, 0.55], **b, frozen=1.0),
        *seeds([0.95, 0.95]),
        *seeds([0.80, 0.82], **a),
        *seeds([0.90, 0.91], **b),
    )
    (ranking,) = transfer_comparisons.rankings(found)
    assert [name for name, _ in ranking.probe] == ["a", "none", "b"]
    assert [name for name, _ in ranking.full] == ["none", "b", "a"]
    assert (ranking.pairs, ranking.seeds) == (3, 2)
    flips = {(flip.probe, flip.full): flip.in_every_seed for flip in ranking.flips}
    # With seed 1 the probe puts none before a: that flip does not hold with every seed.
    assert flips == {("a", "none"): False, ("a", "b"): True}
    told = "\n".join(transfer_tables.ranking_lines(found))
    assert (
        "| a 64.00 > none 60.00 > b 52.50 | none 95.00 > b 90.50 > a 81.00 | 2 of 3 | 1 |" in told
    )
    assert "The regimes disagree on 2 of 3 comparisons of two compressions" in told
    assert (
        "1 of them with every seed: a over b by linear probe, b over a by full fine-tune (1 time)."
        in told
    )


def test_a_flip_with_one_seed_is_no_finding():
    found = study(
        *seeds([0.5], frozen=1.0),
        *seeds([0.6], **UP, frozen=1.0),
        *seeds([0.9]),
        *seeds([0.8], **UP),
    )
    ((flip,),) = (one.flips for one in transfer_comparisons.rankings(found))
    assert not flip.in_every_seed
    assert transfer_tables.ranking_lines(found)[-1] == (
        "The regimes disagree on 1 of 1 comparisons of two compressions. With one seed that is no "
        "finding."
    )


def test_one_regime_alone_ranks_nothing():
    found = study(*seeds([0.9]), *seeds([0.8], **UP))
    assert transfer_comparisons.rankings(found) == ()
    assert transfer_tables.ranking_lines(found)[0].startswith("There is nothing to rank")


def test_frozen_layers_are_held_against_none():
    found = study(
        *seeds([0.9, 0.9]),
        *seeds([0.8, 0.7], frozen=0.5),
        *seeds([0.5, 0.6], frozen=1.0),
        # Of a compression that part d was not asked of.
        *seeds([0.9, 0.9], **UP),
        *seeds([0.5, 0.6], **UP, frozen=1.0),
    )
    half, whole = transfer_comparisons.of_frozen(found)
    assert (half.frozen, whole.frozen) == (0.5, 1.0)
    assert half.differences == pytest.approx((-0.1, -0.2))
    text = "\n".join(transfer_tables.frozen_lines(found))
    assert "| net | digits | none | 50 | 75.00 | 90.00 | -15.00 (" in text


def test_targets_stand_side_by_side():
    a, b = {**UP, "compression": "a"}, {**UP, "compression": "b"}
    found = study(
        *seeds([0.9]),
        *seeds([0.8], **a),
        *seeds([0.7], **b),
        *seeds([0.6], target="shirts"),
        *seeds([0.4], **a, target="shirts"),
        *seeds([0.5], **b, target="shirts"),
    )
    text = "\n".join(transfer_tables.target_lines(found))
    assert "| net, full fine-tune, points | digits | shirts | between targets |" in text
    assert "| a | -10.00 | -20.00 | 10.00 |" in text
    assert "The compressions rank differently: digits a > b; shirts b > a." in text


def test_the_tables_of_an_unfinished_study_say_so():
    text = "\n".join(transfer_tables.table_lines(study(*seeds([0.9], **UP), planned=40)))
    assert text.startswith("1 of 40 trials\n")
    assert "No comparison has both of its sides yet." in text
    assert "Nothing can be said yet." in text
    assert "No backbone has two targets yet." in text


def test_a_single_seed_is_not_taken_for_a_finding():
    found = study(*seeds([0.9], **UP), *seeds([0.8], **DOWN), parts=("a",))
    text = "\n".join(transfer_tables.table_lines(found))
    assert "| +10.00 |  | 1 | not known with one seed |" in text
    assert "worse in 0; not known with one seed in 1." in text
    assert "### d." not in text


def test_sizes_and_budget_by_hand():
    text = "\n".join(transfer_tables.table_lines(study(*seeds([0.9], **UP), *seeds([0.8], **DOWN))))
    assert (
        "| net | digits | prune(0.8) | before | 1,000 | 2.50 | 20.0 | 12 | 4,000 | 3,000 |" in text
    )
    assert "| after | full | 1 | 7,680 | 4 | 512 | 0 | 2 |" in text
