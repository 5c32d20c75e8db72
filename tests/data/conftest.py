from collections.abc import Callable

import numpy as np
import pytest

from tfcompress.data.dataset import Split


@pytest.fixture
def make_split() -> Callable[..., Split]:
    """Random images; the label of image i is i modulo the number of classes, its id 100 + i."""

    def make(count: int, shape: tuple[int, int, int] = (8, 6, 3), classes: int = 2) -> Split:
        generator = np.random.default_rng(count)
        return Split(
            generator.integers(0, 256, (count, *shape), np.uint8),
            np.arange(count, dtype=np.int64) % classes,
            100 + np.arange(count, dtype=np.int64),
        )

    return make
