"""How far outputs lie apart, by hand."""

import numpy as np
import pytest

from tfcompress import output_difference
from tfcompress.litert import TensorDetails

FLOAT = TensorDetails((1, 4), np.dtype(np.float32))


def float_row(*values):
    return np.array([values], np.float32)


def test_difference_by_hand():
    # Off by 0.2 everywhere; the expected values 1, 3, 1, 3 have a standard deviation of 1.
    ours, theirs = float_row(1.2, 3.2, 1.2, 3.2), float_row(1, 3, 1, 3)
    assert output_difference.fraction([ours], [theirs], [FLOAT]) == pytest.approx(0.2, rel=1e-6)
    assert output_difference.fraction([theirs], [theirs], [FLOAT]) == 0


def test_difference_of_few_values_is_relative_to_their_size():
    found = output_difference.fraction([float_row(2.2)], [float_row(2)], [FLOAT])
    assert found == pytest.approx(0.1, rel=1e-6)


def test_outputs_that_got_lost_for_their_size_are_no_agreement():
    lost, theirs = float_row(0, 0, 0, 0), float_row(1e-7, -1e-7, 1e-7, -1e-7)
    assert output_difference.fraction([lost], [theirs], [FLOAT]) == pytest.approx(1)
    assert output_difference.fraction([lost], [lost], [FLOAT]) == 0


def test_difference_of_quantized_outputs_is_that_of_their_values():
    details = TensorDetails((1, 4), np.dtype(np.int8), 0.5, 2)
    # Stored 4, 0, 4, 0 stand for 1, -1, 1, -1; one step of 0.5 in each.
    theirs = np.array([[4, 0, 4, 0]], np.int8)
    assert output_difference.fraction([theirs + np.int8(1)], [theirs], [details]) == pytest.approx(
        0.5
    )


def test_difference_of_several_outputs_is_the_worst():
    one, other = float_row(1, 3, 1, 3), float_row(1.5, 3.5, 1.5, 3.5)
    found = output_difference.fraction([one, other], [one, one], [FLOAT, FLOAT])
    assert found == pytest.approx(0.5)


def test_value_that_is_not_finite_on_one_side_only_is_infinitely_far():
    bad, good = float_row(np.nan, 3, 1, 3), float_row(1, 3, 1, 3)
    assert output_difference.fraction([bad], [good], [FLOAT]) == np.inf
    assert output_difference.fraction([bad], [bad], [FLOAT]) == 0


@pytest.mark.parametrize(
    ("one", "other"), [(np.nan, np.inf), (np.inf, -np.inf), (np.nan, 1), (-np.inf, 1)]
)
def test_values_that_are_not_finite_differ_unless_they_are_the_same(one, other):
    ours, theirs = float_row(one, 3, 1, 3), float_row(other, 3, 1, 3)
    for measure in (output_difference.fraction, lambda *a: output_difference.greatest(*a)[0]):
        assert measure([ours], [theirs], [FLOAT]) == np.inf
        assert measure([theirs], [ours], [FLOAT]) == np.inf
        assert measure([ours], [ours], [FLOAT]) == 0


def test_outputs_of_which_nothing_is_finite_prove_nothing():
    bad, good = float_row(np.nan, np.inf), float_row(1, 3)
    assert output_difference.fraction([bad], [bad], [FLOAT]) == np.inf
    assert output_difference.fraction([good, bad], [good, bad], [FLOAT] * 2) == np.inf
    nothing = np.zeros((1, 0), np.float32)
    assert output_difference.fraction([nothing], [nothing], [FLOAT]) == 0


def test_greatest_difference_of_float_outputs_has_no_steps():
    found = output_difference.greatest([float_row(1, 2, 3, 4.5)], [float_row(1, 2, 3, 4)], [FLOAT])
    assert found == (0.5, None)


def test_greatest_difference_of_quantized_outputs_in_steps():
    details = TensorDetails((1, 4), np.dtype(np.int8), 0.25, 2)
    theirs = np.array([[4, 0, 4, 0]], np.int8)
    ours = theirs + np.array([[0, 3, -1, 0]], np.int8)
    assert output_difference.greatest([ours], [theirs], [details]) == (0.75, 3)


def test_greatest_difference_is_infinite_where_one_side_is_not_finite():
    bad, good = float_row(np.nan, 3, 1, 3), float_row(1, 3, 1, 3)
    assert output_difference.greatest([bad], [good], [FLOAT])[0] == np.inf
    assert output_difference.greatest([bad], [bad], [FLOAT])[0] == 0
