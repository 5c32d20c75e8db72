"""A run that shares its zeros out, and the program that shows why, on a small network."""

import csv
import dataclasses
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from tfcompress import probe, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.techniques import ptq
from tfcompress.techniques._integer_form import CHOSEN
from tfcompress.training import TrainingConfig

RECIPE = "prune(0.6, allocation=sensitivity, epochs=1)+qat(epochs=1)"
MIXED = "ptq(growth=0.5, rounding=nearest, equalize=false)"


@pytest.fixture(scope="module")
def config():
    return RunConfig(
        data=DataConfig(name="mnist_sample", max_train=512, calibration_size=64),
        backbone=BackboneConfig(name="ds_cnn", width=0.25),
        training=TrainingConfig(epochs=2, batch_size=32, learning_rate=0.01),
        recipes=(RECIPE, MIXED),
        export=ExportConfig(formats=("float32",)),
        latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, workflow.run(config, folder)


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.sensitivity", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_zeros_are_shared_out_and_their_sum_is_what_was_asked_for(finished):
    folder, found = finished
    stage = next(stage for stage in found.stages if stage.technique == "prune")
    layers = [layer for layer in stage.report.layers if layer.kernel_parameters]
    pruned = [layer for layer in layers if "Depthwise" not in layer.kind]
    shares = {layer.sparsity for layer in pruned}
    assert len(shares) > 2, "all layers have the same share"
    sizes = np.array([layer.kernel_parameters for layer in pruned])
    zeros = sizes @ [layer.sparsity for layer in pruned]
    # Each layer's share is rounded down to whole weights.
    assert 0.6 * sizes.sum() - len(pruned) <= zeros <= 0.6 * sizes.sum() + 1
    row = next(row for row in found.artifacts if "qat" in row.stages)
    file = Artifact.load(folder / row.path)
    stored = sum(int((weight.values == 0).sum()) for weight in file.weights().values())
    assert stored >= zeros


def test_layers_stay_in_float_for_as_many_bytes_as_were_given(finished):
    _folder, found = finished
    stage = next(stage for stage in found.stages if stage.technique == "ptq")
    layers = [layer for layer in stage.report.layers if layer.kernel_parameters]
    kept = [layer for layer in layers if layer.reason == CHOSEN]
    assert kept
    whole = sum(layer.kernel_parameters for layer in layers)
    assert 3 * sum(layer.kernel_parameters for layer in kept) <= 0.5 * whole
    row = next(row for row in found.artifacts if "ptq" in row.stages)
    assert 0 < row.integer_operators < row.operators


def test_a_resumed_run_does_not_measure_again(finished, config, monkeypatch):
    folder, found = finished
    monkeypatch.setattr(probe, "sensitivity", None)
    monkeypatch.setattr(ptq, "layers_in_float", None)
    again = workflow.run(config, folder)
    assert dataclasses.replace(again, seconds=found.seconds) == found


def test_the_program_shows_each_layer(finished, tmp_path):
    folder, found = finished
    shown = program(f"--run_dir={folder}", "--kind=sparsity,bits", f"--output_dir={tmp_path}")
    assert shown.returncode == 0, shown.stderr
    assert "98% zeros" in shown.stdout
    assert "4 bits" in shown.stdout
    rows = list(csv.DictReader((tmp_path / "sensitivity.csv").read_text().splitlines()))
    stage = next(stage for stage in found.stages if stage.technique == "prune")
    kernels = {layer.name for layer in stage.report.layers if layer.kernel_parameters}
    assert {row["layer"] for row in rows} == kernels
    for kind in ("sparsity", "bits"):
        texts = "".join(ElementTree.parse(tmp_path / f"{kind}.svg").getroot().itertext())
        assert all(name in texts for name in kernels)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kind=noise"], "Unknown kind of sensitivity: 'noise'"),
        (["--kind=bits", "--level=0.5"], "whole numbers from 2 to 16"),
        (["--kind=sparsity,bits", "--level=0.5"], "--level goes with one --kind"),
        (["--level=much"], "could not convert"),
    ],
)
def test_bad_input(finished, arguments, says):
    shown = program(f"--run_dir={finished[0]}", *arguments)
    assert shown.returncode != 0
    assert says in shown.stdout + shown.stderr


def test_a_folder_that_is_no_run(tmp_path):
    shown = program(f"--run_dir={tmp_path}")
    assert shown.returncode != 0
    assert "must be the folder of a finished run" in shown.stderr
