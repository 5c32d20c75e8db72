"""LiteRT on the processor, with XNNPACK unless other kernels are asked for.

Knows how LiteRT shared the operators between XNNPACK and its own kernels. Does not know what a file
means. No TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfcompress import litert, registry
from tfcompress.runtimes import Placement

SUFFIXES = (".tflite",)


@dataclass(frozen=True)
class Options:
    """What can be asked of LiteRT on the processor.

    Attributes:
      kernels: `"xnnpack"`, `"builtin"` (XNNPACK off) or `"reference"` (plain loops).
      length: of a file that takes texts of several lengths, the tokens of each text; 0 for a file
        whose sizes are fixed.

    Raises:
      ValueError: an unknown name, or a length below 0.
    """

    kernels: str = "xnnpack"
    length: int = 0

    def __post_init__(self) -> None:
        registry.require(self.kernels, litert.KERNELS, what="value of litert_cpu's kernels")
        if not isinstance(self.length, int) or self.length < 0:
            raise ValueError(
                "litert_cpu's length must be a number of tokens, or 0 for a file of one size. "
                f"Received: {self.length!r}."
            )


class LitertSession:
    """A TFLite file on the processor; see `tfcompress.runtimes.Session`.

    Args:
      session: the loaded file.
      kernels: those that it was loaded with.
    """

    def __init__(self, session: litert.GraphSession, kernels: str) -> None:
        self._session = session
        self._kernels = kernels
        self.inputs = session.inputs

    # Found when it is asked for, so that the time to load is that of loading.
    @cached_property
    def placement(self) -> Placement:
        """The processor; `details` has what LiteRT planned.

        Its keys: `kernels`, `operators` (how many the graph has) and, with XNNPACK, `by_xnnpack`
        (how many it took), `xnnpack_parts` (into how many parts these fall) and, where it took less
        than all, `left_to_builtin` (names with counts).
        """
        share = self._session.share()
        details = {"kernels": self._kernels, "operators": str(share.operators)}
        if self._kernels == "xnnpack":
            details |= {"by_xnnpack": str(share.taken), "xnnpack_parts": str(share.parts)}
            if share.left:
                counts = Counter(share.left).items()
                details["left_to_builtin"] = ", ".join(f"{count} {name}" for name, count in counts)
        return Placement("cpu", details=details)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch."""
        return self._session.run(inputs)


def device(options: Options) -> str:
    """The processor."""
    return "cpu"


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
    session = litert.GraphSession(
        path,
        threads=threads,
        batch=batch,
        length=options.length or None,
        kernels=options.kernels,
    )
    return LitertSession(session, options.kernels)
