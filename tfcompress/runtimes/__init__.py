"""What executes a model or an artifact: one module an engine, found by its name.

A runtime is a module with the members of `Runtime`. A new one is a new file here; the registry
finds it and the contract test takes it up.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np

from tfcompress.litert import TensorDetails


class Session(Protocol):
    """A loaded model, ready to run on batches of one size.

    Attributes:
      input_details: shape (batch first) and dtype of what `run` takes.
    """

    input_details: TensorDetails

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Runs one batch and returns when the outputs are there, in host memory.

        Raises:
          ValueError: another shape or dtype than `input_details`.
        """
        ...


class Runtime(Protocol):
    """The contract of a module in this folder.

    Attributes:
      SUFFIXES: names of the files that it runs end so, such as `(".tflite",)`.
    """

    SUFFIXES: tuple[str, ...]

    def unavailable(self) -> str | None:
        """Why this runtime cannot work on this machine; None where it can."""
        ...

    def prepare(self) -> None:
        """Imports the engine, so that the time of `open` is that of the model alone."""
        ...

    def open(self, path: str | os.PathLike[str], *, threads: int, batch: int) -> Session:
        """Loads a model file for batches of one size on a count of threads.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: a count below 1, or a file that this runtime cannot run.
        """
        ...
