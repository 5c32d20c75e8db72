"""A run that starts from a user's own model file: as it is, or with a new head."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from tfcompress import durable, workflow
from tfcompress._keras import keras, keras3
from tfcompress.backbones import BackboneConfig, ModelConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig, TransferConfig
from tfcompress.data import DataConfig, load
from tfcompress.export import ExportConfig
from tfcompress.predictions import Predictions
from tfcompress.run_folder import RunFolderError
from tfcompress.training import TrainingConfig

DATA = DataConfig(name="mnist_sample", max_train=256, calibration_size=64)


def given_model(units=10):
    keras3.utils.set_random_seed(units)
    inputs = keras3.Input((14, 14, 1))
    outputs = keras3.layers.Rescaling(1 / 255)(inputs)
    outputs = keras3.layers.Conv2D(6, 3, strides=2, activation="silu")(outputs)
    outputs = keras3.layers.Flatten()(outputs)
    outputs = keras3.layers.Dense(units, activation="softmax", name="classes")(outputs)
    return keras3.Model(inputs, outputs)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "net.keras"
    given_model().save(path)
    return path


def config(path, **changes):
    plain = RunConfig(
        data=DATA,
        backbone=ModelConfig(str(path)),
        transfer=TransferConfig(mode="none"),
        training=TrainingConfig(epochs=1, batch_size=64),
        recipes=("prune(0.5)",),
        stage_training=StageTrainingConfig(epochs=1),
        export=ExportConfig(formats=("float32",)),
        latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture(scope="module")
def kept(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return workflow.run(config(file), folder), folder


def test_the_baseline_is_the_model_as_it_was_given(kept, file):
    found, folder = kept
    stored = Predictions.load(folder / "predictions" / "baseline.npz")
    images = stored_images(stored)
    expected = np.asarray(given_model()(images))
    logits = keras.activations.softmax(keras.backend.constant(stored.outputs[:32])).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert next(row for row in found.artifacts if row.name == "baseline-float32").difference == 0


def stored_images(stored):
    from tfcompress.preprocessing import Preprocessing

    test = load(DATA).test
    assert np.array_equal(test.ids[:32], stored.ids[:32])
    return Preprocessing((14, 14, 1)).apply(test.examples[:32])


def test_the_record_says_what_was_given_and_what_was_taken_off(kept, file):
    found, folder = kept
    first, second = found.stages
    assert (first.name, first.history, first.best_epoch) == ("00-baseline", (), None)
    assert first.config["head"] == "the model's own"
    assert first.config["removed"] == ["softmax of classes"]
    assert durable.sha256_of_file(file) in first.config["weights"]
    assert found.config["backbone"]["sha256"] == durable.sha256_of_file(file)
    assert second.name == "01-prune"
    report = (folder / "report.md").read_text()
    assert report.startswith("# net on mnist\\_sample")
    assert "the baseline is the model as it was given" in report


def test_the_recipe_compresses_it(kept):
    rows = {row.name: row for row in kept[0].artifacts}
    assert rows["prune-float32"].sparsity == pytest.approx(0.5, abs=0.01)
    assert [total.technique for total in kept[0].coverage[0].techniques] == ["prune(0.5)"]


def test_the_same_run_goes_on(kept, file):
    found, folder = kept
    before = (folder / "stages" / "01-prune" / "best.npz").stat().st_mtime_ns
    again = workflow.run(config(file), folder)
    assert (folder / "stages" / "01-prune" / "best.npz").stat().st_mtime_ns == before
    assert [row.sha256 for row in again.artifacts] == [row.sha256 for row in found.artifacts]


def test_another_file_under_the_same_name_is_noticed(kept, file, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(kept[1], folder)
    kept_bytes = file.read_bytes()
    given_model(units=12).save(file)
    try:
        with pytest.raises(RunFolderError, match=r"backbone.sha256: \w+ -> \w+"):
            workflow.run(config(file), folder)
    finally:
        file.write_bytes(kept_bytes)


def test_a_new_head_is_trained_for_other_classes(tmp_path):
    given_model(units=3).save(tmp_path / "three.keras")
    full = config(
        tmp_path / "three.keras",
        transfer=TransferConfig(mode="linear_probe"),
        recipes=("distill(student=lenet_300_100)",),
    )
    found = workflow.run(full, tmp_path / "run")
    first = found.stages[0]
    assert first.config["head"] == "new"
    assert first.config["removed"] == ["classes", "softmax of classes"]
    assert len(first.history) == 1
    assert found.baseline.parameters == 6 * 10 + (6 * 6 * 6) * 10 + 10
    assert [stage.technique for stage in found.stages] == ["baseline", "distill"]


def test_a_model_of_other_classes_is_refused_before_any_training(tmp_path):
    given_model(units=3).save(tmp_path / "three.keras")
    with pytest.raises(ValueError, match="tells 3 classes apart, the data set has 10"):
        workflow.run(config(tmp_path / "three.keras"), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.npz"))


def test_no_transfer_needs_a_model_of_ones_own():
    with pytest.raises(ValueError, match="--transfer=none with the backbone resnet8"):
        RunConfig(backbone=BackboneConfig(), transfer=TransferConfig(mode="none"))


@pytest.mark.parametrize("setting", ["last_layers", "head_epochs"])
def test_no_transfer_takes_no_training_settings(setting):
    with pytest.raises(ValueError, match="none"):
        TransferConfig(mode="none", **{setting: 2})
