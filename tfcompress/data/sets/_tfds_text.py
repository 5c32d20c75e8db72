"""Any data set of TFDS with one text and one class for each example."""

from __future__ import annotations

from tfcompress.data import sources
from tfcompress.data.dataset import DataConfig
from tfcompress.data.texts import PublishedTexts

IS_TEXT = True


def published(config: DataConfig, argument: str) -> PublishedTexts:
    """The TFDS data set of the name `argument`; see `sources.first_available` for the errors."""
    request = sources.request_for(argument, config, is_text=True)
    return sources.first_texts(request, source=config.source)
