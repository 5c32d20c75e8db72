"""Sharing a sparsity out, and the table: by hand."""

from __future__ import annotations

import csv
import io

import pytest

from tfcompress.layer_sensitivity import Effect, Sensitivity, shared_out
from tfcompress.results import Interval


def effect(name, level, *, lost, shown=True, divergence=0.0, kind="sparsity", weights=100):
    bounds = Interval(-lost - 0.01, -lost + 0.01) if shown else Interval(-lost - 0.5, 0.5)
    return Effect(kind, name, weights, level, 0.9 - lost, -lost, bounds, divergence)


@pytest.fixture
def found():
    effects = (
        effect("stem", 0.5, lost=0.1, divergence=1.0),
        effect("stem", 0.9, lost=0.5, divergence=5.0),
        effect("head", 0.5, lost=0.0, shown=False, divergence=0.1, weights=300),
        effect("head", 0.9, lost=0.02, shown=False, divergence=0.3, weights=300),
        effect("head", 4, lost=0.2, kind="bits", divergence=1.0),
    )
    return Sensitivity("small", 50, 0.9, effects)


def test_the_cheapest_weights_go_first():
    # Slopes for each weight: a 1/50, b 2/50 and then 8/50.
    damage = {"a": [(0.5, 1.0)], "b": [(0.5, 2.0), (1.0, 10.0)]}
    sizes = {"a": 100, "b": 100}
    assert shared_out(damage, sizes, 0.0) == {"a": 0.0, "b": 0.0}
    assert shared_out(damage, sizes, 0.2) == {"a": 0.4, "b": 0.0}
    assert shared_out(damage, sizes, 0.4) == {"a": 0.5, "b": pytest.approx(0.3)}
    assert shared_out(damage, sizes, 0.7) == {"a": 0.5, "b": pytest.approx(0.9)}


def test_a_level_above_the_line_between_two_others_is_passed_over():
    # At 0.4 a costs 5, but half of what 0.8 costs is 2: nobody stops at 0.4 on purpose.
    damage = {"a": [(0.4, 5.0), (0.8, 4.0)], "b": [(0.8, 6.0)]}
    # 0.8 costs 5 as well, since more zeros never do less harm: 5/80 against 6/80.
    found = shared_out(damage, {"a": 100, "b": 100}, 0.4)
    assert found == {"a": 0.8, "b": 0.0}


def test_the_share_of_a_large_layer_counts_for_more():
    # The same harm is spread over three times the weights.
    found = shared_out({"a": [(0.5, 1.0)], "b": [(0.5, 1.0)]}, {"a": 100, "b": 300}, 0.375)
    assert found == {"a": 0.0, "b": 0.5}


def test_what_the_levels_do_not_reach_is_refused():
    with pytest.raises(ValueError, match=r"reach 0\.5 of all weights"):
        shared_out({"a": [(0.5, 1.0)]}, {"a": 100}, 0.6)


def test_the_sparsities_of_some_layers(found):
    # 0.72 of 400 weights: head takes its 270, stem the rest of 288.
    assert found.sparsities(0.72) == {"stem": pytest.approx(0.18), "head": 0.9}
    assert found.sparsities(0.5, layers=["head"]) == {"head": 0.5}
    with pytest.raises(ValueError, match="sensitivity of tail was not measured"):
        found.sparsities(0.5, layers=["head", "tail"])


def test_a_kind_that_was_not_measured_is_refused(found):
    with pytest.raises(ValueError, match="Measured: sparsity, bits"):
        found.rows("rank")


def test_the_table_has_the_most_sensitive_layer_on_top(found):
    assert found.rows("sparsity") == [
        ["layer", "weights", "50% zeros", "90% zeros"],
        ["stem", "100", "10.0", "50.0"],
        ["head", "300", "(0.0)", "(2.0)"],
    ]
    assert found.rows("bits") == [["layer", "weights", "4 bits"], ["head", "100", "20.0"]]
    assert str(found).splitlines()[0] == "small: accuracy 90.00% on 50 validation examples."
    assert "stem       100       10.0       50.0" in str(found)


def test_the_csv_has_every_effect(found):
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == 5
    assert rows[1]["layer"] == "stem"
    assert float(rows[1]["difference"]) == -0.5
    assert float(rows[1]["low"]) == pytest.approx(-0.51)


def test_levels_that_a_layer_lacks_change_neither_columns_nor_order():
    effects = (
        effect("small", 0.5, lost=0.1, kind="channels", divergence=2.0),
        effect("large", 0.25, lost=0.1, kind="channels", divergence=1.5),
        effect("large", 0.5, lost=0.2, kind="channels", divergence=1.9),
    )
    found = Sensitivity("small", 50, 0.9, effects)
    assert found.rows("channels") == [
        ["layer", "weights", "25% channels off", "50% channels off"],
        ["small", "100", "", "10.0"],
        ["large", "100", "10.0", "20.0"],
    ]
