"""Weight clustering: each kernel keeps a few distinct values, trained as shared weights.

Centroids are found by one-dimensional k-means before the training; during it the members of a
cluster move together. Zeros that the kernel holds already stay zeros and count as one of its
values. Does not know other techniques.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import (
    FROZEN,
    Kernel,
    distinct,
    kernels,
    layer_reports,
    named,
    nothing_treated,
    passed_over,
    require_named,
)
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import Level, VerificationError

INITIALIZATIONS = ("density", "kmeans++", "linear")
_LLOYD_ITERATIONS = 50


@dataclass(frozen=True)
class ClusteringConfig:
    """Into how many values, and how they are found.

    Attributes:
      clusters: distinct values in each kernel afterwards, zero included, in [2, 256].
      initialization: where k-means starts: `"linear"` (evenly spaced between the extremes),
        `"density"` (quantiles) or `"kmeans++"`.
      refine: let k-means move the centroids before the training. It lowers the error and uses
        the values more evenly; without it the outer values of `"linear"` stay rare, and the
        gzipped file was smaller on LeNet-5.
      skip: layer names or patterns (`conv1`, `block_*`), separated by `|`, that stay as they are.
      seed: of `kmeans++`.

    Raises:
      ValueError: a value outside its range.

    Reference:
      Han, Mao, Dally: Deep Compression, ICLR 2016 (which found linear initialization to serve
      best).
    """

    clusters: int = 16
    initialization: str = "linear"
    refine: bool = True
    skip: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        registry.require(self.initialization, INITIALIZATIONS, what="cluster initialization")
        if not isinstance(self.clusters, int) or not 2 <= self.clusters <= 256:
            raise ValueError(
                "ClusteringConfig.clusters must be a whole number in [2, 256]. "
                f"Received: {self.clusters}."
            )

    @property
    def settles_at(self) -> float:
        """The weights are clustered from the start."""
        return 0.0


CONFIG = ClusteringConfig

# In the bits of an index to a cluster, which are what clusters cost: 8 down to 1.
LEVEL = Level("clusters", lambda level: round(2 ** (8 - 7 * level)))


def skip_reason(kernel: Kernel, config: ClusteringConfig) -> str:
    """Why a kernel is not clustered; empty where it is."""
    if named(kernel.name, config.skip):
        return f"named in skip={config.skip}"
    if kernel.frozen:
        return FROZEN
    if kernel.depthwise:
        return "depthwise: few weights, a codebook would save next to nothing"
    if int(np.prod(kernel.variable.shape)) <= config.clusters:
        return f"no more weights than clusters ({config.clusters})"
    return ""


def skipped(model: Any, config: ClusteringConfig) -> Mapping[str, str]:
    """The layers, or weights of a layer, that are not clustered, and why."""
    return passed_over(model, lambda kernel: skip_reason(kernel, config))


def wrap(model: Any, config: ClusteringConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a copy of the model with clustered kernels, ready to be trained.

    Args:
      model: functional or sequential model, models within it included; TF-MOT's wrappers for
        pruning and clustering are taken off first, and what they made is where this begins.
      config: how many values.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: no layer can be clustered, or the model is subclassed or quantized.
    """
    del steps_per_epoch, epochs
    copy = plain_copy(model, technique="cluster")
    require_named(copy, config.skip, what="cluster: skip")
    treated = [kernel for kernel in kernels(copy) if not skip_reason(kernel, config)]
    if not treated:
        raise ValueError(nothing_treated(f"cluster({config.clusters})", skipped(copy, config)))
    at_once(copy, config)
    return copy


def at_once(model: Any, config: ClusteringConfig) -> None:
    """Clusters the kernels of a model in place; one with few enough values stays as it is.

    Args:
      model: functional or sequential model.
      config: how many values.
    """
    for kernel in kernels(model):
        if not skip_reason(kernel, config):
            kernel.assign(cluster_values(kernel.numpy(), config))


def cluster_values(values: np.ndarray, config: ClusteringConfig) -> np.ndarray:
    """Replaces each value by its cluster's centroid; zeros stay where a tenth or more are zero.

    Args:
      values: float32, any shape.
      config: number of clusters and initialization.

    Returns:
      Same shape and dtype, at most `config.clusters` distinct values.

    Example:
      >>> import numpy as np
      >>> cluster_values(np.array([1.0, 1.2, 5.0, 5.2]), ClusteringConfig(clusters=2)).tolist()
      [1.1, 1.1, 5.1, 5.1]
    """
    flat = values.ravel()
    # A few accidental zeros are not a structure worth a codebook entry.
    pruned = float(np.mean(flat == 0)) >= 0.1
    free = flat[flat != 0] if pruned else flat
    count = config.clusters - pruned
    if np.unique(free).size <= count:
        return values.copy()
    ordered = np.sort(free.astype(np.float64))
    centroids = _initial(ordered, count, config)
    if config.refine:
        centroids = _kmeans(ordered, centroids)
    centroids = centroids.astype(values.dtype)
    clustered = centroids[_nearest(centroids, flat)]
    if pruned:
        clustered = np.where(flat == 0, 0, clustered).astype(values.dtype)
    return clustered.reshape(values.shape)


