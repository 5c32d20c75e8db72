"""CIFAR-10 on an ImageNet backbone with fewer channels, in integers: two ways.

    for seed in 0 1 2; do
      for network in "efficientnet_lite0 --image_size=64" \
          "MobileNet --width=0.25 --image_size=96"; do
        run=runs/channels/${network%% *}/$seed
        python -m experiments.compress --config=cifar10_channels --seed=$seed \
          --backbone=$network --output_dir=$run
        python -m experiments.tfmot_comparison --run_dir=$run --output_dir=${run}_tfmot \
          --seed=$seed --epochs=4
      done
    done

The first recipe halves the arithmetic. The second takes fewer channels, those whose weights are the
most for what they do, and makes zeros and 16 values a layer of the rest, which the gzipped file
shows. Fifteen thousand training images; the figures stand in `RESULTS.md`.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

_TEACHER = "distill(views=5, epochs=1)"
_ARITHMETIC = "prune_channels(0.5, importance=taylor, epochs=6, learning_rate=0.001)"
_WEIGHTS = "prune_channels(0.4, of=parameters, importance=taylor, epochs=5, learning_rate=0.001)"
_ZEROS = "prune(0.5, epochs=3, learning_rate=0.0005)"
_VALUES = "cluster(16, epochs=2, learning_rate=0.0003)"
_INTEGERS = "qat(epochs=3, learning_rate=0.0003)"


def get_config() -> RunConfig:
    """Six epochs for the baseline, ten and fourteen for the two ways, under its own outputs."""
    channels = "+".join((_TEACHER, _ARITHMETIC, _INTEGERS))
    all_three = "+".join((_TEACHER, _WEIGHTS, _ZEROS, _VALUES, _INTEGERS))
    return RunConfig(
        data=DataConfig(name="cifar10", max_train=15_000),
        backbone=BackboneConfig(name="efficientnet_lite0", image_size=64),
        training=TrainingConfig(
            epochs=6, augmentation=AugmentationConfig(flip=True, crop_padding=4)
        ),
        recipes=(channels, all_three),
        export=ExportConfig(minimal=True),
    )
