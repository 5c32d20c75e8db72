"""The program that asks whether files hold up, on a small network."""

import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest

from tfcompress import workflow
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = RunConfig(
        data=DataConfig(name="cifar10_sample", calibration_size=64),
        backbone=BackboneConfig(name="ds_cnn", width=0.25),
        training=TrainingConfig(epochs=1, batch_size=32),
        export=ExportConfig(formats=("float32", "int8")),
        latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
    )
    workflow.run(config, folder)
    return folder


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.robustness", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_it_prints_and_writes_what_it_found(run_dir, tmp_path):
    folder = tmp_path / "out"
    command = [
        f"--run_dir={run_dir}",
        f"--output_dir={folder}",
        "--corruption=jpeg,pixelate",
        "--severity=1,5",
        "--file=baseline-int8",
        "--shift_dataset=mnist_sample",
        "--resamples=100",
    ]
    shown = program(*command)
    assert shown.returncode == 0, shown.stderr
    assert "2 corruptions, severities 1, 5." in shown.stdout
    assert "| baseline-int8 | " in shown.stdout
    assert "baseline-float32" not in shown.stdout
    assert "On 2,000 test images of mnist_sample, other classes" in shown.stdout
    texts = "".join(ElementTree.parse(folder / "robustness.svg").getroot().itertext())
    assert "pixelate" in texts
    # Two corruptions at two severities, the images as they are, and the other data set.
    assert len(list(folder.rglob("*.npz"))) == 2 * (2 * 2 + 1 + 1)
    again = program(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout == shown.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--corruption=fog"], "Unknown corruption: 'fog'. Known: gaussian_noise"),
        (["--severity=0"], "from 1 (weakest) to 5. Received: 0"),
        (["--severity=hard"], "--severity takes whole numbers from 1 to 5"),
        (["--file=int4"], "Known: baseline-float32, baseline-int8"),
        (["--shift_dataset=cifar10_sample"], "is of cifar10_sample itself"),
        (["jpeg"], "Unexpected arguments: jpeg"),
    ],
)
def test_bad_input(run_dir, tmp_path, arguments, says):
    shown = program(f"--run_dir={run_dir}", f"--output_dir={tmp_path / 'out'}", *arguments)
    assert shown.returncode != 0
    assert says in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr


def test_help_answers_at_once():
    start = time.monotonic()
    shown = program("--help")
    assert time.monotonic() - start < 4
    assert "--shift_dataset" in shown.stdout
