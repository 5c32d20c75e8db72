"""Trains the ResNet-8 that the package ships, on CIFAR-10 from random weights.

    python -m experiments.compress --config=pretrain_resnet8 --output_dir=runs/pretrain_resnet8
    python -m tfcompress.backbones.resnet8 runs/pretrain_resnet8/models/baseline.keras

The second command writes the shipped file, without the head. The result stands in `RESULTS.md`;
MLPerf Tiny's reference for this network is 87.2% in float32 and 87.0% in int8.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """Ninety epochs of SGD with flips and shifts; 1,000 images to choose the epoch by."""
    return RunConfig(
        data=DataConfig(name="cifar10", validation_fraction=0.02),
        backbone=BackboneConfig(name="resnet8", weights="none"),
        training=TrainingConfig(
            epochs=90,
            optimizer="sgd",
            learning_rate=0.1,
            warmup=0.05,
            augmentation=AugmentationConfig(flip=True, crop_padding=4),
        ),
    )
