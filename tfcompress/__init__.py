"""Compress a transfer-learned Keras model, export it to TFLite, and know what it cost.

The names below are the public ones; techniques are modules of `tfcompress.techniques`, data sets
come from `tfcompress.data`, networks from `tfcompress.backbones`. Nothing is imported before it is
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcompress.artifact import Artifact
    from tfcompress.config import RunConfig
    from tfcompress.export import convert
    from tfcompress.preprocessing import Preprocessing
    from tfcompress.workflow import run

__version__ = "0.1.0"

__all__ = ["Artifact", "Preprocessing", "RunConfig", "convert", "run"]

_HOMES = {
    "Artifact": "artifact",
    "Preprocessing": "preprocessing",
    "RunConfig": "config",
    "convert": "export",
    "run": "workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
