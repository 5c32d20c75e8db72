"""Sums of a profile, worked out by hand, and when they mean nothing."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tfcompress.machine_state import MachineState, Stretch
from tfcompress.operator_profile import OperatorProfile, OperatorTime, from_dict


def test_figures_are_means_over_the_quieter_half_of_the_calls(made_profile):
    profile = made_profile()
    assert profile.operators_us == (11.0, 0.5, 20.0)
    assert profile.call_us == 40.0
    assert profile.unaccounted_us == 8.5
    assert profile.share(20.0) == 0.5


def test_operators_of_a_name_are_added_up(made_profile):
    assert made_profile().by_name() == (("CONV_2D", "builtin", 2, 31.0), ("ADD", "builtin", 1, 0.5))


def test_the_slowest_come_first(made_profile):
    assert [(one.index, time) for one, time in made_profile().slowest(2)] == [(2, 20.0), (0, 11.0)]


def test_the_record_holds_every_sample_and_comes_back(made_profile):
    record = json.loads(json.dumps(made_profile().to_dict()))
    assert record["operators"][0]["samples_us"] == [10, 12, 99]
    assert record["unaccounted_us"] == 8.5
    assert from_dict(record) == made_profile()


MACHINE = MachineState(usable_cores=2, busy_seconds=0.0, own_seconds=0.0, wall_seconds=0.0)


def steady(**changes):
    """Sixty calls of which any two parts are alike."""
    plain = tuple(100.0 + (call * 7 % 10) / 10 for call in range(60))
    fields = {
        "operators": (OperatorTime("CONV_2D", 0, "made", "builtin", (90,) * 60),),
        "plain_us": plain,
        "recorded_us": tuple(call + 5 for call in plain),
    }
    return OperatorProfile(kernels="builtin", threads=1, batch=2, **(fields | changes))


def during(busy):
    end = dataclasses.replace(MACHINE, busy_seconds=busy, own_seconds=1.0, wall_seconds=1.0)
    return Stretch(MACHINE, end)


def test_times_that_come_out_again_mean_something():
    assert steady().reason is None
    assert steady(machine=during(1.0), stable=True).reason is None
    # Two calls disagree with nothing.
    assert steady(plain_us=(90.0, 120.0), recorded_us=(91.0, 120.0)).reason is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"plain_us": tuple(100.0 + call for call in range(60))},
            "plain calls, ten a round: the medians of the 6 rounds disagree",
        ),
        (
            {"recorded_us": tuple(100.0 + call for call in range(60))},
            "recorded calls, ten a round: the medians of the 6 rounds disagree",
        ),
        ({"machine": during(2.9)}, "in 6 of 6 rounds other processes kept 1.9 of 2 cores busy"),
        ({"stable": False}, "the warm-up did not settle in 6 of 6 rounds"),
        (
            {"operators": (OperatorTime("CONV_2D", 0, "made", "builtin", (120,) * 60),)},
            "the operators of a recorded call took 120 us, a whole call without recording 100.2",
        ),
    ],
    ids=["plain", "recorded", "busy", "warm-up", "sum"],
)
def test_times_that_mean_nothing_say_why(changes, said):
    profile = steady(**changes)
    assert said in profile.reason
    record = json.loads(json.dumps(profile.to_dict()))
    assert record["reason"] == profile.reason
    assert from_dict(record) == profile
