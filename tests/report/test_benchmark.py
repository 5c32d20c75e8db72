"""How a benchmark reads: its tables, its CSV, its figure and its files, from a record by hand."""

import csv
import dataclasses
import io

import pytest

from tfcompress import benchmark_record
from tfcompress.benchmark_record import (
    Benchmark,
    ColdStart,
    FileFacts,
    ModelMemory,
    OutputDifference,
    Profiled,
    RooflineShare,
    Row,
)
from tfcompress.latency import LatencySamples, Ratio
from tfcompress.operator_profile import OperatorProfile, OperatorTime
from tfcompress.report import benchmark_files, benchmark_tables, latency_chart, table_text, text
from tfcompress.results import Interval, Latency
from tfcompress.roofline import Peaks

NOISE = (
    "the medians of the 3 rounds disagree, from 1 to 2 ms; "
    "in 2 of 3 rounds other processes kept 1.2 of 2 cores busy"
)
CPU = {"device": "cpu", "device_name": None, "software": False, "left_over": [], "details": {}}
SOFTWARE = CPU | {"device": "gpu", "device_name": "llvmpipe", "software": True}
PARTIAL = CPU | {"device": "gpu", "device_name": "Some GPU", "left_over": ["ARG_MAX", "CAST"]}


def latency(p50, **fields):
    return Latency(
        p50=p50,
        p90=1.2 * p50,
        p99=1.5 * p50,
        runtime="litert_cpu",
        threads=1,
        batch=fields.pop("batch", 1),
        samples=600,
        round_p50=(0.99 * p50, p50, 1.01 * p50),
        first_call=3 * p50,
        load=2.0,
        prepare=12.0,
        spread=0.02,
        interval=Interval(0.99 * p50, 1.01 * p50, 0.75, "bootstrap"),
        **({"steady": True} | fields),
    )


def ratio(value, **fields):
    ends = Interval(0.98 * value, 1.02 * value, 0.75, "bootstrap")
    return Ratio(value, (value,), ends, **({"steady": True, "reason": None} | fields))


ROWS = (
    Row(
        "a.tflite",
        "litert_cpu",
        1,
        1,
        latency=latency(0.2),
        placement=CPU,
        cold=ColdStart(prepare=20.0, load=3.0, first_call=9.0),
        memory=ModelMemory(load=2**20, first_call=2**19, mapped=2**19),
        peak_memory_bytes=50 * 2**20,
        roofline=RooflineShare(0.5, "arithmetic", 12.0),
    ),
    Row(
        "a.tflite",
        "litert_gpu(software=true)",
        1,
        1,
        latency=latency(20.0),
        runtime_ratio=ratio(100.0),
        outputs=OutputDifference("litert_cpu", 0.0123, None, 0.004),
        placement=SOFTWARE,
    ),
    Row(
        "b.tflite",
        "litert_cpu",
        1,
        1,
        latency=latency(
            0.1,
            steady=False,
            reason=NOISE,
        ),
        ratio=ratio(0.5, steady=False, reason="the ratios of the rounds disagree; candidate: x"),
        placement=CPU,
    ),
    Row("b.tflite", "litert_gpu(software=true)", 1, 1, refused="CONCATENATION is left over"),
    Row("a.tflite", "litert_cpu", 1, 8, latency=latency(1.0, batch=8), placement=CPU),
    Row(
        "b.tflite",
        "litert_cpu",
        1,
        8,
        latency=latency(0.6, batch=8, joules=0.002),
        ratio=ratio(0.6),
        outputs=OutputDifference("keras", 0.5, 2.0, 0.2),
        placement=PARTIAL,
    ),
)
PROFILE = OperatorProfile(
    "xnnpack", 1, 1, (OperatorTime("CONV_2D", 0, None, "xnnpack", (3, 4)),), (5.0, 6.0), (4.0, 5.0)
)
FOUND = Benchmark(
    settings={"runtimes": ["litert_cpu"]},
    environment={
        "processor": {"name": "Some CPU", "usable_cores": 2, "instructions": ["avx2", "amx_int8"]},
        "packages": {},
    },
    files=(
        FileFacts("a.tflite", "x/a.tflite", "0a", 2048, 1024, 12_500_000, 77_696, 4096, 5120),
        FileFacts("b.tflite", "x/b.tflite", "0b", 1024, 512),
    ),
    rows=ROWS,
    peaks=(Peaks("litert_cpu", 1, "cpu", None, {"float32": 1e9}, ((1024, 1e9), (2048, 5e8))),),
    profiles=(
        Profiled("a.tflite", "litert_cpu", 1, 1, PROFILE),
        Profiled("b.tflite", "litert_cpu", 1, 1, None, "LiteRT cannot profile it."),
    ),
    notes=("No roofline of keras.",),
)
SAMPLES = tuple(
    LatencySamples("litert_cpu", 1, row.batch, ((1, 2),), (3,), (4,))
    for row in ROWS
    if row.latency is not None
)


def cells(title):
    """Rows of a table as dictionaries by heading, each cell with its detail."""
    table = next(each for each in benchmark_tables.tables(FOUND) if each.title == title)
    heads = [column.title for column in table.columns]
    return table, [
        dict(zip(heads, ((cell.value, cell.detail) for cell in row), strict=True))
        for row in table.rows
    ]


def test_a_steady_latency_is_shown_with_its_interval():
    _, (row, *_) = cells("Latency, batch 1")
    assert row["p50"] == ("0.2000", "0.1980 to 0.2020")
    assert row["p90"] == ("0.2400", "")
    assert row["p99"] == ("0.3000", "")
    assert row["examples"] == ("5,000", "")
    assert row["rounds differ by"] == ("2.0", "")


