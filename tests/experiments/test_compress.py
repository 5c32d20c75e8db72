"""The main job from its command line: what it says, what it refuses, and what a kill leaves."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    "--config=smoke",
    "--max_train=256",
    "--recipe=prune(0.5)+qat",
    "--epochs=2",
    "--stage_epochs=2",
    "--latency_rounds=1",
)


def command(*flags):
    return [sys.executable, "-m", "experiments.compress", *flags]


def call(tmp_path, *flags):
    """Runs the program in an empty folder; also gives the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command(*flags),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_lists_the_flags_at_once(tmp_path):
    done, seconds = call(tmp_path, "--help")
    for flag in ("--dataset", "--backbone", "--recipe", "--[no]sparse", "--output_dir", "--config"):
        assert flag in done.stdout
    shown = " ".join(done.stdout.split())
    for default in ("Default: 'mnist_sample'", "Default: 0.001", "Default: 'float32,int8'"):
        assert default in shown
    assert "smoke" in done.stdout
    assert seconds < 4


@dataclass(frozen=True)
class Refused:
    flags: tuple[str, ...]
    says: tuple[str, ...]


REFUSED = (
    Refused(("--recipe=prune(80)",), ("For 80% sparsity pass 0.8",)),
    Refused(("--recipe=qat+prune",), ("out of order", "write prune+qat")),
    Refused(
        ("--recipe=shrink",),
        ("Known: cluster, distill, factorize, prune, prune_channels, ptq, qat, trim_vocabulary",),
    ),
    Refused(("--recipe=prune(0.5", "--epochs=1"), ("character 6",)),
    Refused(("--recipe=qat+float16",), ("after qat only int8",)),
    Refused(("--config=smok",), ("Unknown config: 'smok'", "smoke")),
    Refused(("--dataset=mnits",), ("mnits", "mnist_sample")),
    Refused(("--dataset=folder:nowhere",), ("nowhere",)),
    Refused(("--data_source=internet",), ("internet", "prepared", "download")),
    Refused(("--backbone=resnet9",), ("resnet9", "resnet8")),
    Refused(("--weights=imaginary",), ("imaginary",)),
    Refused(("--transfer=half",), ("half", "linear_probe")),
    Refused(("--transfer=fine_tune",), ("last_layers must be at least 1",)),
    Refused(("--transfer=none",), ("--transfer=none with the backbone resnet8", "--model=PATH")),
    Refused(("--model=nowhere.keras",), ("names no model", "nowhere.keras")),
    Refused(
        (f"--model={__file__}", "--backbone=resnet8", "--width=0.5"),
        ("instead of a backbone", "--backbone, --width"),
    ),
    Refused((f"--model={__file__}", "--model_preprocessing=vgg"), ("vgg", "caffe", "torch")),
    Refused(("--model_preprocessing=unit",), ("belongs to --model=PATH",)),
    Refused(("--optimizer=adamm",), ("adamm", "adamw")),
    Refused(("--schedule=step",), ("step", "cosine_decay")),
    Refused(("--loss=nll",), ("nll", "categorical_crossentropy")),
    Refused(("--loss=categorical_hinge", "--label_smoothing=0.1"), ("label_smoothing",)),
    Refused(("--loss=sparse_categorical_crossentropy",), ("categorical_crossentropy", "huber")),
    Refused(("--loss=huber",), ("none of a classification", "categorical_crossentropy")),
    Refused(("--task=ranking",), ("ranking", "regression")),
    Refused(("--task=regression",), ("mnist_sample' is a classification",)),
    Refused(
        ("--dataset=mnist_sample_rotation", "--loss=categorical_crossentropy"),
        ("none of a regression", "mean_squared_error"),
    ),
    Refused(
        ("--dataset=mnist_sample_rotation", "--label_smoothing=0.1"),
        ("label_smoothing is for classes",),
    ),
    Refused(
        ("--dataset=mnist_rotation", "--recipe=prune(0.5, allocation=sensitivity)"),
        ("goes by how often the class changes",),
    ),
    Refused(("--backbone=minilm_l6", "--dataset=mnist_sample"), ("is of images", "text:FILE")),
    Refused(("--backbone=minilm_l6", "--config=smoke"), ("reads texts", "text:FILE")),
    Refused(("--backbone=minilm_l6", "--width=0.5"), ("--width does not go", "for texts")),
    Refused(("--backbone=minilm_l6", "--sequence_length=513"), ("from 1 to 512", "513")),
    Refused(("--config=text", "--shorter_lengths=16,many"), ("whole numbers", "16,many")),
    Refused(("--config=text", "--shorter_lengths=64"), ("below 64", "ascending")),
    Refused(("--sequence_length=8",), ("--sequence_length does not go", "for images")),
    Refused(("--epochs=0",), ("epochs must be at least 1",)),
    Refused(("--learning_rate=0",), ("learning_rate must be above 0",)),
    Refused(("--batch_size=0",), ("batch_size must be at least 1",)),
    Refused(("--seed=-1",), ("seed",)),
    Refused(("--dropout=20",), ("For 20% dropout pass 0.2",)),
    Refused(("--export=int4",), ("int4", "float32")),
    Refused(("--threads=0",), ("threads",)),
    Refused(("--validation_fraction=1",), ("validation_fraction",)),
    Refused(("--stage_epochs=0",), ("at least 1 epoch",)),
    Refused(("--epochs=many",), ("epochs", "many")),
    Refused(("--epoch=3",), ("Unknown command line flag 'epoch'",)),
    Refused(("prune(0.5)",), ("Unexpected arguments: prune(0.5)",)),
)


