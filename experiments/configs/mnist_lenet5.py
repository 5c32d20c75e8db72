"""LeNet-5 on MNIST under the recipes of TF-MOT's tutorials, beside one baseline.

    for seed in 0 1 2; do
      python -m experiments.compress --config=mnist_lenet5 --seed=$seed \
        --output_dir=runs/mnist_lenet5/$seed
    done
    runs=runs/mnist_lenet5; python -m experiments.report --compare=$runs/0,$runs/1,$runs/2

The result, with its spread over the seeds, stands in `RESULTS.md`.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """Six epochs for the baseline, four for each stage."""
    return RunConfig(
        data=DataConfig(name="mnist"),
        backbone=BackboneConfig(name="lenet5"),
        training=TrainingConfig(epochs=6),
        recipes=(
            "prune(0.8)+int8",
            "cluster(16)+int8",
            "cluster(8)+int8",
            "qat",
            "prune(0.8)+cluster(16)+qat",
        ),
        stage_training=StageTrainingConfig(epochs=4, learning_rate=3e-4),
    )
