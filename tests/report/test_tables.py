from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from tfcompress.layer_coverage import Coverage, LayerCoverage, TechniqueCoverage
from tfcompress.level_search import LevelTrial
from tfcompress.report import file_tables, run, run_tables, tables, terminal, text
from tfcompress.report.contents import contents
from tfcompress.results import (
    ArtifactResult,
    CompressionReport,
    DataResult,
    GivenUp,
    LayerReport,
    Results,
    StageResult,
)


def _cells(table, name):
    row = next(row for row in table.rows if row[0].value == name)
    return {
        column.title: (cell.value, cell.detail)
        for column, cell in zip(table.columns, row, strict=True)
    }


def test_files_table_by_hand(example):
    table = file_tables.files(example)
    cells = _cells(table, "prune+qat-int8")
    assert cells["Stored"] == ("96.2", "3.2\u00d7")
    assert cells["Gzipped"] == ("40.4", "7.0\u00d7")
    assert cells["Difference"][0] == "\u22120.20"
    # p = 0.541 alone, 1 among three.
    assert cells["Is it real?"] == ("no difference shown", "p 1.000")
    assert cells["Latency"] == ("0.119", "1.8\u00d7")
    assert table.rows[table.marked][0].value == "prune+qat-int8"
    assert "baseline-float32" in table.note


def test_details_by_hand(example):
    table = file_tables.details(example)
    cells = _cells(table, "prune+qat-int8")
    assert cells["Format"] == ("int8", "")
    assert cells["Techniques"] == ("prune+qat", "")
    assert cells["Parity"] == ("99.80", "max 0.021")
    assert cells["Latency"] == ("0.119 / 0.143", "")
    assert cells["Memory"] == ("39.1", "")
    assert cells["Integer"] == ("16 of 16", "")
    assert cells["Zeros"] == ("80.0", "142 distinct")
    assert table.rows[0][1].value == "Keras model"


def test_absent_figures_are_dashes():
    made = Results(
        config={},
        environment={},
        data=DataResult("x", "sample", ("a", "b"), {}),
        baseline=ArtifactResult("baseline"),
        artifacts=(ArtifactResult("one", path="one.tflite"),),
    )
    table = file_tables.files(made)
    assert {cell.value for cell in file_tables.details(made).rows[1][3:]} == {"\u2013"}
    assert {cell.value for cell in table.rows[1][1:]} == {"\u2013"}
    assert {cell.detail for row in table.rows for cell in row} == {""}
    assert table.marked is None
    assert run_tables.stages(made) is None
    assert file_tables.latencies(made) is None
    assert run_tables.environment(made) is None


def test_stages_table(example):
    cells = _cells(run_tables.stages(example), "01-prune")
    assert cells["Epochs"] == ("6", "")
    assert cells["Best epoch"] == ("6", "")
    assert cells["Layers treated"] == ("8 of 9", "")
    assert cells["Time"] == ("57.0 s", "")
    assert _cells(run_tables.stages(example), "00-baseline")["Layers treated"] == ("\u2013", "")


def test_a_stage_that_trained_nothing_is_listed(example):
    bare = StageResult("01-dynamic", "quantize", {})
    made = dataclasses.replace(example, stages=(example.stages[0], bare))
    cells = _cells(run_tables.stages(made), "01-dynamic")
    assert {
        value for title, (value, _) in cells.items() if title not in ("Stage", "Technique")
    } == {"\u2013"}


def test_what_a_stage_cost_by_hand(example):
    epochs = (
        {"seconds": 2.0, "examples": 300.0, "peak_memory_bytes": 3.0 * 2**20, "energy_joules": 500},
        {"seconds": 1.0, "examples": 300.0, "peak_memory_bytes": 2.0 * 2**20, "energy_joules": 700},
    )
    made = dataclasses.replace(example, stages=(StageResult("00-x", "x", {}, epochs),))
    cells = _cells(run_tables.stages(made), "00-x")
    assert (cells["Images a second"][0], cells["Memory"][0]) == ("200", "3.0")
    assert cells["Energy"][0] == "1.2"
    partly = ({**epochs[0]}, {"seconds": 1.0})
    made = dataclasses.replace(example, stages=(StageResult("00-x", "x", {}, partly),))
    # In no row: the column is left out.
    assert "Energy" not in _cells(run_tables.stages(made), "00-x")


def test_layers_say_why_they_were_skipped(example):
    table = run_tables.layers(example.stages[1])
    assert _cells(table, "stem_conv")["Treated"] == ("no: first layer", "")
    assert _cells(table, "logits")["Treated"] == ("yes", "")
    assert _cells(table, "logits")["Zeros"] == ("80.0", "")
    assert run_tables.layers(example.stages[0]) is None


def test_latency_table_has_every_setting(example):
    cells = _cells(file_tables.latencies(example), "baseline-float32")
    assert cells["Rounds' p50"] == ("0.208 to 0.223", "")
    assert cells["First call"] == ("0.900", "")


def test_data_table_shows_the_splits_and_the_evaluation_speed(example):
    rows = {row[0].value: row[1].value for row in run_tables.data(example).rows}
    assert rows["Images, calibration"] == "512"
    assert rows["Source"] == "sample"
    assert rows["Parameters of the baseline"] == "77,360"
    assert "7.5\u00d7" in rows["Evaluation of baseline-int8"]


