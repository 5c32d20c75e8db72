"""Data sets: where they come from, how they are split, and how they reach a model.

    dataset = load(DataConfig(name="cifar10"))

`sets/` has one file a data set, `sources/` one file a source, `pipeline` the batches, `encoding`
the cache of encoded images. TensorFlow is imported when work begins.
"""

from __future__ import annotations

import importlib

from tfcompress import registry
from tfcompress.data import splitting
from tfcompress.data.dataset import DataConfig, Dataset, Split

__all__ = ["DataConfig", "Dataset", "Split", "load", "names"]


def names() -> tuple[str, ...]:
    """The data sets and forms that have a module, as they are written in `DataConfig.name`.

    Every image-classification name of TFDS works as well.
    """
    return registry.names("data/sets")


def load(config: DataConfig) -> Dataset:
    """Loads a data set into memory and splits it.

    Raises:
      ValueError: an unknown name, no source that has it, or data that cannot be used.
    """
    name, _, argument = config.name.partition(":")
    module = importlib.import_module(f"tfcompress.data.sets.{name}")
    return splitting.carve(module.published(config, argument), config)
