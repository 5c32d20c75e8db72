"""Source: a TFDS directory in which the data set is prepared already. Reads only."""

from __future__ import annotations

from tfcompress.data.dataset import Published
from tfcompress.data.sources import Request, SourceUnavailableError, _tfds
from tfcompress.data.texts import PublishedTexts


def obtain(request: Request) -> Published | PublishedTexts:
    """The data set from the TFDS directory.

    Raises:
      SourceUnavailableError: it is not prepared there.
      ValueError: it is no image classification.
    """
    made = _tfds.builder(request)
    if not made.is_prepared():
        raise SourceUnavailableError(f"nothing is prepared at {made.data_path}.")
    return _tfds.read(made, request, source="prepared")
