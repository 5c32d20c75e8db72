"""LiteRT on the processor, with its default kernels (XNNPACK). No TensorFlow."""

from __future__ import annotations

import importlib
import importlib.util
import os

from tfcompress.litert import Session

SUFFIXES = (".tflite",)


def unavailable() -> str | None:
    """Why this runtime cannot work here; None where it can."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return "The package ai-edge-litert is not installed: pip install ai-edge-litert."
    return None


def prepare() -> None:
    """Imports the engine."""
    importlib.import_module("ai_edge_litert.interpreter")


def open(path: str | os.PathLike[str], *, threads: int, batch: int) -> Session:
    """Loads a TFLite file for batches of one size.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count below 1, or a file that LiteRT cannot run.
    """
    return Session(path, threads=threads, batch=batch)
