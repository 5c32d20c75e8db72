"""LeNet-5 on MNIST, to search for a recipe within budgets of bytes and accuracy.

    python -m experiments.search_study --config=search_mnist --trials=18 --max_train=12000 \
      --space="{prune_channels({0.3..0.97})|none}+{prune({0.3..0.95})|none}+{qat|int8}" \
      --budget=max_size_bytes=100000,max_drop=0.005 --budget=max_size_bytes=40000,max_drop=0.015 \
      --budget=max_gzip_size_bytes=15000,max_drop=0.02 --output_dir=runs/search_mnist

Compares TPE and NSGA-II with a grid and with chance over three seeds. One search alone:

    python -m experiments.sweep --config=search_mnist --max_size_bytes=40000 --max_drop=0.005

A trial of 12,000 images takes about fifteen seconds, a draft two; the study an hour and a half on
two cores. The result stands in `RESULTS.md`.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """Six epochs for the baseline, two for each stage."""
    return RunConfig(
        data=DataConfig(name="mnist"),
        backbone=BackboneConfig(name="lenet5"),
        training=TrainingConfig(epochs=6),
        stage_training=StageTrainingConfig(epochs=2, learning_rate=5e-4),
    )