def test_noise_is_named_and_never_a_number():
    table, rows = cells("Latency, batch 1")
    noisy = rows[2]
    assert noisy["p50"] == ("too noisy", "0.09900 to 0.1010, note 1 2")
    assert {noisy[head][0] for head in ("p90", "p99", "examples")} == {text.MISSING}
    assert table.reasons[0].startswith("the rounds disagree, over the range")
    assert table.reasons[1].startswith("other processes had cores")
    assert not any("0.1" in value for value, _ in noisy.values())
    _, compared = cells("Compared, batch 1")
    assert compared[1]["times the baseline's"] == ("too noisy", "0.500 to 0.500")


def test_what_was_not_measured_has_its_reason():
    table, rows = cells("Latency, batch 1")
    assert rows[3]["p50"] == ("not measured", "note 3")
    assert table.reasons[2] == "CONCATENATION is left over"
    _, beyond = cells("Beyond latency, batch 1")
    assert len(beyond) == 3


def test_ratios_and_outputs_stand_beside_what_they_are_of():
    _, (gpu, _) = cells("Compared, batch 1")
    assert gpu["times the baseline's"] == (text.MISSING, "")
    assert gpu["times litert_cpu's"] == ("100.000", "98.000 to 102.000")
    assert gpu["outputs differ from litert_cpu's by"] == ("0.012", "0.4% of spread")
    _, (row,) = cells("Compared, batch 8")
    assert row["times the baseline's"] == ("0.600", "0.588 to 0.612")
    assert row["outputs differ from litert_cpu's by"] == ("2 steps", "20% of spread")
    assert "times litert_cpu's" not in row


def test_a_device_that_is_no_gpu_or_no_whole_one_is_named_so():
    _, rows = cells("Beyond latency, batch 1")
    assert rows[0]["ran on"] == ("cpu", "")
    assert rows[1]["ran on"] == ("software, no GPU: llvmpipe", "")
    _, rows = cells("Beyond latency, batch 8")
    assert rows[1]["ran on"][0] == "Some GPU; 2 operators on the processor: ARG_MAX, CAST"


def test_beyond_latency_in_units():
    _, rows = cells("Beyond latency, batch 1")
    assert rows[0]["model in memory"] == ("2.00", "")
    assert rows[0]["process at its peak"] == ("50.0", "")
    assert rows[0]["of the roofline"] == ("50", "by arithmetic")
    assert rows[0]["first call"] == ("9.00", "0.600")
    assert rows[0]["import"] == ("20.0", "")
    _, rows = cells("Beyond latency, batch 8")
    assert rows[1]["energy a call"] == ("2", "")


def test_files_by_what_their_bytes_tell():
    _, rows = cells("Files")
    assert rows[0]["MACs an example"] == ("12.50", "")
    assert rows[0]["activations at once"] == ("4.0", "")
    assert rows[1]["parameters"] == (text.MISSING, "")


def test_csv_has_every_row_unrounded():
    rows = list(csv.DictReader(io.StringIO(benchmark_tables.csv_text(FOUND))))
    assert [row["file"] for row in rows] == [row.file for row in ROWS]
    assert rows[0]["latency.p99"] == "0.30000000000000004"
    assert rows[2]["latency.steady"] == "False"
    assert rows[3]["refused"] == "CONCATENATION is left over"
    assert rows[3]["latency.p50"] == ""
    assert rows[5]["placement.left_over"] == "ARG_MAX CAST"
    assert "roofline" not in rows[0]
    assert rows[0]["size_bytes"] == "2048"


def test_figure_names_noise_in_place_of_a_mark():
    drawn = latency_chart.svg(FOUND)
    row = drawn.split("</desc>")[1]
    assert row.count("too noisy") == 1
    assert drawn.count("not measured") == 1
    assert "batch 8" in drawn
    assert "litert_gpu(software=true), 1 thread" in drawn


def test_figure_with_nothing_steady_is_drawn():
    assert "too noisy" in latency_chart.svg(dataclasses.replace(FOUND, rows=ROWS[2:4]))


def test_record_comes_back_as_it_was(tmp_path):
    benchmark_record.write(FOUND, tmp_path)
    assert benchmark_record.load(tmp_path) == FOUND


@pytest.mark.parametrize("record", ["{}", '{"schema_version": 2}'], ids=["none", "another"])
def test_record_of_another_version_is_refused(tmp_path, record):
    (tmp_path / benchmark_record.FILE_NAME).write_text(record)
    with pytest.raises(ValueError, match="schema_version"):
        benchmark_record.load(tmp_path)


def test_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"No benchmark\.json"):
        benchmark_record.load(tmp_path)


def test_every_file_is_written_and_drawn_again(tmp_path):
    said = []
    benchmark_files.write(FOUND, SAMPLES, tmp_path, said.append)
    names = {"benchmark.json", "samples.json", "benchmark.csv", "benchmark.md", "latency.svg"}
    assert {path.name for path in tmp_path.iterdir()} == names
    written = (tmp_path / "benchmark.md").read_text()
    assert r"Some CPU (2 cores, avx2, amx\_int8)" in written
    assert "1. the rounds disagree, over the range" in written
    assert "Where the time of a.tflite on litert_cpu goes" in written
    assert "| the call | not measured (note 1) |" in written
    assert "1. LiteRT cannot profile it." in written
    assert "No roofline of keras." in written
    (tmp_path / "latency.svg").unlink()
    benchmark_files.render(benchmark_record.load(tmp_path), tmp_path, said.append)
    assert (tmp_path / "latency.svg").is_file()


def test_reasons_are_a_list_below_the_table():
    table, _ = cells("Latency, batch 1")
    lines = table_text.note_lines(table)
    assert lines[2].startswith("1. the rounds disagree")
    assert lines[-1] == ""
