"""The shipped MNIST digits, each turned by an angle from [-45, 45] degrees, which is to be told.

A regression with no download: the images of `mnist_sample`, turned as `mnist_rotation` turns them.
"""

from __future__ import annotations

from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.sets import _rotation, mnist_sample
from tfcompress.goals import REGRESSION

TASKS = (REGRESSION,)
SOURCE = mnist_sample.SOURCE


def published(config: DataConfig, argument: str) -> Published:
    """The turned sample; see `sample.shipped` for the errors."""
    return _rotation.turned(mnist_sample.published(config, argument))
