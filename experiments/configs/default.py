"""What the main job does when nothing is asked for: CIFAR-10 features, transferred to digits.

    python -m experiments.compress

Transfers the shipped ResNet-8, pretrained on CIFAR-10, to 6,688 MNIST digits that the package
ships, prunes half of its weights, trains it for integer arithmetic, exports it and judges it on
2,000 digits. Needs no download; 1 to 3 minutes on two cores. The expected table stands in
`README.md`.
"""

from __future__ import annotations

from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.training import TrainingConfig


def get_config() -> RunConfig:
    """Four epochs for the baseline, two for each stage."""
    return RunConfig(
        training=TrainingConfig(epochs=4),
        recipes=("prune(0.5)+qat",),
        stage_training=StageTrainingConfig(epochs=2),
    )
