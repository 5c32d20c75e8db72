import json
import subprocess
import sys
import time

import pytest


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_setting_is_measured_and_kept(exported, tmp_path):
    paths = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    for path, format in zip(paths, ("float32", "int8"), strict=True):
        exported(format).save(path)
    found = program(
        f"--artifact={paths[0]},{paths[1]}",
        "--threads=1,2",
        "--batch=1,4",
        "--rounds=1",
        "--min_runs=5",
        "--min_seconds=0",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert found.returncode == 0, found.stderr
    assert "litert_cpu, threads 2, batch 4" in found.stdout
    record = json.loads((tmp_path / "out" / "latency.json").read_text())
    settings = [
        (entry["path"], entry["samples"]["threads"], entry["samples"]["batch"])
        for entry in record["measurements"]
    ]
    first, second = map(str, paths)
    assert settings == [
        (path, threads, batch) for threads in (1, 2) for batch in (1, 4) for path in (first, second)
    ]
    assert all(len(entry["samples"]["rounds_ns"][0]) == 5 for entry in record["measurements"])
    assert all(entry["latency_ms"]["p50"] > 0 for entry in record["measurements"])
    assert record["environment"]["processor"]["logical_cores"] >= 1


def test_square_brackets_in_a_file_name_are_shown(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    exported("int8").save(tmp_path / "[bold]a.tflite")
    exported("int8").save(tmp_path / "[red]" / "[bold]a.tflite")
    paths = sorted(tmp_path.rglob("*.tflite"))
    joined = ",".join(map(str, paths))
    found = program(f"--artifact={joined}", "--rounds=1", "--min_runs=1", "--min_seconds=0")
    assert found.returncode == 0, found.stderr
    # As much of each path as tells them apart.
    assert all("/".join(path.parts[-2:]) in found.stdout for path in paths)
    assert str(tmp_path.parent) not in found.stdout


def test_file_that_is_no_model_is_one_line(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    found = program(f"--artifact={tmp_path / 'bad.tflite'}", "--rounds=1")
    assert found.returncode == 1
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
        (["--artifact=none.tflite"], "No model file at none.tflite"),
        (["--artifact=a.onnx"], "No runtime asked for (litert_cpu) takes a.onnx"),
        (["--artifact=a.tflite", "--runtime=tpu"], "Unknown runtime: 'tpu'"),
        (["--artifact=a.tflite", "--threads=two"], "--threads takes whole numbers"),
        (["--artifact=a.tflite", "--batch=0"], "batch must be an integer of at least 1"),
        (["--artifact=a.tflite", "--threads="], "--threads lacks a value"),
        (["--artifact=a.tflite", "--runtime="], "--runtime lacks a value"),
        (["--artifact="], "--artifact lacks a value"),
    ],
)
def test_bad_input_is_one_line(arguments, said):
    found = program(*arguments)
    assert found.returncode == 1
    assert said in found.stderr
    assert "Traceback" not in found.stderr
