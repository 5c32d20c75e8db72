"""Calls of a text encoder on fewer tokens than its input says.

Its layers take any length, and padding changes no output; the fixed length is what exported files
need. Knows what Keras checks. Does not know who cuts texts, nor where.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfcompress._keras import keras

if TYPE_CHECKING:
    from tf_keras import Model


@contextmanager
def any_length(model: Model) -> Iterator[None]:
    """Within it a model, and those inside it, can be called on inputs of another length.

    Keras checks an input's shape against that of the model before any layer sees it. What layers
    themselves refuse, they refuse still.

    Args:
      model: functional, or a subclass that holds such models as attributes.
    """
    models = [part for part in (model, *model.submodules) if isinstance(part, keras.Model)]
    specs = [part.input_spec for part in models]
    try:
        for part in models:
            part.input_spec = None
        yield
    finally:
        for part, spec in zip(models, specs, strict=True):
            part.input_spec = spec
