from __future__ import annotations

import dataclasses

import pytest

from tfcompress.report import comparison, definitions, file_tables, verdict
from tfcompress.results import ArtifactResult, Interval, Latency, MinimalStep


def _edit(made, name, **changes):
    return dataclasses.replace(
        made,
        artifacts=tuple(
            dataclasses.replace(a, **changes) if a.name == name else a for a in made.artifacts
        ),
    )


def test_the_reference_is_the_baselines_float32_file(example, only):
    assert comparison.reference(example).name == "baseline-float32"
    assert comparison.reference(only(example, "prune+qat-float32", "baseline-int8")) is None


def test_verdict_names_the_smallest_file_within_noise(example):
    answer = verdict.reach(example)
    assert answer.chosen.name == "prune+qat-int8"
    assert (
        answer.headline
        == "prune+qat-int8 is the smallest file, gzipped, that shows no loss against the baseline."
    )
    # 290,120 / 41,380 = 7.01; 318,144 / 98,512 = 3.23; 0.212 / 0.119 = 1.78; (10 - 14) / 2000
    assert answer.remarks[0].startswith(
        "7.0 times smaller than baseline-float32 gzipped (3.2 times smaller as stored), "
        "1.8 times faster (median, litert_cpu, 1 thread, batch 1), "
        "accuracy difference \u22120.20 points (95% interval \u2212"
    )
    # 24 of 2,000 images change sides; three files are compared.
    assert (
        "no difference shown at this sample size (2,000 images, on which a true difference of "
        "0.79 points is found in four cases of five)" in answer.remarks[0]
    )
    assert [card.value for card in answer.cards] == [
        "7.0\u00d7",
        "3.2\u00d7",
        "1.8\u00d7",
        "\u22120.20",
    ]


def test_a_baseline_at_chance_and_unequal_training_are_pointed_out(example):
    assert "Caution" not in " ".join(verdict.reach(example).remarks)
    made = dataclasses.replace(
        example,
        baseline=dataclasses.replace(example.baseline, accuracy_interval=Interval(0.08, 0.13)),
        config={**example.config, "transfer": {"mode": "linear_probe"}},
    )
    remarks = verdict.reach(made).remarks
    assert "better than chance among 10 classes" in remarks[-2]
    assert "transferred by linear_probe" in remarks[-1]


def test_a_gain_over_a_baseline_that_trained_less_is_pointed_out(example):
    gain = {"difference": 0.02, "difference_interval": Interval(0.01, 0.03), "p_value": 0.001}
    remarks = verdict.reach(_edit(example, "prune+qat-int8", **gain)).remarks
    assert "prune+qat-int8 went on training" in remarks[-1]
    loss = {"difference": -0.02, "difference_interval": Interval(-0.03, -0.01), "p_value": 0.001}
    remarks = verdict.reach(_edit(example, "prune+qat-int8", **loss)).remarks
    assert "Caution" not in " ".join(remarks)


def test_a_file_that_could_not_be_made_minimal_is_pointed_out(example):
    refused = MinimalStep("layout", refused="It does not run as before.")
    made = _edit(example, "prune+qat-int8", minimal_steps=(refused,))
    assert verdict.reach(made).remarks[-1] == (
        "Caution: prune+qat-int8 has no minimal form and is as it was exported: It does not run "
        "as before."
    )
    taken = _edit(example, "prune+qat-int8", minimal_steps=(MinimalStep("layout", 90), refused))
    assert "Caution" not in " ".join(verdict.reach(taken).remarks)


def test_verdict_remarks_on_a_smaller_file_that_loses(example):
    made = _edit(example, "baseline-int8", gzip_size_bytes=20_480)
    answer = verdict.reach(made)
    assert answer.chosen.name == "prune+qat-int8"
    assert answer.remarks[1].startswith(
        "The smallest file of all, baseline-int8 (20.0 KiB gzipped), differs by \u22120.50 points"
    )


