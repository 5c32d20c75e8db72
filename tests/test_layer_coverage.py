"""Shares, rows and CSV of a coverage, worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest

from tfcompress.layer_coverage import Coverage, LayerCoverage, TechniqueCoverage
from tfcompress.records import from_record

NO_KERNEL = "no kernel"
FOUND = Coverage(
    model="tiny",
    layers=(
        LayerCoverage("conv", "Conv2D", 60, 900, {}, {}),
        LayerCoverage("bn", "BatchNormalization", 20, 0, {"prune(0.8)": NO_KERNEL}, {}),
        LayerCoverage(
            "separable", "SeparableConv2D", 20, 100, {}, {"prune(0.8)": "depthwise_kernel: small"}
        ),
        LayerCoverage("mean", "Mean", 0, 0, {"qat": "in float"}, {}),
    ),
    techniques=(
        TechniqueCoverage("prune(0.8)", layers=2, parameters=70, macs=940),
        TechniqueCoverage("qat", layers=3, parameters=100, macs=1000),
    ),
)


def test_shares_are_of_the_whole_model():
    assert (FOUND.parameters, FOUND.macs, FOUND.weighted) == (100, 1000, 3)
    assert FOUND.parameter_share("prune(0.8)") == 0.7
    assert FOUND.mac_share("prune(0.8)") == 0.94
    assert FOUND.summary("prune(0.8)") == (
        "prune(0.8): 2 of 3 layers, 70.0% of the parameters, 94.0% of the multiply-accumulates"
    )


def test_a_model_without_parameters_has_no_share():
    empty = Coverage("empty", (), (TechniqueCoverage("qat", 0, 0, 0),))
    assert empty.parameter_share("qat") is None
    assert "- of the parameters" in empty.summary("qat")


def test_a_technique_that_was_not_asked_is_refused():
    with pytest.raises(ValueError, match=r"No coverage of 'cluster'. Known: prune\(0.8\), qat"):
        FOUND.mac_share("cluster")


def test_the_table_has_a_letter_for_each_reason():
    rows, reasons = FOUND.grid()
    assert rows == (
        ("layer", "kind", "parameters", "MACs", "prune(0.8)", "qat"),
        ("conv", "Conv2D", "60", "900", "yes", "yes"),
        ("bn", "BatchNormalization", "20", "0", "no: a", "yes"),
        ("separable", "SeparableConv2D", "20", "100", "part: b", "yes"),
        ("mean", "Mean", "0", "0", "-", "no: c"),
        ("share of the parameters", "", "100", "", "70.0%", "100.0%"),
        ("share of the MACs", "", "", "1,000", "94.0%", "100.0%"),
    )
    assert reasons == ("a: no kernel", "b: depthwise_kernel: small", "c: in float")


def test_letters_go_on_after_z():
    layers = tuple(LayerCoverage(f"l{i}", "Dense", 1, 1, {"t": f"r{i}"}, {}) for i in range(54))
    rows, _ = Coverage("wide", layers, (TechniqueCoverage("t", 0, 0, 0),)).grid()
    assert [rows[i][-1] for i in (1, 26, 27, 52, 53)] == [
        "no: a",
        "no: z",
        "no: aa",
        "no: az",
        "no: ba",
    ]


def test_it_prints_as_a_table():
    lines = str(FOUND).splitlines()
    assert lines[0] == "tiny"
    assert lines[2].split() == ["conv", "Conv2D", "60", "900", "yes", "yes"]
    assert lines[-1] == "c: in float"


def test_csv_has_the_reasons_in_full():
    rows = list(csv.reader(io.StringIO(FOUND.to_csv())))
    assert rows == [
        ["layer", "kind", "parameters", "macs", "prune(0.8)", "qat"],
        ["conv", "Conv2D", "60", "900", "yes", "yes"],
        ["bn", "BatchNormalization", "20", "0", "no: no kernel", "yes"],
        ["separable", "SeparableConv2D", "20", "100", "in part: depthwise_kernel: small", "yes"],
        ["mean", "Mean", "0", "0", "-", "no: in float"],
    ]


def test_it_comes_back_from_json():
    assert from_record(Coverage, json.loads(json.dumps(dataclasses.asdict(FOUND)))) == FOUND
