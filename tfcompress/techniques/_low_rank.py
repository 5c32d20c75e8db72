"""Matrices as products of two thin ones, and how thin each of several may become.

Pure linear algebra on numpy arrays. Knows neither layers nor models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NO_ENERGY = 1e-13
"""Directions of less energy than this part of the first one's are rounding errors: those of single
precision are some 1e-14."""

_ROUNDING = 1e-12
"""A fraction that is this close to another one is as good."""

_LEAST = 1e-3
"""Fractions of the energy below this one are equally bad."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is known of the rows that a matrix is multiplied with.

    Attributes:
      moment: float64 [rows, rows], the mean of x' x over many inputs x; or [rows], its diagonal,
        where all else is 0.
      mean: float64 [rows].
    """

    moment: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A matrix as a sum of products of a column and a row, the most important one first.

    Attributes:
      left: float64 [rows, terms].
      right: float64 [terms, columns], rows of length 1 and orthogonal.
      energies: float64 [terms], falling: the squared singular values, or the mean square of what
        each term adds to the outputs.
      energy: of the whole: the sum of `energies`, or the variance of the outputs.
      full_rank: the smaller side of the matrix; there are fewer terms where its rank is lower.
    """

    left: np.ndarray
    right: np.ndarray
    energies: np.ndarray
    energy: float
    full_rank: int

    @property
    def kept(self) -> np.ndarray:
        """The fraction of the energy that rank 1, 2, ... keeps, float64 [full_rank], in [0, 1].

        What is missing is the error: of outputs with a large mean, the first terms may keep none.
        """
        # From the small end, where sums are exact.
        lost = np.append(np.cumsum(self.energies[:0:-1])[::-1], 0.0)
        kept = np.maximum(1 - lost / self.energy, 0.0)
        return np.concatenate([kept, np.ones(self.full_rank - kept.size)])

    def factors(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Two matrices whose product is the best approximation of a rank.

        Each term's size is shared evenly between its column and its row, so that neither factor
        learns faster than the other. Terms that the matrix does not have are zero.

        Args:
          rank: in [1, full_rank].

        Returns:
          float32 [rows, rank] and [rank, columns].
        """
        left, right = self.left[:, :rank], self.right[:rank]
        share = np.sqrt(np.linalg.norm(left, axis=0))
        missing = rank - share.size
        return (
            np.pad(left / share, [(0, 0), (0, missing)]).astype(np.float32),
            np.pad(right * share[:, None], [(0, missing), (0, 0)]).astype(np.float32),
        )


def decompose(matrix: np.ndarray, inputs: Inputs | None = None) -> Decomposition:
    """Splits a matrix W into terms, such that the first ones give `x W` with the least error.

    With M the second moment of the inputs x, the rows of `right` are the eigenvectors of W' M W and
    `left` is W times them. No inverse is needed, so that inputs of low rank do no harm.

    Args:
      matrix: [rows, columns], finite, not all zero.
      inputs: whose outputs are to be kept; None for the singular value decomposition, which is that
        for independent inputs of equal size around zero.

    Example:
      >>> found = decompose(np.array([[3.0, 0.0], [0.0, 4.0]]))
      >>> found.energies.tolist(), found.kept.tolist()
      ([16.0, 9.0], [0.64, 1.0])

    Reference:
      Eckart, Young: The approximation of one matrix by another of lower rank, 1936.
    """
    matrix = matrix.astype(np.float64)
    if inputs is not None and not inputs.moment.any():
        inputs = None  # The layer saw nothing but zeros, which say nothing about its weights.
    weighted = matrix if inputs is None else _weighted(matrix, inputs.moment)
    rows, columns = matrix.shape
    if rows >= columns:
        energies, directions = _eigenvectors(weighted.T @ weighted)
    else:
        energies, inner = _eigenvectors(weighted @ weighted.T)
        directions = weighted.T @ inner
        lengths = np.linalg.norm(directions, axis=0)
        directions /= np.maximum(lengths, np.finfo(np.float64).tiny)
    energy = float(energies.sum())
    if inputs is not None:
        # A constant is easily kept and says nothing: outputs that hardly vary count in full.
        energy = max(energy - float(np.sum((inputs.mean @ matrix) ** 2)), 1e-6 * energy)
    left = matrix @ directions
    return Decomposition(left, directions.T, energies, energy, min(rows, columns))


def _eigenvectors(symmetric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues that are not nearly zero, falling, and their vectors as columns."""
    values, vectors = np.linalg.eigh(symmetric)
    values, vectors = values[::-1], vectors[:, ::-1]
    real = max(int(np.sum(values > _NO_ENERGY * values[0])), 1)
    return values[:real], vectors[:, :real]


def _weighted(matrix: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """The matrix times the root of a moment."""
    return np.sqrt(moment)[:, None] * matrix if moment.ndim == 1 else _root(moment) @ matrix


def _root(moment: np.ndarray) -> np.ndarray:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(moment)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


@dataclass(frozen=True, eq=False)
class Ranks:
    """What each rank of one matrix keeps and costs.

    Attributes:
      kept: the fraction of the energy that rank 1, 2, ... keeps.
      cost: of the matrix as it is.
      cost_per_rank: of the two factors, for each rank.
      round_to: ranks are multiples of this.
    """

    kept: np.ndarray
    cost: float
    cost_per_rank: float
    round_to: int = 1

    @property
    def cheaper(self) -> range:
        """The ranks whose factors cost less than the matrix; possibly none."""
        most = math.ceil(self.cost / self.cost_per_rank) - 1
        return range(self.round_to, min(most, self.kept.size) + 1, self.round_to)

    def of_energy(self, energy: float) -> int:
        """The smallest rank that keeps a fraction of the energy, rounded up; it may cost more.

        Example:
          >>> Ranks(np.array([0.6, 0.9, 1.0]), cost=9, cost_per_rank=4).of_energy(0.9)
          2
        """
        return self.rounded(int(np.argmax(self.kept >= energy - _ROUNDING)) + 1)

    def rounded(self, rank: int) -> int:
        """A rank, rounded up, or the highest one that there is."""
        return min(math.ceil(rank / self.round_to) * self.round_to, self.kept.size)


def removable(matrices: Sequence[Ranks]) -> float:
    """The most cost that low ranks can take away."""
    return sum(
        max((each.cost - rank * each.cost_per_rank for rank in each.cheaper[:1]), default=0.0)
        for each in matrices
    )


def ranks_that_remove(matrices: Sequence[Ranks], amount: float) -> list[int | None]:
    """Chooses ranks that take away a cost and keep the most energy.

    The product of the kept fractions is to be large: no matrix may lose nearly all of its own.
    One threshold serves all matrices: how much of the (logarithm of the) energy may be given for a
    unit of cost.

    Args:
      matrices: of one model.
      amount: of cost, in [0, removable(matrices)].

    Returns:
      A rank for each matrix; None where it had better stay whole.

    Reference:
      Zhang, Zou, He, Sun: Accelerating very deep convolutional networks for classification and
      detection, 2016 (the product of the energies).
    """
    tables = [_Table(each) for each in matrices]

    def removed(threshold: float) -> float:
        return sum(table.removed[table.best(threshold)] for table in tables)

    # Thresholds in logarithms of energy for each unit of cost.
    low, high = 0.0, 1.0
    while removed(high) < amount * (1 - _ROUNDING):
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if removed(middle) < amount * (1 - _ROUNDING):
            low = middle
        else:
            high = middle
    chosen = [table.best(high) for table in tables]
    return [
        table.ranks[index]
        for table, index in zip(tables, _raised(tables, chosen, amount), strict=True)
    ]


def _raised(tables: Sequence[_Table], chosen: list[int], amount: float) -> list[int]:
    """Gives back what was removed beyond the amount, to whoever gains the most energy by it."""
    spare = sum(t.removed[i] for t, i in zip(tables, chosen, strict=True)) - amount
    while True:
        moves = []
        for number, (table, index) in enumerate(zip(tables, chosen, strict=True)):
            taken = table.removed[index] - table.removed
            gains = np.where((taken > 0) & (taken <= spare), table.lost[index] - table.lost, 0.0)
            best = int(np.argmax(gains))
            moves.append((float(gains[best]), number, best, float(taken[best])))
        gain, number, best, taken_back = max(
            moves, key=lambda move: move[0], default=(0.0, 0, 0, 0.0)
        )
        if gain <= 0:
            return chosen
        chosen = [*chosen[:number], best, *chosen[number + 1 :]]
        spare -= taken_back


class _Table:
    """What can be done with one matrix: leave it whole, or take one of its cheaper ranks.

    Attributes:
      ranks: of each possibility; None for whole.
      removed: the cost that it takes away.
      lost: minus the logarithm of the energy that it keeps.
    """

    def __init__(self, given: Ranks) -> None:
        ranks = np.array(given.cheaper, int)
        self.ranks: list[int | None] = [None, *given.cheaper]
        self.removed = np.concatenate([[0.0], given.cost - ranks * given.cost_per_rank])
        self.lost = np.concatenate([[0.0], -np.log(np.maximum(given.kept[ranks - 1], _LEAST))])

    def best(self, threshold: float) -> int:
        return int(np.argmax(threshold * self.removed - self.lost))
