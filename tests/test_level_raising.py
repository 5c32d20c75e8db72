"""How the trainings of a stage's levels follow one another; what a training gives is made up."""

from types import SimpleNamespace

import pytest

from tfcompress import compose
from tfcompress.level_raising import Trained, raise_level
from tfcompress.recipe import parse
from tfcompress.results import CompressionReport, StageResult
from tfcompress.techniques import NothingToGain, OutOfReach, level_of


def searching(text):
    (stage,) = compose.plan(parse(text)).stages
    return stage


def raised(stage, *, accuracy, baseline=0.9, refused=None):
    """The outcome where a level's accuracy is a function of it; models are their settings."""
    began = []

    def train(at, model):
        value = getattr(at.config, level_of(at.technique).setting)
        if refused and (error := refused(value)):
            raise error
        began.append((model, value))
        record = StageResult("02-x", at.technique, {}, history=({"loss": 1.0},) * 2, seconds=5.0)
        return Trained((at,), value, CompressionReport(at.technique, ()), record)

    found = raise_level(
        stage, "start", train=train, accuracy=lambda t: accuracy(t.model), baseline=baseline
    )
    return SimpleNamespace(
        model=found.best.model, levels=found.levels, began=began, stages=found.best.stages
    )


def test_zeros_are_raised_from_the_model_that_held():
    # Allowed are 2 points; each tenth of zeros costs 0.7: 0.2857 would be just within.
    found = raised(searching("prune(max_drop=0.02)"), accuracy=lambda value: 0.9 - 0.07 * value)
    assert found.began == [
        ("start", 0.1),
        (0.1, 0.2),
        (0.2, 0.3),
        (0.2, 0.25),
        (0.25, 0.275),
    ]
    assert found.model == 0.275
    assert found.stages[0].config.target_sparsity == 0.275
    assert found.stages[0].search is None
    assert [trial.held for trial in found.levels] == [True, True, False, True, True]
    assert found.levels[2].drop == pytest.approx(0.021)
    assert (found.levels[2].epochs, found.levels[2].seconds) == (2, 5.0)


def test_a_smaller_architecture_is_cut_from_the_first_model_each_time():
    found = raised(
        searching("prune_channels(max_drop=0.02, first_step=0.3, least_step=0.3)"),
        accuracy=lambda value: 0.9 if value < 0.8 else 0.5,
    )
    assert found.began == [("start", 0.3), ("start", 0.6), ("start", 0.9)]
    assert found.model == 0.6


def test_a_drop_of_exactly_what_is_allowed_holds():
    found = raised(
        searching("prune(max_drop=0.01, first_step=0.99)"),
        accuracy=lambda value: 0.97 - 0.01,
        baseline=0.97,
    )
    assert found.model == 0.99


def test_a_level_of_the_same_setting_is_not_trained_twice():
    # 3 clusters hold; 2 do not: level 1 is of 2, 0.95625 too, 0.9 and 0.928125 are of 3.
    stage = searching("cluster(max_drop=0.01, first_step=0.9, least_step=0.01)")
    found = raised(stage, accuracy=lambda value: 0.9 if value >= 3 else 0.5)
    trained = [value for _, value in found.began]
    assert len(trained) == len(set(trained))
    assert found.model == 3
    assert trained == [3, 2]
    assert [(trial.level, trial.held, trial.note) for trial in found.levels[2:4]] == [
        (0.95625, False, "the same clusters as at level 1"),
        (0.928125, True, "the same clusters as at level 0.9"),
    ]


def test_a_level_that_gains_nothing_is_passed_and_one_out_of_reach_fails():
    def refused(value):
        if value > 0.75:
            return NothingToGain("saves nothing")
        return OutOfReach("too far") if value < 0.45 else None

    found = raised(
        searching("factorize(max_drop=0.01)"), accuracy=lambda value: 0.9, refused=refused
    )
    # 0.6, then 0.5; 0.4 is out of reach, 0.45 is not, 0.425 is.
    assert [value for _, value in found.began] == [0.7, 0.6, 0.5, 0.45]
    assert [trial.note for trial in found.levels][:2] == ["saves nothing", "saves nothing"]
    assert found.model == 0.45


def test_where_nothing_holds_the_nearest_level_is_told():
    with pytest.raises(ValueError, match=r"nearest was target_sparsity 0\.025, which lost 3\.00"):
        raised(
            searching("prune(max_drop=0.01)"),
            accuracy=lambda value: 0.87 if value == 0.025 else 0.8,
        )


def test_where_nothing_can_be_gained_it_is_told():
    with pytest.raises(ValueError, match=r"at no level\. saves nothing"):
        raised(
            searching("factorize(max_drop=0.01)"),
            accuracy=lambda value: 0.9,
            refused=lambda value: NothingToGain("saves nothing"),
        )
