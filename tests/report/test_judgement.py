"""What may be said of a difference: alone, and among several."""

from __future__ import annotations

import dataclasses

import pytest

from tfcompress import statistics
from tfcompress.report import judgement, verdict
from tfcompress.results import ArtifactResult, Interval

IMAGES = 2000


def entry(name, gained, lost):
    return ArtifactResult(
        name,
        format="int8",
        gzip_size_bytes=1000,
        difference=(gained - lost) / IMAGES,
        difference_interval=statistics.paired_difference_interval(gained, lost, IMAGES),
        p_value=statistics.mcnemar_p_value(gained, lost),
        gained=gained,
        lost=lost,
    )


def among(example, *entries):
    return dataclasses.replace(example, artifacts=entries)


@pytest.mark.parametrize(
    ("gained", "lost", "answer"),
    [(4, 30, "worse"), (30, 4, "better"), (10, 14, "no difference shown")],
)
def test_a_single_comparison(example, gained, lost, answer):
    found = judgement.judge(among(example, entry("a", gained, lost)))["a"]
    assert (found.answer, found.suspected, found.compared) == (answer, "", 1)
    assert found.p_value == statistics.mcnemar_p_value(gained, lost)
    assert found.shows_no_loss == (answer != "worse")


def test_what_one_comparison_shows_may_be_chance_among_ten(example):
    # 4 gained and 14 lost: p = 0.031 alone, 0.31 among ten.
    others = [entry(f"equal{i}", 10, 10) for i in range(9)]
    made = among(example, entry("a", 4, 14), *others)
    found = judgement.judge(made)["a"]
    assert (found.answer, found.suspected, found.compared) == ("no difference shown", "worse", 10)
    assert found.p_value == pytest.approx(10 * statistics.mcnemar_p_value(4, 14))
    assert "does not hold once corrected for 10 comparisons" in judgement.sentence(
        made.artifacts[0], made
    )


def test_a_suspected_loss_is_not_called_lossless(example):
    small = dataclasses.replace(entry("small", 4, 14), gzip_size_bytes=10)
    made = among(example, small, entry("large", 10, 10))
    assert not judgement.judge(made)["small"].shows_no_loss
    assert verdict.reach(made).chosen.name == "large"
    alone = verdict.reach(among(example, small, entry("b", 4, 14)))
    assert alone.headline.startswith("No compressed file is above suspicion of a loss; ")


def test_the_baselines_own_file_is_no_comparison(example):
    own = dataclasses.replace(entry("baseline-float32", 0, 0), format="float32")
    assert judgement.judge(among(example, own, entry("a", 4, 14)))["a"].answer == "worse"


def test_interval_and_exact_test_must_agree(example):
    none = "no difference shown"
    for p_value, answer in ((0.057, none), (0.04, "better"), (None, none)):
        one = ArtifactResult(
            "a", difference=0.004, difference_interval=Interval(0.0004, 0.0085), p_value=p_value
        )
        made = among(example, one)
        assert judgement.judge(made)["a"].answer == answer
        assert ("exact test does not confirm" in judgement.sentence(one, made)) == (
            p_value == 0.057
        )


def test_an_interval_below_zero_is_a_suspicion_whatever_the_exact_test_says(example):
    # No image gained and five lost: the interval leaves zero out, the exact test has p = 0.0625.
    made = among(example, entry("a", 0, 5))
    found = judgement.judge(made)["a"]
    assert (found.answer, found.suspected) == ("no difference shown", "worse")
    assert not found.shows_no_loss
    assert "exact test does not confirm it (p = 0.062)" in judgement.sentence(
        made.artifacts[0], made
    )
    assert "above suspicion" in verdict.reach(made).headline


def test_what_could_have_been_seen(example):
    found = judgement.judge(among(example, entry("a", 10, 14)))["a"]
    expected = statistics.smallest_detectable_difference(IMAGES, 24).difference
    assert found.detectable == pytest.approx(expected)
    two = judgement.judge(among(example, entry("a", 10, 14), entry("b", 10, 14)))["a"]
    strict = statistics.smallest_detectable_difference(IMAGES, 24, confidence=0.975)
    assert two.detectable == pytest.approx(strict.difference)
    unknown = dataclasses.replace(entry("a", 10, 14), gained=None)
    assert judgement.judge(among(example, unknown))["a"].detectable is None


def test_what_was_not_compared_is_not_judged(example):
    one = ArtifactResult("a", accuracy=0.5)
    made = among(example, one)
    assert judgement.judge(made) == {}
    assert judgement.sentence(one, made) == "accuracy difference not measured"
