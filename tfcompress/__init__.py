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
    from tfcompress.byte_counts import ByteTable, byte_table
    from tfcompress.config import RunConfig
    from tfcompress.export import convert
    from tfcompress.graph.batch_norm import reestimate
    from tfcompress.graph.keras3 import to_keras3
    from tfcompress.graph.loading import ModelError, load_model
    from tfcompress.level_callback import accuracy_aware
    from tfcompress.minimal import MinimalError, Minimized, minimize
    from tfcompress.preprocessing import Preprocessing
    from tfcompress.probe import sensitivity
    from tfcompress.survey import coverage
    from tfcompress.workflow import run

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "ByteTable",
    "MinimalError",
    "Minimized",
    "ModelError",
    "Preprocessing",
    "RunConfig",
    "accuracy_aware",
    "byte_table",
    "convert",
    "coverage",
    "load_model",
    "minimize",
    "reestimate",
    "run",
    "sensitivity",
    "to_keras3",
]

_HOMES = {
    "Artifact": "artifact",
    "ByteTable": "byte_counts",
    "MinimalError": "minimal",
    "Minimized": "minimal",
    "ModelError": "graph.loading",
    "Preprocessing": "preprocessing",
    "RunConfig": "config",
    "accuracy_aware": "level_callback",
    "byte_table": "byte_counts",
    "convert": "export",
    "coverage": "survey",
    "load_model": "graph.loading",
    "minimize": "minimal",
    "reestimate": "graph.batch_norm",
    "run": "workflow",
    "sensitivity": "probe",
    "to_keras3": "graph.keras3",
}


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
