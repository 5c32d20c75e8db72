"""Hand-computed values."""

from __future__ import annotations

import pytest

from tfcompress import statistics


def test_summarize_seeds_by_hand():
    summary = statistics.summarize_seeds([0.90, 0.92, 0.94])
    assert summary.mean == pytest.approx(0.92)
    assert summary.std == pytest.approx(0.02)
    assert (summary.n, summary.low, summary.high) == (3, 0.90, 0.94)
    assert statistics.summarize_seeds([0.9]).std is None


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_summarize_seeds_refuses_nothing_and_nan(values):
    with pytest.raises(ValueError, match="finite"):
        statistics.summarize_seeds(values)
