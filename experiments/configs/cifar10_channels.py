"""CIFAR-10 on an ImageNet backbone with fewer channels, in integers: two ways.

    for seed in 0 1 2; do
      for network in "efficientnet_lite0 --image_size=64" \
          "MobileNet --width=0.25 --image_size=96 --epochs=16"; do
        run=runs/channels/${network%% *}/$seed
        python -m experiments.compress --config=cifar10_channels --seed=$seed \
          --backbone=$network --output_dir=$run
        python -m experiments.tfmot_comparison --run_dir=$run --output_dir=${run}_tfmot \
          --seed=$seed --epochs=5
      done
    done

The first recipe takes the channels away that matter least for their weights, half of all weights.
The second takes fewer, and sets seven tenths of what is left to zero, which the gzipped file shows.
Ten thousand training images; the figures stand in `RESULTS.md`.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

_TEACHER = "distill(views=5, alpha=0.5, epochs=1)"
_CHANNELS = (
    "prune_channels({removed}, of=parameters, importance=taylor, epochs=8, learning_rate=0.001)"
)
_ZEROS = "prune(0.7, end=0.3, epochs=6, learning_rate=0.0007)"
_INTEGERS = "qat(epochs=4, learning_rate=0.0003)"


def get_config() -> RunConfig:
    """Eight epochs for the baseline, thirteen and nineteen for the two ways, under its outputs."""
    channels = "+".join((_TEACHER, _CHANNELS.format(removed=0.5), _INTEGERS))
    both = "+".join((_TEACHER, _CHANNELS.format(removed=0.4), _ZEROS, _INTEGERS))
    return RunConfig(
        data=DataConfig(name="cifar10", max_train=10_000),
        backbone=BackboneConfig(name="efficientnet_lite0", image_size=64),
        training=TrainingConfig(
            epochs=8, augmentation=AugmentationConfig(flip=True, crop_padding=4)
        ),
        recipes=(channels, both),
        export=ExportConfig(minimal=True),
    )
