"""A finished run of a small network, for the studies that go on with one."""

import pytest

from tfcompress import workflow
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """Its folder, with the baseline as Keras model and int8 file."""
    folder = tmp_path_factory.mktemp("run")
    config = RunConfig(
        data=DataConfig(name="mnist_sample", max_train=512, calibration_size=64),
        backbone=BackboneConfig(name="ds_cnn", width=0.25),
        training=TrainingConfig(epochs=2, batch_size=32, learning_rate=0.01),
        export=ExportConfig(formats=("int8",), minimal=True),
        latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
    )
    workflow.run(config, folder)
    return folder
