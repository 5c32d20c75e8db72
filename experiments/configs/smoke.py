"""Runs every part of the main job in seconds, on images that the package ships.

    python -m experiments.compress --config=smoke

Expect a report in under 90 seconds on two cores. Its figures mean nothing: one epoch on 1,000
images.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """One epoch of everything on a thousand digits."""
    return RunConfig(
        data=DataConfig(name="mnist_sample", max_train=1000, calibration_size=100),
        backbone=BackboneConfig(name="lenet5"),
        training=TrainingConfig(epochs=1, batch_size=64),
        recipes=("prune(0.5)+cluster(16)+qat",),
        stage_training=StageTrainingConfig(epochs=1),
        export=ExportConfig(formats=("float32", "int8")),
        latency=LatencyConfig(rounds=2, min_seconds=0.05),
    )
