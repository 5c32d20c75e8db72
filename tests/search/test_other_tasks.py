"""Searches for what is no class of an image: texts, and values."""

import dataclasses

import pytest

from tfcompress.artifact import Artifact
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


def texts(reviews, tiny_encoder):
    return RunConfig(
        data=DataConfig(name=f"text:{reviews}", task="text", calibration_size=32),
        backbone=TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=8, pooling="mean"),
        training=TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2),
        export=ExportConfig(formats=("dynamic",)),
        **QUICK,
    )


def test_texts_are_searched_in_the_recipes_that_suit_them(tmp_path, reviews, tiny_encoder):
    run = texts(reviews, tiny_encoder)
    budget = Budget(max_gzip_size_bytes=10**6)
    found = search(SearchConfig(run=run, budget=budget, trials=2, sampler="random"), tmp_path)
    assert found.reached
    (space,) = found.config["spaces"]
    assert "prune({0.3..0.95}" in space
    assert "{trim_vocabulary(least_count={1..4})|none}" in space
    # Attention stays in float within their files.
    assert "{qat|" in space
    assert "ptq(rounding=nearest)" in space
    assert all(trial.state != "failed" for trial in found.trials), found.trials
    assert found.winner.row.accuracy > 0.8


def test_a_file_of_fewer_tokens_and_several_lengths_is_judged_by_its_own(
    tmp_path, reviews, tiny_encoder
):
    run = texts(reviews, tiny_encoder)
    config = SearchConfig(
        run=dataclasses.replace(
            run, backbone=dataclasses.replace(run.backbone, shorter_lengths=(4,))
        ),
        spaces=("trim_vocabulary(least_count=1)+dynamic",),
        trials=1,
        best="size",
    )
    found = search(config, tmp_path)
    (trial,) = found.trials
    assert trial.candidate is not None, trial.reason
    row = next(each.row for each in found.finalists if each.name == trial.name)
    assert row.accuracy > 0.8
    assert Artifact.load(tmp_path / row.path).lengths == (4, 8)
    assert [timed.runtime for timed in row.latency_ms] == ["litert_cpu(length=8)"]


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
