"""Holds back what native libraries write to descriptor 2, past Python's `sys.stderr`.

TensorFlow, its converter and LiteRT print start-up banners there that no setting turns off. Nothing
is lost: the text is kept for the message of an error. No TensorFlow here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(said: list[str]) -> Iterator[None]:
    """Redirects descriptor 2 during the block, then appends what was written to `said`.

    Where an exception leaves the block, `said` is filled as well.

    Args:
      said: receives one string.
    """
    with tempfile.TemporaryFile() as kept_back:
        descriptor = os.dup(2)
        os.dup2(kept_back.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(descriptor, 2)
            os.close(descriptor)
            kept_back.seek(0)
            said.append(kept_back.read().decode("utf-8", "replace"))