def test_verdict_says_what_the_recipe_gives_beside_plain_integers(example):
    # 78,940 / 41,380 = 1.91; 98,512 / 98,496 = 1.00; 0.121 / 0.119 = 1.02
    assert verdict.reach(example).remarks[-1] == (
        "Beside baseline-int8, with no recipe, it is 1.9 times smaller gzipped, neither smaller "
        "nor larger as stored, 1.02 times faster."
    )


def test_verdict_where_every_file_loses(example, only):
    answer = verdict.reach(only(example, "baseline-float32", "baseline-int8"))
    assert answer.headline == ("Every compressed file loses accuracy; baseline-int8 loses least.")
    assert "worse by 0.50 points" in answer.remarks[0]


def test_verdict_says_better_where_the_interval_lies_above_zero(example):
    made = _edit(
        example,
        "prune+qat-int8",
        difference=0.01,
        difference_interval=Interval(0.002, 0.018),
        p_value=0.01,
    )
    assert "better than the baseline" in verdict.reach(made).remarks[0]


def test_verdict_goes_by_stored_bytes_where_a_gzipped_size_is_missing(example):
    made = _edit(example, "prune+qat-float32", gzip_size_bytes=None)
    made = _edit(made, "prune+qat-int8", size_bytes=400_000)
    assert verdict.reach(made).chosen.name == "prune+qat-float32"


def test_verdict_with_nothing_to_say(example, only):
    assert "no compressed file" in verdict.reach(only(example, "baseline-float32")).headline
    bare = dataclasses.replace(example, artifacts=(ArtifactResult("x", format="int8"),))
    answer = verdict.reach(bare)
    assert "no verdict" in answer.headline
    assert (answer.chosen, answer.cards) == (None, ())


def test_verdict_makes_up_no_speed_or_size(example, only):
    made = only(example, "prune+qat-int8")
    sentence = verdict.reach(made).remarks[0]
    assert "smaller" not in sentence
    assert "faster" not in sentence
    assert sentence.startswith("Accuracy difference")


def test_a_slower_and_larger_file_is_called_so(example):
    slow = (Latency(0.424, 0.5, "litert_cpu", 1, 1, 50),)
    made = _edit(example, "prune+qat-int8", latency_ms=slow, size_bytes=636_288)
    answer = verdict.reach(made)
    assert "2.0 times slower" in answer.remarks[0]
    assert "2.0 times larger as stored" in answer.remarks[0]
    assert [c.label for c in answer.cards][1:3] == ["larger, stored", "slower, median"]


def test_only_equal_settings_are_compared(example):
    two_threads = (Latency(0.01, 0.02, "litert_cpu", 2, 1, 50),)
    made = _edit(example, "prune+qat-int8", latency_ms=two_threads)
    chosen = verdict.reach(made).chosen
    assert comparison.common_setting(made) == comparison.Setting("litert_cpu", 1, 1)
    assert comparison.speedup(chosen, made) is None
    assert "faster" not in verdict.reach(made).remarks[0]


def test_nothing_is_said_of_a_latency_that_is_too_noisy(example):
    before = comparison.latency_in(
        next(a for a in example.artifacts if a.name == "prune+qat-int8"),
        comparison.Setting("litert_cpu", 1, 1),
    )
    noisy = (dataclasses.replace(before, steady=False, reason="the rounds disagree"),)
    made = _edit(example, "prune+qat-int8", latency_ms=noisy)
    answer = verdict.reach(made)
    assert comparison.speedup(answer.chosen, made) is None
    assert "faster" not in answer.remarks[0]
    assert not any("faster" in card.label for card in answer.cards)
    cells = {row[0].value: row for row in file_tables.files(made).rows}["prune+qat-int8"]
    assert cells[-1].detail == "too noisy"
    said = next(text for term, text in definitions.definitions(made) if term == "Latency")
    assert said.endswith("the samples are kept: prune+qat-int8: the rounds disagree.")


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(4, 2, 2.0), (None, 2, None), (2, None, None), (2, 0, None)]
)
def test_ratio(before, after, expected):
    assert comparison.ratio(before, after) == expected
