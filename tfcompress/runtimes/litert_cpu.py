"""LiteRT on the processor, with XNNPACK unless other kernels are asked for. No TensorFlow."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress import litert, registry
from tfcompress.runtimes import Placement

SUFFIXES = (".tflite",)


@dataclass(frozen=True)
class Options:
    """What can be asked of LiteRT on the processor.

    Attributes:
      kernels: `"xnnpack"`, `"builtin"` (XNNPACK off) or `"reference"` (plain loops).

    Raises:
      ValueError: an unknown name.
    """

    kernels: str = "xnnpack"

    def __post_init__(self) -> None:
        registry.require(self.kernels, litert.KERNELS, what="value of litert_cpu's kernels")


class LitertSession:
    """A TFLite file on the processor; see `tfcompress.runtimes.Session`."""

    placement = Placement("cpu")

    def __init__(self, session: litert.Session) -> None:
        self._session = session
        self.inputs = (session.input_details,)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch."""
        return (self._session.run(*inputs),)


def unavailable(options: Options) -> str | None:
    """Why this runtime cannot work here; None where it can."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return "The package ai-edge-litert is not installed: pip install ai-edge-litert."
    return None


def prepare(path: str | os.PathLike[str], options: Options) -> None:
    """Imports the engine."""
    importlib.import_module("ai_edge_litert.interpreter")


def open(
    path: str | os.PathLike[str], *, threads: int, batch: int, options: Options
) -> LitertSession:
    """Loads a TFLite file for batches of one size.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count below 1, or a file that LiteRT cannot run.
    """
    return LitertSession(
        litert.Session(path, threads=threads, batch=batch, kernels=options.kernels)
    )
