"""MNIST digits, each turned by an angle from [-45, 45] degrees, which is to be told.

A regression on 70,000 real images; the digits come from where those of `mnist` do.
"""

from __future__ import annotations

from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.sets import _rotation, mnist
from tfcompress.goals import REGRESSION

TASKS = (REGRESSION,)


def published(config: DataConfig, argument: str) -> Published:
    """The turned digits; see `sources.first_available` for the errors."""
    return _rotation.turned(mnist.published(config, argument))
