"""Sums and tables of a profile, worked out by hand."""

from __future__ import annotations

import json

import pytest

from tfcompress.operator_profile import OperatorProfile, OperatorTime, from_dict, render


def made(**changes):
    # The third call was interrupted: the quieter half are the first two.
    fields = {
        "kernels": "builtin",
        "threads": 1,
        "batch": 2,
        "operators": (
            OperatorTime("CONV_2D", 0, "first|one", "builtin", (10, 12, 99)),
            OperatorTime("ADD", 1, "second", "builtin", (1, 0, 0)),
            OperatorTime("CONV_2D", 2, "third", "builtin", (20, 20, 20)),
        ),
        "recorded_us": (31.0, 32.0, 119.0),
        "plain_us": (39.0, 300.0, 41.0),
    }
    return OperatorProfile(**(fields | changes))


def test_figures_are_means_over_the_quieter_half_of_the_calls():
    profile = made()
    assert profile.operators_us == (11.0, 0.5, 20.0)
    assert profile.call_us == 40.0
    assert profile.unaccounted_us == 8.5
    assert profile.share(20.0) == 0.5


def test_operators_of_a_name_are_added_up():
    assert made().by_name() == (("CONV_2D", "builtin", 2, 31.0), ("ADD", "builtin", 1, 0.5))


def test_the_slowest_come_first():
    assert [(one.index, time) for one, time in made().slowest(2)] == [(2, 20.0), (0, 11.0)]


def test_the_record_holds_every_sample_and_comes_back():
    record = json.loads(json.dumps(made().to_dict()))
    assert record["operators"][0]["samples_us"] == [10, 12, 99]
    assert record["unaccounted_us"] == 8.5
    assert from_dict(record) == made()


def test_the_table_accounts_for_the_whole_call():
    lines = render(made(), slowest=1).splitlines()
    assert lines[0].startswith("Where the time goes: builtin kernels, 1 thread, batch 2, mean of")
    assert "| CONV_2D | builtin | 2 | 31.0 | 77.5% |" in lines
    assert "| unaccounted |  |  | 8.5 | 21.2% |" in lines
    assert "| the call |  |  | 40.0 | 100.0% |" in lines
    assert lines[-1] == "| CONV_2D | 2 | third | 20.0 | 50.0% |"
    shares = [float(line.split("|")[-2].strip(" %")) for line in lines if line.endswith("% |")][:3]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_a_name_cannot_break_the_table():
    assert "| CONV_2D | 0 | first/one | 11.0 | 27.5% |" in render(made(), slowest=2)


def test_it_is_said_whose_operators_the_rows_are():
    single = (OperatorTime("Add (ND)", 0, None, "xnnpack", (1, 1, 1)),)
    text = render(made(kernels="xnnpack", operators=single), slowest=0)
    assert "its rows are its own operators, not the file's" in text
    assert "slowest" not in text
    assert "not the file's" not in render(made())
