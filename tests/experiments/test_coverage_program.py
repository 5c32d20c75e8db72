"""The coverage program from its command line."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.coverage", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )


def test_a_backbone_is_shown_by_layer_and_technique(tmp_path):
    found = program("--backbone=resnet8", "--recipe=prune(0.5)+cluster", f"--csv={tmp_path}/a.csv")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "resnet8"
    assert lines[1].split() == ["layer", "kind", "parameters", "MACs", "prune(0.5)", "cluster"]
    # The published count of MLPerf Tiny's ResNet-8, and its 12.5 million multiply-accumulates.
    (share,) = (line for line in lines if line.startswith("share of the MACs"))
    assert "12,501,632" in share
    with (tmp_path / "a.csv").open() as file:
        rows = {row["layer"]: row for row in csv.DictReader(file)}
    assert rows["logits"]["prune(0.5)"] == "yes"
    assert any(row["prune(0.5)"] == "no: no kernel" for row in rows.values())


def test_a_model_file_is_shown(tmp_path):
    from tfcompress._keras import keras3

    inputs = keras3.Input((8, 8, 3))
    outputs = keras3.layers.Dense(3, name="head")(keras3.layers.Flatten()(inputs))
    keras3.Model(inputs, outputs).save(tmp_path / "own.keras")
    found = program(f"--model={tmp_path}/own.keras", "--recipe=qat")
    assert found.returncode == 0, found.stderr
    assert "head" in found.stdout
    # 8*8*3 inputs to 3 outputs.
    assert "576" in found.stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "Pass --model=FILE or --backbone=NAME"),
        (("--model=a.keras", "--backbone=resnet8"), "Pass --model=FILE or --backbone=NAME"),
        (("--backbone=resnet9",), "Did you mean resnet8?"),
        (("--backbone=resnet8", "--recipe=qat+prune"), "out of order"),
        (("--backbone=resnet8", "--image_size=3"), "image_size must be at least"),
        (("--model=nothing.keras",), "nothing.keras"),
        (("resnet8",), "Unexpected arguments: resnet8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_flags_are_answered_in_a_line(flags, says):
    found = program(*flags)
    assert found.returncode != 0
    assert says in found.stdout + found.stderr
    assert "Traceback" not in found.stderr
