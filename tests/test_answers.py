"""What outputs say of an example."""

import numpy as np
import pytest

from tfcompress import answers
from tfcompress.answers import PredictedValues, Prediction, softmax


def test_top_orders_by_probability():
    prediction = Prediction("b", 0.5, {"a": 0.2, "b": 0.5, "c": 0.3})
    assert prediction.top(2) == [("b", 0.5), ("c", 0.3)]


def test_softmax_of_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, 0.0]])), [[0.5, 0.5, 0.0]])


def test_probabilities_stay_as_they_are_and_values_keep_their_units():
    (found,) = answers.of_outputs(np.array([[0.25, 0.75]]), ["a", "b"], "probabilities", source="f")
    assert found == Prediction("b", 0.75, {"a": 0.25, "b": 0.75})
    (found,) = answers.of_outputs(np.array([[2.5]]), ["degrees"], "values", source="f")
    assert found == PredictedValues({"degrees": 2.5})
    assert found.value == 2.5


@pytest.mark.parametrize(
    ("outputs", "kind", "message"),
    [
        ([[1.0]], "logits", "f has 1 outputs but 2 labels"),
        ([[1.0]], "values", "f has 1 outputs but 2 targets"),
        ([[1.0, np.nan]], "logits", "NaN or infinite, so it names no class"),
        ([[1.0, np.inf]], "values", "NaN or infinite, so it measures nothing"),
    ],
)
def test_outputs_that_say_nothing_are_refused(outputs, kind, message):
    with pytest.raises(ValueError, match=message):
        answers.of_outputs(np.array(outputs), ["a", "b"], kind, source="f")
