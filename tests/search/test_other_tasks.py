"""Searches for what is no class of an image: texts, and values."""

import pytest

from tfcompress.backbones import BackboneConfig, TextConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.search import Budget, SearchConfig, search
from tfcompress.training import TrainingConfig

pytestmark = pytest.mark.slow
QUICK = {
    "stage_training": StageTrainingConfig(epochs=1),
    "latency": LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
}


def test_texts_are_searched_in_the_recipes_that_suit_them(tmp_path, reviews, tiny_encoder):
    run = RunConfig(
        data=DataConfig(name=f"text:{reviews}", task="text", calibration_size=32),
        backbone=TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=8, pooling="mean"),
        training=TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2),
        export=ExportConfig(formats=("dynamic",)),
        **QUICK,
    )
    budget = Budget(max_gzip_size_bytes=10**6)
    found = search(SearchConfig(run=run, budget=budget, trials=2, sampler="random"), tmp_path)
    assert found.reached
    (space,) = found.config["spaces"]
    assert "prune({0.3..0.95}" in space
    # They have no integer form of attention.
    assert "qat" not in space
    assert "ptq" not in space
    assert all(trial.state != "failed" for trial in found.trials), found.trials
    assert found.winner.row.accuracy > 0.8


def test_of_values_the_error_may_rise(tmp_path):
    run = RunConfig(
        data=DataConfig(name="mnist_sample_rotation", max_train=300, calibration_size=50),
        backbone=BackboneConfig(name="lenet5"),
        training=TrainingConfig(epochs=1, batch_size=50),
        **QUICK,
    )
    config = SearchConfig(
        run=run,
        budget=Budget(max_drop=20, max_size_bytes=450_000),
        spaces=("prune_channels(0.5)+int8",),
        trials=1,
    )
    found = search(config, tmp_path)
    assert found.reached
    row = found.winner.row
    assert row.metrics[0].name == "mean_absolute_error"
    assert found.winner.overruns["max_drop"] < 0
    text = (tmp_path / "report.md").read_text()
    assert "angle\\_degrees more error" in text
