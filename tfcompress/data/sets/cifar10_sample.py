"""A sample of CIFAR-10 that the package ships: 1,000 training and 400 test images, class balanced.

Drawn from the published splits by `experiments/make_samples.py`; for tests, and for runs without a
network.
"""

from __future__ import annotations

from pathlib import Path

from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.sets.cifar10 import CLASSES
from tfcompress.data.sources import sample

SOURCE = "sample"
SHA256 = "677bfae21882f87a413cc898b7c5c8cdf3610870c2f231c2b71a2c50e1d3bc9e"


def published(config: DataConfig, argument: str) -> Published:
    """The sample; see `sample.shipped` for the errors."""
    del config, argument
    return sample.shipped(Path(__file__).with_suffix(".npz"), sha256=SHA256, classes=CLASSES)
