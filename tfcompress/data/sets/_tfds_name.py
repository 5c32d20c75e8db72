"""Any image-classification data set of TFDS that needs no module of its own."""

from __future__ import annotations

from tfcompress.data import sources
from tfcompress.data.dataset import DataConfig, Published


def published(config: DataConfig, argument: str) -> Published:
    """The TFDS data set of the name `argument`; see `sources.first_available` for the errors."""
    request = sources.request_for(argument, config)
    return sources.first_available(request, source=config.source)
