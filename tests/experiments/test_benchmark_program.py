import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfcompress import benchmark_record

ROOT = Path(__file__).parents[2]
QUICK = ("--rounds=1", "--min_runs=5", "--min_seconds=0")
# A machine with numpy and ai-edge-litert alone, as far as imports go.
SMALL_MACHINE = """
import runpy, sys
class Absent:
    known = {"ai_edge_litert", "flatbuffers", "ml_dtypes", "numpy", "google", "tqdm"}
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
def spec(name, package=None):
    try:
        return found(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = spec
sys.argv = ["benchmark", *sys.argv[1:]]
runpy.run_module("experiments.benchmark", run_name="__main__")
"""
LARGE_PACKAGES = (
    "absl",
    "h5py",
    "jinja2",
    "keras",
    "matplotlib",
    "PIL",
    "rich",
    "scipy",
    "tensorflow",
    "tf_keras",
)


def program(*arguments, command=("-m", "experiments.benchmark")):
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def files(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for format in ("float32", "int8"):
        exported(format).save(folder / f"{format}.tflite")
    return folder / "float32.tflite", folder / "int8.tflite"


@pytest.fixture(scope="module")
def measured(files, tmp_path_factory):
    """Every setting, once, with all that can be asked for."""
    folder = tmp_path_factory.mktemp("out")
    done = program(
        f"--artifact={files[0]},{files[1]}",
        "--runtime=litert_cpu,litert_cpu(kernels=builtin)",
        "--threads=2",
        "--batch=1,4",
        "--rounds=2",
        "--min_runs=5",
        "--min_seconds=0",
        "--profile",
        f"--output_dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_every_setting_is_a_row(measured):
    found = benchmark_record.load(measured[0])
    assert [(row.batch, row.file, row.runtime, row.threads) for row in found.rows] == [
        (batch, file, runtime, 2)
        for batch in (1, 4)
        for file in ("float32.tflite", "int8.tflite")
        for runtime in ("litert_cpu", "litert_cpu(kernels=builtin)")
    ]
    assert all(row.refused is None and row.latency.p50 > 0 for row in found.rows)
    assert all(row.placement["device"] == "cpu" for row in found.rows)
    assert found.environment["processor"]["logical_cores"] >= 1


def test_rows_are_compared_with_the_first_file_and_the_first_runtime(measured):
    found = benchmark_record.load(measured[0])
    for row in found.rows:
        assert (row.ratio is None) == (row.file == "float32.tflite")
        assert (row.runtime_ratio is None) == (row.runtime == "litert_cpu")
        assert (row.outputs is None) == (row.runtime == "litert_cpu")
    same = [row.outputs.fraction for row in found.rows if row.outputs]
    assert max(same) < 0.05


def test_beyond_latency_is_measured(measured):
    found = benchmark_record.load(measured[0])
    assert all(file.macs and file.parameters and file.arena_bytes for file in found.files)
    assert all(row.memory.anonymous > 0 for row in found.rows if row.runtime == "litert_cpu")
    assert [(each.file, each.runtime, each.batch) for each in found.profiles] == [
        (file, runtime, batch)
        for batch in (1, 4)
        for file in ("float32.tflite", "int8.tflite")
        for runtime in ("litert_cpu", "litert_cpu(kernels=builtin)")
    ]
    assert all(each.profile.operators for each in found.profiles)


def test_samples_are_those_of_the_figures(measured):
    samples = json.loads((measured[0] / "samples.json").read_text())
    found = benchmark_record.load(measured[0])
    assert [each["file"] for each in samples] == [row.file for row in found.rows]
    assert all([len(part) for part in each["rounds_ns"]] == [5, 5] for each in samples)
    for each, row in zip(samples, found.rows, strict=True):
        medians = [sorted(part)[2] for part in each["rounds_ns"]]
        assert row.latency.p50 == pytest.approx(sum(medians) / 2e6)


def test_tables_are_printed_and_written(measured):
    folder, printed = measured
    assert "Latency, batch 4" in printed
    assert "Where the time of int8.tflite on litert_cpu goes, 2 threads, batch 4" in printed
    rows = list(csv.DictReader((folder / "benchmark.csv").read_text().splitlines()))
    assert len(rows) == 8
    assert "## Beyond latency, batch 1" in (folder / "benchmark.md").read_text()
    assert (folder / "latency.svg").read_text().startswith("<svg")


def test_a_record_is_shown_again(measured):
    folder, _ = measured
    shown = program(f"--render={folder}")
    assert shown.returncode == 0, shown.stderr
    assert "Latency, batch 4" in shown.stdout


def test_a_small_machine_measures_without_the_large_packages(files, tmp_path):
    command = ("-c", SMALL_MACHINE % (LARGE_PACKAGES,))
    found = program(
        f"--artifact={files[0]},{files[1]}",
        *QUICK,
        "--roofline",
        "--profile",
        f"--output_dir={tmp_path}",
        command=command,
    )
    assert found.returncode == 0, found.stderr
    assert "No figure: matplotlib is not installed" in found.stdout
    record = benchmark_record.load(tmp_path)
    assert len(record.rows) == 2
    # A test's machine is busy: there are ceilings, or why there are none.
    assert len(record.peaks) + sum("roofline" in note for note in record.notes) == 1
    refused = program("--artifact=none.tflite", *QUICK, command=command)
    assert refused.returncode == 1
    assert refused.stderr == "Error: No model file at none.tflite.\n"


def test_what_cannot_run_is_a_row_with_its_reason(files, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(files[0].read_bytes()[:2000])
    found = program(f"--artifact={files[0]},{bad}", *QUICK, f"--output_dir={tmp_path / 'out'}")
    assert found.returncode == 0, found.stderr
    good, refused = benchmark_record.load(tmp_path / "out").rows
    assert good.latency.p50 > 0
    assert "bad.tflite" in refused.refused
    assert "not measured" in found.stdout


def test_square_brackets_in_a_file_name_are_shown(exported, tmp_path):
    exported("int8").save(tmp_path / "[bold]a.tflite")
    exported("int8").save(tmp_path / "[red]" / "[bold]a.tflite")
    paths = sorted(tmp_path.rglob("*.tflite"))
    joined = ",".join(map(str, paths))
    found = program(f"--artifact={joined}", *QUICK)
    assert found.returncode == 0, found.stderr
    # As much of each path as tells them apart.
    assert all("/".join(path.parts[-2:]) in found.stdout for path in paths)
    assert str(tmp_path.parent) not in found.stdout


def test_nothing_that_can_be_measured_is_told_with_every_reason(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    found = program(f"--artifact={tmp_path / 'bad.tflite'}", *QUICK)
    assert found.returncode == 1
    assert "Nothing could be measured" in found.stderr
    assert "cannot be loaded by LiteRT" in found.stderr
    assert 'File "' not in found.stderr + found.stdout


def test_help_and_a_bad_flag_answer_at_once():
    start = time.monotonic()
    shown, refused = program("--help"), program("--artefact=a.tflite")
    assert time.monotonic() - start < 4  # two answers
    assert "--threads" in shown.stdout
    assert refused.returncode != 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--artifact lacks a value"),
        (["--artifact=none.tflite"], "No model file at none.tflite"),
        (["--artifact=a.txt"], "No runtime asked for (litert_cpu) takes a.txt"),
        (["--artifact=a.tflite", "--runtime=tpu"], "Unknown runtime: 'tpu'"),
        (["--artifact=a.tflite", "--runtime=litert_cpu(kernels=x)"], "litert_cpu's kernels"),
        (["--artifact=a.tflite", "--threads=two"], "--threads takes whole numbers"),
        (["--artifact=a.tflite", "--threads=0"], "threads must be an integer of at least 1"),
        (["--artifact=a.tflite", "--threads=10000"], "at most 256. Received: 10000"),
        (["--artifact=a.tflite", "--batch=0"], "batch must be an integer of at least 1"),
        (["--artifact=a.tflite", "--batch=1,1"], "each once"),
        (["--artifact=a.keras"], "It is taken by: keras, onnx."),
        (["--artifact=x/../setup.cfg,setup.cfg"], "takes each file once"),
        (
            ["--artifact=a.tflite", "--output_dir=setup.cfg"],
            "Nothing can be written into setup.cfg",
        ),
        (["--artifact=a.tflite", "--threads="], "--threads lacks a value"),
        (["--artifact=a.tflite", "--runtime="], "--runtime lacks a value"),
        (["--artifact="], "--artifact lacks a value"),
        (["--render=nowhere"], "No benchmark.json in nowhere"),
    ],
)
def test_bad_input_is_one_line(arguments, said):
    found = program(*arguments)
    assert found.returncode == 1
    assert said in found.stderr
    assert "Traceback" not in found.stderr
