"""Runs of several seeds as one table, and runs that are no such thing."""

from __future__ import annotations

import dataclasses

import pytest

from tfcompress.report.seeds import across_seeds, only_seeds_differ, over_seeds


def seeded(run, seed, **changes):
    return dataclasses.replace(run, config={**run.config, "seed": seed}, **changes)


def test_means_and_spreads_by_hand(example):
    first = seeded(example, 0)
    name = example.artifacts[0].name
    rows = [
        dataclasses.replace(row, accuracy=row.accuracy + 0.02) if row.name == name else row
        for row in example.artifacts
    ]
    table = across_seeds([first, seeded(example, 1, artifacts=tuple(rows))])
    cells = {row[0].value: row[1].value for row in table.rows}
    mean = 100 * (example.artifacts[0].accuracy + 0.01)
    # Two values 2 points apart have a standard deviation of the square root of 2.
    assert cells[name] == f"{mean:.2f} ± 1.41"


def test_files_of_other_names_are_refused(example):
    rows = list(example.artifacts)
    rows[-1] = dataclasses.replace(rows[-1], name="renamed-int8")
    with pytest.raises(ValueError, match="files of different names") as error:
        across_seeds([seeded(example, 0), seeded(example, 1, artifacts=tuple(rows))])
    assert "renamed-int8" in str(error.value)
    assert example.artifacts[-1].name in str(error.value)


def test_one_run_and_one_seed_twice_are_refused(example):
    with pytest.raises(ValueError, match="at least two runs"):
        across_seeds([example])
    with pytest.raises(ValueError, match="A seed stands twice"):
        across_seeds([seeded(example, 0), seeded(example, 0)])
    other = seeded(example, 1)
    other = dataclasses.replace(other, config={**other.config, "epochs": 999})
    with pytest.raises(ValueError, match="more than their seeds"):
        across_seeds([seeded(example, 0), other])


def test_losses_over_seeds_by_hand(example):
    """Paired by seed: -1, -2 and -3 points; t = 2 / (1 / sqrt(3)), two-sided p = 0.0742."""
    name = "baseline-int8"

    def run(seed, points):
        rows = [
            dataclasses.replace(row, accuracy=example.baseline.accuracy + points / 100)
            if row.name == name
            else row
            for row in example.artifacts
        ]
        return seeded(example, seed, artifacts=tuple(rows))

    runs = [run(seed, points) for seed, points in enumerate((-1, -2, -3))]
    found = next(each for each in over_seeds(runs) if each.name == name)
    assert found.difference.mean == pytest.approx(-0.02)
    assert found.difference.std == pytest.approx(0.01)
    assert found.difference.p_value == pytest.approx(0.0742, abs=1e-4)
    assert found.answer == "no difference shown"
    # 4 images gained and 14 lost in each run, p = 0.031: not after correction for three runs.
    assert found.losing == 0


def test_the_same_loss_every_time_is_a_suspicion(example):
    """Its spread is nothing, so that no test can be made; it is no absence of a loss."""
    name = "prune+qat-int8"
    rows = [
        dataclasses.replace(row, accuracy=example.baseline.accuracy - 0.02)
        if row.name == name
        else row
        for row in example.artifacts
    ]
    runs = [seeded(example, seed, artifacts=tuple(rows)) for seed in range(3)]
    found = next(each for each in over_seeds(runs) if each.name == name)
    assert (found.answer, found.suspected, found.p_value) == ("no difference shown", "worse", None)


def test_settings_other_than_the_seed_are_told(example):
    other = dataclasses.replace(example, config={**example.config, "epochs": 999})
    assert only_seeds_differ([seeded(example, 0), seeded(example, 1)])
    assert not only_seeds_differ([seeded(example, 0), seeded(other, 1)])
