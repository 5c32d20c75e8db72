"""ResNet-8 on CIFAR-10, to search for a recipe within budgets of bytes, accuracy and time.

    smaller="{prune_channels({0.1..0.8})|factorize(target={0.1..0.6})|none}"
    python -m experiments.search_study --config=search_cifar10 --trials=14 --max_train=10000 \
      --stage_epochs=1 --space="$smaller+{qat|ptq(rounding=nearest)|float32}" \
      --budget=max_size_bytes=75000,max_drop=0.015 --budget=max_size_bytes=60000,max_drop=0.04 \
      --budget=max_latency_ms=0.14,max_drop=0.04 --output_dir=runs/search_cifar10

Compares TPE and NSGA-II with a grid and with chance over three seeds; RESULTS.md has what came of
it. About seventy minutes a seed on one core. One search alone:

    python -m experiments.sweep --config=search_cifar10 --max_size_bytes=60000 --max_drop=0.04

The baseline is trained from nothing: the weights that the package carries have seen images that are
validation here.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """Thirty epochs for the baseline, three for each stage."""
    return RunConfig(
        data=DataConfig(name="cifar10"),
        backbone=BackboneConfig(name="resnet8", weights="none"),
        training=TrainingConfig(
            epochs=30,
            learning_rate=4e-3,
            augmentation=AugmentationConfig(flip=True, crop_padding=4),
        ),
        stage_training=StageTrainingConfig(epochs=3, learning_rate=1e-3),
    )