def test_origins_name_the_checksums(example):
    cells = _cells(file_tables.origins(example), "prune+qat-int8")
    assert cells["SHA-256"] == ("0" * 64, "")


def test_settings_flatten_nested_records():
    record = {"a": {"b": True, "c": 0.5}, "gpus": [{"name": "G"}], "e": {}, "f": [1, 2]}
    assert list(tables.flatten(record)) == [
        ("a.b", "yes"),
        ("a.c", "0.5"),
        ("gpus[0].name", "G"),
        ("e", "\u2013"),
        ("f", "1, 2"),
    ]


COVERAGE = Coverage(
    "tiny",
    (
        LayerCoverage("conv", "Conv2D", 60, 900, {}, {}),
        LayerCoverage("bn", "BatchNormalization", 40, 0, {"prune(0.8)": "no kernel"}, {}),
    ),
    (TechniqueCoverage("prune(0.8)", 1, 60, 900),),
)


def test_coverage_by_hand():
    table = run_tables.coverage(COVERAGE)
    assert [column.title for column in table.columns] == [
        "Layer",
        "Kind",
        "Parameters",
        "MACs",
        "prune(0.8)",
    ]
    assert _cells(table, "conv")["prune(0.8)"] == ("yes", "")
    assert _cells(table, "bn")["prune(0.8)"] == ("no: a", "")
    assert _cells(table, "share of the parameters")["prune(0.8)"] == ("60.0%", "")
    assert table.note == "a: no kernel"


def test_a_report_has_the_coverage_of_every_model(example, kept_run):
    loaded = run.load(kept_run)
    titles = [table.title for table in contents(loaded).folded]
    assert not [title for title in titles if title.startswith("Coverage")]
    covered = dataclasses.replace(example, coverage=(COVERAGE, COVERAGE))
    loaded = dataclasses.replace(loaded, results=covered)
    titles = [table.title for table in contents(loaded).folded]
    assert titles.count("Coverage of tiny") == 2


def test_the_terminal_shows_a_whole_table():
    stream = io.StringIO()
    terminal.print_table(run_tables.coverage(COVERAGE), Console(file=stream, width=80))
    shown = stream.getvalue()
    assert "Coverage of tiny" in shown
    assert "BatchNormalization" in shown
    assert "a: no kernel" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_what_was_done_to_a_layer_stands_beside_whether(example):
    done = (
        LayerReport("a", "Dense", 10, treated=True, detail="rank 12 of 64"),
        LayerReport("b", "Dense", 10, treated=True, reason="bias: frozen", detail="rank 1 of 2"),
        LayerReport("c", "Dense", 10, treated=False, reason="frozen"),
    )
    stage = dataclasses.replace(example.stages[1], report=CompressionReport("factorize", done))
    cells = [row[3].value for row in run_tables.layers(stage).rows]
    assert cells == ["yes, rank 12 of 64", "in part: bias: frozen, rank 1 of 2", "no: frozen"]


def test_levels_by_hand(example):
    tried = (
        LevelTrial(0.1, "energy", 0.9, held=True, note="nothing to gain"),
        LevelTrial(0.2, "energy", 0.8, held=True, accuracy=0.88, drop=-0.002, epochs=3, seconds=9),
        LevelTrial(0.3, "energy", 0.7, held=False, accuracy=0.85, drop=0.028, epochs=3, seconds=8),
    )
    config = {"search": {"max_drop": 0.01}}
    stage = dataclasses.replace(example.stages[1], config=config, levels=tried)
    table = run_tables.levels(stage)
    assert table.marked == 1
    assert "as far as 1.00 points of validation accuracy allow" in table.note
    assert table.columns[1].title == "Energy"
    shown = [[cell.value for cell in row] for row in table.rows]
    assert shown == [
        ["1", "0.9", *4 * [text.MISSING], "not trained: nothing to gain"],
        ["2", "0.8", "88.00", "+0.20", "3", "9.0 s", "kept"],
        ["3", "0.7", "85.00", "\N{MINUS SIGN}2.80", "3", "8.0 s", "too much"],
    ]
    assert run_tables.levels(example.stages[0]) is None


def test_levels_tried_in_vain_stand_once_for_recipes_that_begin_alike():
    tried = (
        LevelTrial(0.5, "clusters", 8, held=False, note="not possible"),
        LevelTrial(0.2, "clusters", 16, held=False, accuracy=0.85, drop=0.028, epochs=3, seconds=8),
    )
    found = run_tables.refused_levels(
        (
            GivenUp("cluster(max_drop=0)", "why", tried),
            GivenUp("factorize(target=0.9)", "why"),
            GivenUp("cluster(max_drop=0.001)", "why", tried[1:]),
            GivenUp("cluster(max_drop=0)+qat", "why", tried),
        )
    )
    assert [table.title for table in found] == [
        "Levels of cluster(max_drop=0)",
        "Levels of cluster(max_drop=0.001)",
    ]
    assert [row[-1].value for row in found[0].rows] == ["not trained: not possible", "too much"]
    assert found[0].note.startswith("No level keeps within the drop")
    assert found[0].marked is None
