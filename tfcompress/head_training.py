"""A head alone on a frozen backbone: the images are encoded once, the head trains on the codes.

Knows what the head trains on. Does not know how it is trained, nor what for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import backbones, checkpoint, export, training
from tfcompress.data import Dataset, Split, encoding
from tfcompress.tokenization import Preparation
from tfcompress.training import Batches, TrainingConfig

_AT_ONCE = 128


def encoded(
    model: Any,
    dataset: Dataset,
    preprocessing: Preparation,
    *,
    config: TrainingConfig,
    cache_dir: Path,
) -> tuple[Any, Batches]:
    """Freezes a model's backbone and encodes the images that its head trains on.

    Args:
      model: one of `backbones.build_model`; all but its head is frozen.
      dataset: whose train and validation splits are encoded.
      preprocessing: of the model.
      config: batch size and seed.
      cache_dir: where the codes are kept.

    Returns:
      The head, a model of its own that shares its layers with `model`, and the batches.
    """
    backbones.set_transfer_mode(model, "linear_probe")
    features, head = backbones.split_head(model)
    encode, fingerprint = export.inference(features), checkpoint.weights_sha256(features)

    def codes(split: Split) -> tuple[np.ndarray, np.ndarray]:
        found = encoding.encoded(
            split,
            encode,
            preprocessing,
            fingerprint=fingerprint,
            cache_dir=cache_dir,
            batch_size=_AT_ONCE,
        )
        return found, split.labels

    batches = training.encoded_batches(
        codes(dataset.train), codes(dataset.validation), config, goal=dataset.goal
    )
    return head, batches
