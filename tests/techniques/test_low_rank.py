"""Matrices of low rank: terms, their energy, and ranks that cost less, by hand."""

import numpy as np
import pytest

from tfcompress.techniques._low_rank import Inputs, Ranks, decompose, ranks_that_remove, removable


def test_a_matrix_of_rank_1_is_recovered_from_one_term():
    matrix = np.outer([1.0, 2.0, 3.0], [2.0, -1.0])
    found = decompose(matrix)
    # |(1, 2, 3)| is the root of 14, |(2, -1)| that of 5.
    assert found.energies.tolist() == pytest.approx([70.0])
    assert found.kept.tolist() == [1.0, 1.0]
    left, right = found.factors(1)
    np.testing.assert_allclose(left @ right, matrix, atol=1e-5)
    assert np.linalg.norm(left) == pytest.approx(70**0.25, rel=1e-6)
    assert np.linalg.norm(right) == pytest.approx(70**0.25, rel=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)], ids=str)
def test_terms_are_those_of_the_singular_value_decomposition(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    found = decompose(matrix)
    left, values, right = np.linalg.svd(matrix)
    np.testing.assert_allclose(found.energies, values**2, rtol=1e-9)
    np.testing.assert_allclose(np.prod(found.factors(min(shape))[0].shape), shape[0] * min(shape))
    for rank in range(1, min(shape) + 1):
        expected = left[:, :rank] * values[:rank] @ right[:rank]
        np.testing.assert_allclose(np.matmul(*found.factors(rank)), expected, atol=1e-5)


def test_what_the_inputs_never_show_is_left_out():
    """The larger row of the matrix is multiplied with zeros."""
    matrix = np.diag([9.0, 1.0, 2.0])
    inputs = Inputs(np.diag([0.0, 1.0, 1.0]), np.zeros(3))
    found = decompose(matrix, inputs)
    assert found.energies.tolist() == pytest.approx([4.0, 1.0])
    assert found.kept.tolist() == pytest.approx([0.8, 1.0, 1.0])
    np.testing.assert_allclose(np.matmul(*found.factors(1)), np.diag([0, 0, 2]), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_inputs_that_are_all_zero_say_nothing(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    rows = shape[0]
    found = decompose(matrix, Inputs(np.zeros([rows, rows]), np.zeros(rows)))
    np.testing.assert_allclose(found.energies, decompose(matrix).energies)
    np.testing.assert_allclose(np.matmul(*found.factors(3)), matrix, atol=1e-5)


def test_energy_of_outputs_is_their_variance():
    """A first term that gives their mean keeps next to nothing."""
    inputs = Inputs(np.diag([101.0, 1.0]), np.array([10.0, 0.0]))
    found = decompose(np.eye(2), inputs)
    # Variances of 1 and 1; without the second one half is missing.
    assert found.energies.tolist() == pytest.approx([101.0, 1.0])
    assert found.kept.tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("energy", "round_to", "rank"),
    [(0.5, 1, 1), (0.6, 1, 1), (0.61, 1, 2), (0.9, 1, 2), (1.0, 1, 4), (0.61, 3, 3), (1.0, 3, 4)],
)
def test_the_lowest_rank_of_an_energy(energy, round_to, rank):
    kept = np.array([0.6, 0.9, 0.99, 1.0])
    assert Ranks(kept, cost=100, cost_per_rank=10, round_to=round_to).of_energy(energy) == rank


def test_only_ranks_that_cost_less_are_cheaper():
    kept = np.ones(8)
    assert list(Ranks(kept, cost=12, cost_per_rank=4).cheaper) == [1, 2]
    assert list(Ranks(kept, cost=13, cost_per_rank=4).cheaper) == [1, 2, 3]
    assert list(Ranks(kept, cost=40, cost_per_rank=4, round_to=4).cheaper) == [4, 8]
    assert list(Ranks(kept, cost=12, cost_per_rank=12).cheaper) == []


def test_a_cost_is_removed_where_it_keeps_the_most_energy():
    flat = Ranks(np.array([0.25, 0.5, 0.75, 1.0]), cost=8, cost_per_rank=2)
    steep = Ranks(np.array([0.9, 0.95, 0.99, 1.0]), cost=8, cost_per_rank=2)
    assert removable([flat, steep]) == 12
    assert ranks_that_remove([flat, steep], 6) == [None, 1]
    # The rest must come from the other: 2 of its 8 are gone at rank 3.
    assert ranks_that_remove([flat, steep], 8) == [3, 1]
    assert ranks_that_remove([flat, steep], 12) == [1, 1]


def test_what_was_removed_beyond_the_amount_is_given_back():
    """Of one matrix the threshold alone would take rank 1: the others keep little more."""
    ranks = Ranks(np.array([0.5, 0.51, 0.52, 1.0]), cost=8, cost_per_rank=2)
    assert ranks_that_remove([ranks], 2) == [3]


def test_a_diagonal_moment_is_that_of_rows_with_a_single_1():
    matrix, counts = (
        np.random.default_rng(0).normal(size=(6, 4)),
        np.array([0.0, 0.2, 0.1, 0.4, 0.3, 0.0]),
    )
    full, short = (decompose(matrix, Inputs(m, counts)) for m in (np.diag(counts), counts))
    np.testing.assert_allclose(short.energies, full.energies, rtol=1e-9)
    np.testing.assert_allclose(np.matmul(*short.factors(2)), np.matmul(*full.factors(2)), atol=1e-6)
