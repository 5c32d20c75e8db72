"""CIFAR-10 on an ImageNet backbone with fewer channels, in integers: two ways to a smaller file.

    for seed in 0 1 2; do
      for network in "efficientnet_lite0 --image_size=64" \
          "MobileNet --width=0.25 --image_size=96"; do
        run=runs/channels/${network%% *}/$seed
        python -m experiments.compress --config=cifar10_channels --seed=$seed \
          --backbone=$network --output_dir=$run
        python -m experiments.tfmot_comparison --run_dir=$run --output_dir=${run}_tfmot --seed=$seed
      done
    done

The first recipe takes channels away until the file is small enough, the second fewer of them and
sets weights to zero besides, which the gzipped file shows. Fifteen thousand training images; the
figures stand in `RESULTS.md`.
"""

from __future__ import annotations

from tfcompress.backbones import BackboneConfig
from tfcompress.config import RunConfig
from tfcompress.data import DataConfig
from tfcompress.data.pipeline import AugmentationConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

_TEACHER = "distill(views=5, epochs=1)"
_CHANNELS = "prune_channels({target}, rounds=2, epochs=4, learning_rate=0.001)"
_ZEROS = "prune({sparsity}, epochs=3, learning_rate=0.0005)"
_INTEGERS = "qat(epochs=2, learning_rate=0.0003)"


def get_config() -> RunConfig:
    """Six epochs for the baseline, eleven and nine for the two ways, under its own outputs."""
    few = "+".join((_TEACHER, _CHANNELS.format(target=0.6), _INTEGERS))
    both = "+".join(
        (_TEACHER, _CHANNELS.format(target=0.4), _ZEROS.format(sparsity=0.6), _INTEGERS)
    )
    return RunConfig(
        data=DataConfig(name="cifar10", max_train=15_000),
        backbone=BackboneConfig(name="efficientnet_lite0", image_size=64),
        training=TrainingConfig(
            epochs=6, augmentation=AugmentationConfig(flip=True, crop_padding=4)
        ),
        recipes=(few, both),
        export=ExportConfig(minimal=True),
    )
