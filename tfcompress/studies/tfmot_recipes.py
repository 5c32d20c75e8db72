"""TF-MOT's collaborative optimization, as its guides write it, to compare with.

Pruning, clustering that keeps the zeros, quantization-aware training that keeps both. Knows which
of TF-MOT's functions follow one another. Does not know how a step is trained.

Reference: TensorFlow Model Optimization, guide "Collaborative Optimization" (PQAT, PCQAT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress._keras import sparse_clustering, tfmot


@dataclass(frozen=True)
class Step:
    """One step: what is wrapped, trained and stripped.

    Attributes:
      name: of the step.
      wrap: gives the model to be trained.
      callbacks: gives fresh callbacks for the training.
      strip: gives what the next step starts from, or what is exported.
    """

    name: str
    wrap: Callable[[Any], Any]
    callbacks: Callable[[], list[Any]]
    strip: Callable[[Any], Any]


def steps(recipe: str, *, sparsity: float, clusters: int) -> tuple[Step, ...]:
    """The steps of a recipe.

    Args:
      recipe: one of `RECIPES`.
      sparsity: fraction of each kernel's weights that become zero.
      clusters: distinct values of each kernel.
    """
    made = {
        "prune": _pruning(sparsity),
        "cluster": _clustering(clusters),
        "PQAT": _quantization("PQAT"),
        "PCQAT": _quantization("PCQAT"),
    }
    return tuple(made[name] for name in RECIPES[recipe])


RECIPES: Mapping[str, tuple[str, ...]] = {
    "tf-mot PQAT": ("prune", "PQAT"),
    "tf-mot PCQAT": ("prune", "cluster", "PCQAT"),
}
"""Names of recipes, with their steps."""


def _pruning(sparsity: float) -> Step:
    pruning = tfmot.sparsity.keras
    return Step(
        "prune",
        lambda model: pruning.prune_low_magnitude(
            # In steps of 100, as in the guides, a short training would never prune.
            model,
            pruning_schedule=pruning.ConstantSparsity(sparsity, begin_step=0, frequency=10),
        ),
        lambda: [pruning.UpdatePruningStep()],
        pruning.strip_pruning,
    )


def _clustering(clusters: int) -> Step:
    clustering = tfmot.clustering.keras
    start = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    return Step(
        "cluster",
        lambda model: sparse_clustering(
            model,
            number_of_clusters=clusters,
            cluster_centroids_init=start,
            preserve_sparsity=True,
        ),
        list,
        clustering.strip_clustering,
    )


def _quantization(kind: str) -> Step:
    combine = tfmot.experimental.combine

    def wrap(model: Any) -> Any:
        scheme = (
            combine.Default8BitPrunePreserveQuantizeScheme()
            if kind == "PQAT"
            else combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
        )
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        return tfmot.quantization.keras.quantize_apply(annotated, scheme)

    return Step(kind, wrap, list, lambda model: model)
