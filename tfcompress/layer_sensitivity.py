"""How much a model loses when one layer is compressed alone, as data; and what follows from it.

Knows how effects are told and how a sparsity for the whole model is shared out among its layers.
Does not know how effects are measured (`probe` does). No TensorFlow here.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.results import Interval

KINDS: Mapping[str, tuple[float, ...]] = {
    "sparsity": (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98),
    "bits": (8, 6, 5, 4, 3, 2),
    "rank": (0.75, 0.5, 0.25, 0.125),
    "channels": (0.125, 0.25, 0.5, 0.75),
}
"""What can be done to a layer, with the levels that are tried unless others are asked for.

`sparsity` is the fraction of a kernel's weights that become zero, the smallest first; `bits` those
of its weights, rounded around zero with a step for each output channel; `rank` the fraction of its
full rank that the matrix of a Dense or Conv2D layer keeps; `channels` the fraction of the channels
of one group that become zero, the least important first."""

MEANINGS: Mapping[str, str] = {
    "sparsity": "zeros",
    "bits": "bits",
    "rank": "rank kept",
    "channels": "channels off",
}


@dataclass(frozen=True)
class Effect:
    """What the model is like with one layer, or one group of channels, compressed.

    Attributes:
      kind: one of `KINDS`.
      name: of the layer; of channels, the layers that give them, joined by `+`.
      weights: elements of the kernels that were changed, treated or not.
      level: how far; see `KINDS`.
      accuracy: a fraction.
      difference: accuracy minus that of the whole model, paired example by example.
      difference_interval: 95%, of the difference.
      divergence: mean Kullback-Leibler divergence of the class probabilities from those of the
        whole model, in nats; at least 0.
    """

    kind: str
    name: str
    weights: int
    level: float
    accuracy: float
    difference: float
    difference_interval: Interval
    divergence: float

    @property
    def is_shown(self) -> bool:
        """Whether the 95% interval excludes that the accuracy is the same."""
        return not self.difference_interval.low <= 0 <= self.difference_interval.high


@dataclass(frozen=True)
class Sensitivity:
    """How a model answers to each of its layers being compressed; prints as a table.

    Attributes:
      model: the model's name.
      examples: on which it was measured, of the validation split.
      accuracy: of the whole model.
      effects: by kind, layer and level, in the order of the model.
    """

    model: str
    examples: int
    accuracy: float
    effects: tuple[Effect, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those that were measured."""
        return tuple(dict.fromkeys(effect.kind for effect in self.effects))

    def by_layer(self, kind: str) -> dict[str, tuple[Effect, ...]]:
        """The effects of one kind by the layer's name.

        Raises:
          ValueError: the kind was not measured.
        """
        if kind not in self.kinds:
            raise ValueError(
                f"The sensitivity to {kind} was not measured. Measured: {', '.join(self.kinds)}."
            )
        own = [effect for effect in self.effects if effect.kind == kind]
        return {name: tuple(effects) for name, effects in itertools.groupby(own, lambda e: e.name)}

    def sparsities(self, total: float, *, layers: Iterable[str] | None = None) -> dict[str, float]:
        """Shares out a sparsity: the layers that mind it least have the most zeros.

        The sum of the divergences of the single layers is made as small as their convex envelopes
        allow, with straight lines between the levels.

        Args:
          total: fraction of the weights of all `layers` that become zero, in [0, 1).
          layers: their names; None for all that were measured.

        Returns:
          a sparsity for each layer.

        Raises:
          ValueError: sparsity was not measured, or not of each layer, or the levels that were tried
            end below `total`.
        """
        found = self.by_layer("sparsity")
        names = list(found if layers is None else layers)
        unknown = [name for name in names if name not in found]
        if unknown:
            raise ValueError(
                f"The sensitivity of {', '.join(unknown)} was not measured. Measured: "
                f"{', '.join(found)}."
            )
        return shared_out(
            {name: [(e.level, e.divergence) for e in found[name]] for name in names},
            {name: found[name][0].weights for name in names},
            total,
        )

    def rows(self, kind: str) -> list[list[str]]:
        """A table of one kind: a head, and a row for each layer, the most sensitive first.

        The cells are points of accuracy lost; those whose interval holds zero stand in brackets.
        """
        layers = self.by_layer(kind)
        levels = self.levels(kind)
        head = ["layer", "weights", *(level_title(kind, level) for level in levels)]
        return [head, *([name, *_cells(layers[name], levels)] for name in self.ordered(kind))]

    def levels(self, kind: str) -> list[float]:
        """Those that were tried of a kind, the mildest first."""
        found = {effect.level for effect in self.effects if effect.kind == kind}
        return sorted(found, reverse=kind in ("bits", "rank"))

    def ordered(self, kind: str) -> list[str]:
        """The layers, the most sensitive first: by the divergences at the levels that all have."""
        layers = self.by_layer(kind)
        shared = set.intersection(*({e.level for e in effects} for effects in layers.values()))

        def harm(name: str) -> float:
            return sum(e.divergence for e in layers[name] if e.level in shared)

        return sorted(layers, key=harm, reverse=True)

    def to_csv(self) -> str:
        """All effects, a line each."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        names = ("kind", "layer", "weights", "level", "accuracy", "difference", "low", "high")
        writer.writerow([*names, "divergence"])
        for e in self.effects:
            bounds = e.difference_interval.low, e.difference_interval.high
            figures = (e.level, e.accuracy, e.difference, *bounds, e.divergence)
            writer.writerow([e.kind, e.name, e.weights, *(f"{x:.6g}" for x in figures)])
        return stream.getvalue()

    def __str__(self) -> str:
        lines = [
            f"{self.model}: accuracy {self.accuracy:.2%} on {self.examples:,} validation examples.",
            "Points of accuracy lost with one layer compressed and the others left as they are; in "
            "brackets where the 95% interval holds zero.",
        ]
        for kind in self.kinds:
            rows = self.rows(kind)
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines.append("")
            for row in rows:
                first, *rest = (
                    cell.ljust(width) if place == 0 else cell.rjust(width)
                    for place, (cell, width) in enumerate(zip(row, widths, strict=True))
                )
                lines.append("  ".join([first, *rest]).rstrip())
        return "\n".join(lines)


def level_title(kind: str, level: float) -> str:
    """What a column of a level is called.

    Example:
      >>> level_title("sparsity", 0.8), level_title("bits", 4)
      ('80% zeros', '4 bits')
    """
    shown = f"{level:g}" if kind == "bits" else f"{100 * level:g}%"
    return f"{shown} {MEANINGS[kind]}"


def _cells(effects: Sequence[Effect], levels: Sequence[float]) -> list[str]:
    by_level = {effect.level: effect for effect in effects}
    return [f"{effects[0].weights:,}", *(_points(by_level.get(level)) for level in levels)]


def _points(effect: Effect | None) -> str:
    if effect is None:
        return ""
    # Rounded first: no minus before a zero.
    points = f"{round(-100 * effect.difference, 1) + 0.0:.1f}"
    return points if effect.is_shown else f"({points})"


def shared_out(
    damage: Mapping[str, Sequence[tuple[float, float]]], sizes: Mapping[str, int], total: float
) -> dict[str, float]:
    """Shares a fraction of all weights out among layers, such that the sum of damages is least.

    Args:
      damage: by layer, pairs of a fraction in (0, 1) and what it costs, at least 0; nothing costs
        nothing.
      sizes: weights of each layer, at least 1.
      total: fraction of all weights, in [0, 1).

    Returns:
      the fraction of each layer. It is optimal for the convex envelopes of the damages, with
      straight lines between the fractions given.

    Raises:
      ValueError: the largest fractions of all layers do not reach `total`.

    Example:
      >>> shared_out({"a": [(0.5, 1.0)], "b": [(0.5, 3.0)]}, {"a": 100, "b": 100}, 0.3)
      {'a': 0.5, 'b': 0.1}
    """
    wanted = total * sum(sizes.values())
    pieces = [
        (rise / (width * sizes[name]), position, name, width)
        for name, points in damage.items()
        for position, (width, rise) in enumerate(_envelope(points))
    ]
    reachable = sum(width * sizes[name] for _, _, name, width in pieces)
    if wanted > reachable * (1 + 1e-9):
        raise ValueError(
            f"A sparsity of {total:g} cannot be shared out: the levels that were tried reach "
            f"{reachable / sum(sizes.values()):.3g} of all weights. Try higher levels."
        )
    found = dict.fromkeys(damage, 0.0)
    left = wanted
    # Of equal slopes the one that comes first in its layer, so that no piece is skipped.
    for _, _, name, width in sorted(pieces, key=lambda piece: piece[:2]):
        taken = min(width, max(left, 0.0) / sizes[name])
        found[name] += taken
        left -= taken * sizes[name]
    return {name: round(value, 12) for name, value in found.items()}


def _envelope(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex envelope from the origin, as (width, rise) of its pieces."""
    # More zeros never do less damage, where a measurement says so it is noise.
    ordered = sorted(points)
    costs = np.maximum.accumulate([max(cost, 0.0) for _, cost in ordered])
    hull = [(0.0, 0.0)]
    for point in zip((level for level, _ in ordered), costs, strict=True):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
            hull.pop()
        hull.append((float(point[0]), float(point[1])))
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(hull)]


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])
