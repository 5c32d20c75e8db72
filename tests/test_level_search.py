"""The rule by which a level is raised, on sequences worked out by hand."""

import pytest

from tfcompress.level_search import LevelTrial, SearchConfig, kept, next_level


def sequence(config, *, holds, highest=1.0):
    """The levels that are tried where those up to `holds` hold."""
    tried = []
    while (level := next_level(tried, config, highest=highest)) is not None:
        tried.append(LevelTrial(level, "target", level, held=level <= holds, accuracy=0.9))
    return [trial.level for trial in tried], kept(tried)


@pytest.mark.parametrize(
    ("holds", "levels", "best"),
    [
        # 0.3 fails: from 0.2 by half a step, then by a quarter; 0.2125 would take an eighth.
        (0.2, [0.1, 0.2, 0.3, 0.25, 0.225], 0.2),
        (0.26, [0.1, 0.2, 0.3, 0.25, 0.275], 0.25),
        (0.29, [0.1, 0.2, 0.3, 0.25, 0.275], 0.275),
        # Nothing holds.
        (0.0, [0.1, 0.05, 0.025], None),
        (0.03, [0.1, 0.05, 0.025], 0.025),
    ],
)
def test_steps_are_halved_where_a_level_fails(holds, levels, best):
    found, last = sequence(SearchConfig(0.01), holds=holds)
    assert found == levels
    assert (last.level if last else None) == best


def test_it_ends_at_the_highest_level():
    # 0.97 is less than a step above 0.9.
    assert sequence(SearchConfig(0.01, first_step=0.3), holds=1, highest=0.97)[0] == [
        0.3,
        0.6,
        0.9,
        0.97,
    ]


def test_a_long_first_step_makes_it_a_bisection():
    config = SearchConfig(0.01, first_step=0.5, least_step=0.0625)
    assert sequence(config, holds=0.7, highest=0.99)[0] == [0.5, 0.99, 0.75, 0.625, 0.6875]


def test_another_factor():
    config = SearchConfig(0.01, first_step=0.4, least_step=0.1, step_factor=0.25)
    # 0.8 fails; the step becomes 0.1: 0.5, 0.6, 0.7; 0.8 is known.
    assert sequence(config, holds=0.75)[0] == [0.4, 0.8, 0.5, 0.6, 0.7]


def test_no_level_is_tried_twice():
    for holds in range(0, 101, 7):
        levels, _ = sequence(SearchConfig(0.01), holds=holds / 100)
        assert len(set(levels)) == len(levels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_drop": 1.0}, r"max_drop must be in \[0, 1\)\. Received: 1\. For 1 points pass 0.01"),
        ({"max_drop": -0.1}, "max_drop"),
        ({"max_drop": 0.01, "first_step": 0}, "first_step"),
        (
            {"max_drop": 0.01, "least_step": 0.2},
            r"least_step must be in \(0, first_step\], here 0.1",
        ),
        ({"max_drop": 0.01, "step_factor": 1}, "step_factor"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**settings)
