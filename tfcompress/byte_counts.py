"""What a TFLite file weighs, counted in four ways that are often taken for one another.

Knows how the bytes of kernels are counted as stored, in TFLite's sparse encoding and at their
entropy. Writes no file: the sparse and the entropy-coded sizes are what such a file would have. No
TensorFlow here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tfcompress.artifact import Artifact
from tfcompress.flatbuffer import WeightTensor
from tfcompress.sparse_encoding import sparse_bytes

DEFINITIONS = {
    "raw": "the file as it is",
    "gzip": "the whole file after gzip at level 9, with no name and no time",
    "sparse": (
        "each kernel in the smaller of its stored form and TFLite's sparse encoding (non-zeros, "
        "an index for each, a beginning for each row along the last axis), all else as stored"
    ),
    "entropy": (
        "each kernel in the smaller of its stored form and the order-0 entropy of its stored "
        "values with their codebook (each distinct value and a byte for the length of its code), "
        "all else as stored"
    ),
}


@dataclass(frozen=True)
class ByteTable:
    """The bytes of one file, four ways, as `definitions` says. Its text form is a table.

    Attributes:
      name: of the file.
      raw: see `DEFINITIONS`, as for the next three.
      gzip: the whole file's.
      sparse: the whole file's.
      entropy: the whole file's, rounded up.
      raw_kernels: part of `raw` in the kernels of convolutions and matrix products, with the
        indices of those that are stored sparse.
      sparse_kernels: part of `sparse` in the kernels.
      entropy_kernels: part of `entropy` in the kernels, codebooks included.
    """

    name: str
    raw: int
    gzip: int
    sparse: int
    entropy: int
    raw_kernels: int
    sparse_kernels: int
    entropy_kernels: int

    @property
    def other(self) -> int:
        """Bytes of all that is no kernel, as stored: biases, scales, the graph, metadata."""
        return self.raw - self.raw_kernels

    def __str__(self) -> str:
        lines = [self.name, _row("bytes", "kernels", "all else", "file")]
        for way in DEFINITIONS:
            whole = getattr(self, way)
            # gzip compresses the file as one.
            kernels = getattr(self, f"{way}_kernels", None)
            parts = ("", "") if kernels is None else (f"{kernels:,}", f"{whole - kernels:,}")
            lines.append(_row(way, *parts, f"{whole:,}"))
        return "\n".join(lines)


def definitions() -> str:
    """What each row of a `ByteTable` counts, a line each."""
    return "\n".join(f"{way}: {definition}" for way, definition in DEFINITIONS.items())


def byte_table(artifact: Artifact) -> ByteTable:
    """Counts a file's bytes as stored, gzipped, sparse and entropy-coded.

    A ratio of sizes names both sides: these four differ by several times for one and the same file,
    and only `raw` is what a device without a decoder has to hold.

    Args:
      artifact: the file.

    Raises:
      ValueError: a kernel of a type that cannot be read here, such as INT4.
    """
    # One whose elements an earlier one already holds in the file takes no bytes.
    kernels = [tensor for tensor in artifact.weights().values() if tensor.stored_bytes]
    stored = sum(tensor.stored_bytes for tensor in kernels)
    sparse = sum(min(tensor.stored_bytes, sparse_bytes(tensor.values)) for tensor in kernels)
    entropy = sum(_entropy_coded(tensor) for tensor in kernels)
    other = artifact.size_bytes - stored
    return ByteTable(
        name="The TFLite model" if artifact.path is None else artifact.path.name,
        raw=artifact.size_bytes,
        gzip=artifact.gzip_size_bytes,
        sparse=other + sparse,
        entropy=other + entropy,
        raw_kernels=stored,
        sparse_kernels=sparse,
        entropy_kernels=entropy,
    )


def entropy_bytes(values: np.ndarray) -> float:
    """The order-0 entropy of an array's values, in bytes for the whole array.

    The formula is the sum over the distinct values of `count * log2(size / count) / 8`: what an
    ideal coder needs that knows how often each value occurs and nothing of their order.

    Example:
      >>> entropy_bytes(np.array([3, 3, 5, 5, 3, 3, 5, 5], np.int8))
      1.0
    """
    _, counts = np.unique(values, return_counts=True)
    return float(np.sum(counts * np.log2(values.size / counts))) / 8


def _entropy_coded(tensor: WeightTensor) -> int:
    codebook = np.unique(tensor.values).size * (tensor.values.itemsize + 1)
    return min(tensor.stored_bytes, math.ceil(entropy_bytes(tensor.values)) + codebook)


def _row(name: str, *cells: str) -> str:
    return f"{name:<10}" + "".join(f"{cell:>12}" for cell in cells)
