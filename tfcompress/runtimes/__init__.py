"""What executes a model or an artifact: one module an engine, found by its name.

    engine = choose("litert_cpu(kernels=reference)")
    if engine.unavailable() is None:
        engine.prepare("a.tflite")
        (outputs,) = engine.open("a.tflite", threads=1, batch=1).run([images])

A runtime is a module with the members of `Runtime`. A new one is a new file here; the registry
finds it and the contract test takes it up.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfcompress import recipe, registry, settings
from tfcompress.litert import TensorDetails


@dataclass(frozen=True)
class Placement:
    """Where the operators of a session run, and what is known of the device.

    Attributes:
      device: `"cpu"` or `"gpu"`.
      device_name: as the driver names a GPU; None for the processor, which `environment` describes.
      software: whether the processor plays the GPU (a software rasterizer), so that its times mean
        nothing.
      left_over: names of the operators that run on the processor though the GPU was asked for, one
        entry each; empty where all run on `device`.
      details: what else proves it, such as `{"backend": "Vulkan"}`.
    """

    device: str
    device_name: str | None = None
    software: bool = False
    left_over: tuple[str, ...] = ()
    details: dict[str, str] = dataclasses.field(default_factory=dict)


class Session(Protocol):
    """A loaded model, ready to run on batches of one size.

    Attributes:
      inputs: shape (batch first, where there is one) and dtype of each array that `run` takes.
      placement: where it runs, as far as the engine has proved it; the proof may run the model, so
        that it is asked for after the measurement.
    """

    inputs: tuple[TensorDetails, ...]
    placement: Placement

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch and returns when the outputs are there, in host memory.

        Raises:
          ValueError: another count, shape or dtype than `inputs`.
        """
        ...


class Runtime(Protocol):
    """The contract of a module in this folder.

    Attributes:
      SUFFIXES: names of the files that it runs end so, such as `(".tflite",)`.
      Options: a frozen dataclass of what can be asked of the engine, each field with a default;
        a bad value raises ValueError as it is made.
    """

    SUFFIXES: tuple[str, ...]
    Options: type[Any]

    def device(self, options: Any) -> str:
        """Which device is asked for, `"cpu"` or `"gpu"`; a session's `placement` proves it."""
        ...

    def unavailable(self, options: Any) -> str | None:
        """Why this runtime cannot work on this machine as asked; None where it can."""
        ...

    def prepare(self, path: str | os.PathLike[str], options: Any) -> None:
        """Imports the engine, so that the time of `open` is that of the model alone.

        Raises:
          ValueError: a file that must be converted first and cannot be.
        """
        ...

    def open(
        self, path: str | os.PathLike[str], *, threads: int, batch: int, options: Any
    ) -> Session:
        """Loads a model file for batches of one size on a count of threads.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: a count below 1, or a file that this runtime cannot run.
          RuntimeError: the device that was asked for is not there, or may not be the one that runs.
        """
        ...


@dataclass(frozen=True)
class Engine:
    """A runtime with its options, as `choose` gives it.

    Attributes:
      module: the runtime.
      options: one of its `Options`.
    """

    module: Runtime
    options: Any

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Names of the files that it runs end so."""
        return self.module.SUFFIXES

    @property
    def device(self) -> str:
        """Which device is asked for, `"cpu"` or `"gpu"`."""
        return self.module.device(self.options)

    def unavailable(self) -> str | None:
        """Why it cannot work on this machine; None where it can."""
        return self.module.unavailable(self.options)

    def prepare(self, path: str | os.PathLike[str]) -> None:
        """Imports the engine, and converts the file where it must be."""
        self.module.prepare(path, self.options)

    def open(self, path: str | os.PathLike[str], *, threads: int = 1, batch: int = 1) -> Session:
        """Loads a model file; see `Runtime.open`."""
        return self.module.open(path, threads=threads, batch=batch, options=self.options)


def choose(text: str) -> Engine:
    """Reads a runtime's name with its options, such as `litert_cpu(kernels=reference)`.

    Raises:
      ValueError: an unknown name, option or value. The message lists the known ones.

    Example:
      >>> choose("litert_cpu(kernels=reference)").options.kernels
      'reference'
    """
    term = recipe.parse_term(text, what="Runtime")
    registry.require(term.technique, registry.names("runtimes"), what="runtime")
    module = registry.load("runtimes", term.technique)
    fields = {field.name for field in dataclasses.fields(module.Options)}
    if term.positional or not {name for name, _ in term.options} <= fields:
        known = ", ".join(sorted(fields)) or "none"
        raise ValueError(
            f"Runtime {text!r}: options are given by name. Those of {term.technique}: {known}."
        )
    options = module.Options(**dict(term.options))
    settings.require_types(options)
    return Engine(module, options)