@pytest.mark.parametrize("case", REFUSED, ids=[" ".join(case.flags) for case in REFUSED])
def test_a_bad_flag_is_answered_at_once_and_leaves_nothing(tmp_path, case):
    done, seconds = call(tmp_path, *case.flags, "--output_dir=run")
    said = done.stdout + done.stderr
    for part in case.says:
        assert part in said
    assert done.returncode != 0
    assert "Traceback" not in said
    assert seconds < 4
    assert list(tmp_path.iterdir()) == []


def outcome(run_dir):
    record = json.loads((run_dir / "results.json").read_text())
    return {row["name"]: (row["sha256"], row["accuracy"]) for row in record["artifacts"]}


def stamps(run_dir, *patterns):
    found = [path for pattern in patterns for path in run_dir.glob(pattern)]
    return {path.relative_to(run_dir): path.stat().st_mtime_ns for path in sorted(found)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    done, _ = call(folder, *SMALL, "--output_dir=run")
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def test_a_run_leaves_everything_in_its_folder(finished):
    run_dir, said = finished
    for name in (
        "config.json",
        "environment.json",
        "results.json",
        "report.md",
        "report.html",
        "stages/00-baseline/stage.json",
        "stages/01-prune/stage.json",
        "stages/02-prune+qat/stage.json",
        "artifacts/baseline-float32.tflite",
        "artifacts/baseline-int8.tflite",
        "artifacts/prune+qat-int8.tflite",
        "predictions/baseline.npz",
        "predictions/prune+qat-int8.npz",
    ):
        assert (run_dir / name).is_file(), name
    assert "report.html" in said
    hidden = [path.name for path in run_dir.rglob(".*") if path.name != ".lock"]
    assert hidden == []


def test_the_numbers_are_those_of_the_recipe(finished):
    record = json.loads((finished[0] / "results.json").read_text())
    rows = {row["name"]: row for row in record["artifacts"]}
    assert rows["prune+qat-int8"]["sparsity"] >= 0.49
    assert rows["baseline-int8"]["sparsity"] < 0.2
    assert rows["prune+qat-int8"]["integer_operators"] == rows["prune+qat-int8"]["operators"]
    assert rows["prune+qat-int8"]["size_bytes"] < rows["baseline-float32"]["size_bytes"] / 3
    assert rows["prune+qat-int8"]["parity"]["top1_agreement"] > 0.95
    (zeros,) = (
        stage["report"]["layers"] for stage in record["stages"] if stage["technique"] == "prune"
    )
    assert all(layer["sparsity"] >= 0.49 for layer in zeros if layer["treated"])


def test_the_same_command_again_trains_and_exports_nothing(finished):
    run_dir, _ = finished
    patterns = ("stages/*/*", "artifacts/*", "predictions/*", "latency.json", "config.json")
    before, results = stamps(run_dir, *patterns), outcome(run_dir)
    done, _ = call(run_dir.parent, *SMALL, "--output_dir=run")
    assert done.returncode == 0, done.stderr
    assert "finished before" in done.stdout
    assert stamps(run_dir, *patterns) == before
    assert outcome(run_dir) == results


def test_other_settings_in_the_same_folder_are_refused(finished):
    run_dir, _ = finished
    before = stamps(run_dir, "[!.]*", "stages/*/*")
    done, seconds = call(run_dir.parent, *SMALL, "--output_dir=run", "--learning_rate=0.5")
    assert done.returncode != 0
    assert "training.learning_rate: 0.001 -> 0.5" in done.stderr
    assert "Traceback" not in done.stderr
    assert stamps(run_dir, "[!.]*", "stages/*/*") == before
    assert seconds < 4


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_files(tmp_path, finished):
    process = subprocess.Popen(
        command(*SMALL, "--output_dir=run"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not (tmp_path / "run/stages/01-prune/checkpoint.npz").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "results.json").exists()
    done, _ = call(tmp_path, *SMALL, "--output_dir=run")
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "run") == outcome(finished[0])


def test_a_run_at_work_is_not_joined(tmp_path):
    process = subprocess.Popen(
        command(*SMALL, "--output_dir=run"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 100
        while not (tmp_path / "run" / "config.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        done, _ = call(tmp_path, *SMALL, "--output_dir=run")
    finally:
        process.kill()
        process.wait()
    assert done.returncode != 0
    assert "Another run is at work" in done.stderr
    assert "Traceback" not in done.stderr