def _initial(ordered: np.ndarray, count: int, config: ClusteringConfig) -> np.ndarray:
    if config.initialization == "linear":
        return np.linspace(ordered[0], ordered[-1], count)
    if config.initialization == "density":
        return np.quantile(ordered, (np.arange(count) + 0.5) / count)
    generator = np.random.default_rng(config.seed)
    centroids = [generator.choice(ordered)]
    for _ in range(count - 1):
        current = np.sort(centroids)
        distance = (ordered - current[_nearest(current, ordered)]) ** 2
        centroids.append(generator.choice(ordered, p=distance / distance.sum()))
    return np.sort(centroids)


def _kmeans(ordered: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """k-means on sorted numbers; a cluster that loses its last member splits the widest one."""
    for _ in range(centroids.size):
        centroids, sizes, spread = _lloyd(ordered, centroids)
        widest = int(spread.argmax())
        if sizes.all() or spread[widest] == 0:
            break
        centroids[int((sizes == 0).argmax())] = centroids[widest] + np.sqrt(
            spread[widest] / sizes[widest]
        )
        centroids = np.sort(centroids)
    return centroids


def _lloyd(ordered: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lloyd's iterations, where a cluster is a range and its mean the difference of prefix sums.

    Returns:
      Centroids, and for each cluster its size and its sum of squared distances.
    """
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(ordered**2)])
    for _ in range(_LLOYD_ITERATIONS):
        inner = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], inner, [ordered.size]])
        sizes = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, means, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    spread = np.diff(squares[edges]) - sizes * means**2
    return centroids.copy(), sizes, np.maximum(spread, 0.0)


def _nearest(centroids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index of the nearest of sorted centroids."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)


def callbacks(config: ClusteringConfig) -> Sequence[Any]:
    """The callback that moves the members of a cluster together."""
    from tfcompress.graph.structure import KeepStructure

    return [KeepStructure(groups=lambda kernel: not skip_reason(kernel, config))]


def strip(model: Any) -> Any:
    """Returns the model itself: clustering adds nothing that would have to go."""
    return model


def report(before: Any, after: Any, config: ClusteringConfig) -> CompressionReport:
    """Describes every layer with weights: clustered, or skipped and why."""
    reasons = skipped(before, config)
    return CompressionReport("cluster", layer_reports(before, after, reasons=reasons))


def verify(model: Any, config: ClusteringConfig, *, before: Any = None) -> None:
    """Counts the distinct values of each clustered kernel.

    Raises:
      VerificationError: a kernel has more than `config.clusters`.
    """
    del before
    for kernel in kernels(model):
        if skip_reason(kernel, config):
            continue
        found = distinct(kernel.numpy())
        if found > config.clusters:
            raise VerificationError(
                f"cluster: layer {kernel.name} has {found} distinct weights, expected at most "
                f"{config.clusters}. Was what techniques.cluster.callbacks gives passed to fit?"
            )


def verify_artifact(
    artifact: Artifact, report: CompressionReport, config: ClusteringConfig
) -> None:
    """Counts the distinct values within each output channel of the file's weight tensors.

    Within a channel, because folded BatchNormalization and per-channel quantization scale the
    channels differently.

    Raises:
      VerificationError: fewer tensors than clustered layers stay within `config.clusters`, in
        all or among those of one size.
    """
    counts = artifact.distinct_weights()
    sizes = {name: weight.values.size for name, weight in artifact.weights().items()}
    clustered = [n for n, found in counts.items() if found.in_channel <= config.clusters]
    expected = [layer.kernel_parameters for layer in report.layers if layer.treated]
    # A small channel has few values in any case: tensors are told apart by their size.
    missing = [
        size
        for size in set(expected) & set(sizes.values())
        if sum(sizes[name] == size for name in clustered) < expected.count(size)
    ]
    if missing or len(clustered) < len(expected):
        raise VerificationError(
            f"cluster: {len(clustered)} weight tensors of the exported file have at most "
            f"{config.clusters} distinct values in each channel, expected {len(expected)}, of "
            f"{', '.join(map(str, expected))} weights. Counted: {counts}."
        )
