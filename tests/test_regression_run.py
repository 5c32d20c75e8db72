"""A regression from start to end: values in their units, through every part of a run."""

import dataclasses
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from tfcompress import data, finished_run, results, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import BackboneConfig, ModelConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig, TransferConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.training import TrainingConfig

CONFIG = RunConfig(
    data=DataConfig(name="mnist_sample_rotation", max_train=768, calibration_size=64),
    backbone=BackboneConfig(name="lenet5"),
    training=TrainingConfig(epochs=4, batch_size=32),
    recipes=("prune(0.5)+qat", "distill", "prune_channels(0.3, importance=taylor)"),
    stage_training=StageTrainingConfig(epochs=1),
    export=ExportConfig(formats=("float32", "int8")),
    latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
)
METRICS = ("mean_absolute_error", "root_mean_squared_error", "r_squared")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return workflow.run(CONFIG, folder), folder


@pytest.fixture(scope="module")
def dataset():
    return data.load(CONFIG.data)


def rows(found):
    return {row.name: row for row in (found.baseline, *found.models, *found.artifacts)}


def test_the_results_say_what_was_measured_and_nothing_of_classes(finished):
    found, folder = finished
    assert results.load(folder) == found
    assert (found.data.classes, found.data.targets) == ((), ("angle_degrees",))
    for row in rows(found).values():
        assert tuple(metric.name for metric in row.metrics) == METRICS
        assert row.accuracy is row.accuracy_interval is row.difference is row.p_value is None
    assert all(metric.difference is None for metric in found.baseline.metrics)


def test_the_figures_are_those_of_the_stored_predictions(finished):
    found, folder = finished
    before = Predictions.load(folder / found.baseline.predictions)
    for row in rows(found).values():
        stored = Predictions.load(folder / row.predictions)
        assert stored.kind == "values"
        assert stored.outputs.shape == stored.labels.shape == (2000, 1)
        assert stored.outputs.dtype == stored.labels.dtype == np.float32
        error = np.abs(stored.outputs.astype(float) - stored.labels)
        mae, rmse, r2 = row.metrics
        assert mae.value == pytest.approx(error.mean())
        assert rmse.value == pytest.approx(np.sqrt((error**2).mean()))
        assert r2.value == pytest.approx(1 - (error**2).sum() / (2000 * stored.labels.var()), 1e-4)
        for metric in row.metrics:
            assert metric.interval.low < metric.value < metric.interval.high
        if row is not found.baseline:
            usual = np.abs(before.outputs.astype(float) - before.labels).mean()
            assert mae.difference == pytest.approx(error.mean() - usual, abs=1e-9)
            assert mae.difference_interval.low <= mae.difference <= mae.difference_interval.high


def test_it_learns_the_angle_and_files_keep_it(finished):
    by_name = rows(finished[0])
    # Always saying the mean is off by 22.5 degrees, and has an R squared of 0.
    assert by_name["baseline"].metrics[0].value < 17
    assert by_name["baseline"].metrics[2].value > 0.4
    spread = 90 / np.sqrt(12)
    for name in ("baseline-float32", "baseline-int8"):
        assert abs(by_name[name].metrics[0].difference) < 0.03 * spread
    assert by_name["prune+qat-int8"].metrics[0].value < 18
    assert by_name["distill-int8"].metrics[0].value < 17


def test_the_recipes_did_what_they_say(finished):
    by_name = rows(finished[0])
    quantized = by_name["prune+qat-int8"]
    assert quantized.sparsity == pytest.approx(0.5, abs=0.01)
    assert quantized.integer_operators == quantized.operators
    # What was trained is what the file computes, with the units in its last operator.
    step = quantized.parity.output_scale
    assert quantized.parity.max_difference < 1.01 * step
    assert quantized.parity.mean_difference < 0.02 * step
    assert by_name["prune_channels"].macs < 0.72 * by_name["baseline"].macs
    assert by_name["baseline-float32"].parity.relative_difference < 1e-5
    assert by_name["baseline-int8"].parity.top1_agreement is None


@pytest.mark.parametrize("name", ["baseline-float32", "baseline-int8"])
def test_units_cost_no_operator(finished, name):
    _, folder = finished
    names = [o.name for o in Artifact.load(folder / f"artifacts/{name}.tflite").operators]
    assert names[-1] == "FULLY_CONNECTED"
    assert not {"MUL", "ADD", "DEPTHWISE_CONV_2D"} & set(names)


def test_the_best_epoch_has_the_least_validation_loss(finished):
    for stage in finished[0].stages:
        losses = [epoch["val_loss"] for epoch in stage.history]
        assert stage.best_epoch == int(np.argmin(losses))
        assert "val_mean_absolute_error" in stage.history[0]
        assert stage.config["training"]["loss"] == "mean_squared_error"
    # In standard deviations: near 1 for a model that says the mean.
    first = finished[0].stages[0].history[0]
    assert 0.2 < first["loss"] < 1.5
    assert 8 < first["mean_absolute_error"] < 30


def test_a_file_measures_images_on_its_own(finished, dataset):
    found, folder = finished
    stored = Predictions.load(folder / rows(found)["prune+qat-int8"].predictions)
    artifact = Artifact.load(folder / "artifacts" / "prune+qat-int8.tflite")
    assert artifact.output == "values"
    assert artifact.metadata["targets"] == ["angle_degrees"]
    measured = artifact.predict(dataset.test.examples[:5])
    assert [list(each.values) for each in measured] == [["angle_degrees"]] * 5
    np.testing.assert_allclose([each.value for each in measured], stored.outputs[:5, 0], rtol=1e-5)


def test_the_program_prints_values(finished, dataset, tmp_path):
    from PIL import Image

    Image.fromarray(dataset.test.examples[0, ..., 0]).save(tmp_path / "x.png")
    artifact = finished[1] / "artifacts" / "baseline-int8.tflite"
    command = ["-m", "experiments.predict", f"--artifact={artifact}", f"--image={tmp_path}/x.png"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "angle_degrees" in done.stdout
    assert "%" not in done.stdout


def test_the_report_speaks_of_errors(finished):
    _, folder = finished
    report = (folder / "report.md").read_text()
    for words in ("Mean absolute error, angle\\_degrees", "R squared", "Targets", "prune+qat-int8"):
        assert words in report
    for words in ("Accuracy", "accuracy", "points", "same class", "calibrat", "class on top"):
        shown = report.split("## For reference")[0].replace("](figures/accuracy-", "")
        assert words not in shown, words
    assert (folder / "figures" / "accuracy-size.svg").exists()


def test_a_damaged_baseline_is_named(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[1], folder)
    (folder / "models" / "baseline.keras").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"baseline\.keras cannot be loaded .* may be damaged"):
        finished_run.load(folder)


def test_a_finished_run_is_taken_up_as_it_is(finished):
    found, folder = finished
    again = workflow.run(CONFIG, folder)
    assert dataclasses.replace(again, seconds=None) == dataclasses.replace(found, seconds=None)


def test_studies_of_accuracy_refuse_the_run(finished):
    run = finished_run.load(finished[1])
    with pytest.raises(ValueError, match=r"sensitivity judges by accuracy.*a regression"):
        run.require_classes("sensitivity")


@pytest.mark.slow
def test_its_baseline_goes_on_as_a_model_of_its_own(finished, tmp_path):
    found, folder = finished
    config = dataclasses.replace(
        CONFIG,
        backbone=ModelConfig(str(folder / "models/baseline.keras"), preprocessing="unit"),
        transfer=TransferConfig(mode="none"),
        recipes=("ptq",),
        export=ExportConfig(formats=("float32",)),
    )
    again = workflow.run(config, tmp_path)
    # LeNet's own pixels are divided by 256.
    assert again.baseline.metrics[0].value == pytest.approx(found.baseline.metrics[0].value, 1e-2)
    by_name = rows(again)
    assert by_name["ptq-int8"].metrics[0].difference < 1
    assert by_name["ptq-int8"].integer_operators == by_name["ptq-int8"].operators


# What is refused before any work.


def npz(folder, labels, **more):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28), np.uint8)
    path = folder / "data.npz"
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:40], "y_test": labels[:40]}
    np.savez(path, **arrays | more)
    return DataConfig(name=f"npz:{path}", calibration_size=16)


FLOATS = np.linspace(-1, 1, 200) + 0.001


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.where(np.arange(200) == 7, np.nan, FLOATS), "NaN or infinite for 1 of 200"),
        (np.full(200, 2.5), "target is 2.5 for every example of train"),
        (np.arange(300), "--task=regression or --task=classification"),
        (np.zeros([200, 2, 2]) + 0.5, r"Received: float64 \[200, 2, 2\]"),
    ],
    ids=["NaN", "constant", "300 integers", "three dimensions"],
)
def test_labels_that_are_no_values_are_refused(tmp_path, labels, says):
    config = dataclasses.replace(CONFIG, data=npz(tmp_path, labels))
    with pytest.raises(ValueError, match=says):
        workflow.run(config, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.npz"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loss": "categorical_crossentropy"}, "Use one of mean_squared_error, mean_absolute"),
        ({"label_smoothing": 0.1}, "label_smoothing is for classes"),
    ],
)
def test_settings_of_a_classification_are_refused(tmp_path, changes, says):
    training = dataclasses.replace(CONFIG.training, **changes)
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(CONFIG, training=training)
    # Here the labels have to be read first.
    config = dataclasses.replace(CONFIG, data=npz(tmp_path, FLOATS), recipes=(), training=training)
    with pytest.raises(ValueError, match=says):
        workflow.run(config, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.npz"))


def test_a_loss_that_nothing_has_is_answered_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"sparse_categorical_crossentropy'\. Known: default, .*hub"
    ):
        TrainingConfig(loss="sparse_categorical_crossentropy")


def test_a_stage_that_goes_by_classes_is_refused(tmp_path):
    recipe = ("prune(0.5, allocation=sensitivity)",)
    with pytest.raises(ValueError, match="goes by how often the class changes"):
        dataclasses.replace(CONFIG, recipes=recipe)
    config = dataclasses.replace(CONFIG, data=npz(tmp_path, FLOATS), recipes=recipe)
    with pytest.raises(ValueError, match="goes by how often the class changes"):
        workflow.run(config, tmp_path / "run")


def own_model(folder, *, units=1, activation=None):
    from tfcompress._keras import keras

    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(units, activation=activation, name="own")(x))
    model.save(folder / "own.keras")
    return ModelConfig(str(folder / "own.keras"))


@pytest.mark.parametrize(
    ("units", "activation", "says"),
    [(3, "softmax", "ends in a softmax.*Expected values"), (2, None, "gives 2 values.*has 1")],
)
def test_an_own_model_that_gives_something_else_is_refused(tmp_path, units, activation, says):
    config = dataclasses.replace(
        CONFIG,
        backbone=own_model(tmp_path, units=units, activation=activation),
        transfer=TransferConfig(mode="none"),
        recipes=(),
    )
    with pytest.raises(ValueError, match=says):
        workflow.run(config, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.npz"))


def test_an_own_model_gets_a_new_head_in_the_place_of_its_own(tmp_path):
    from tfcompress import backbones

    source = backbones.opened(own_model(tmp_path), task="regression")
    goal = data.load(npz(tmp_path, FLOATS)).goal
    settings = {"goal": goal, "image_shape": (28, 28, 1), "seed": 0}
    model = source.build_model(**settings, keep_head=False)
    assert [layer.name for layer in model.layers[-2:]] == ["standardized", "values"]
    assert source.build_model(**settings, keep_head=True).layers[-1].name == "own"
    features, head = backbones.split_head(model)
    images = np.random.default_rng(0).random((3, 28, 28, 1)).astype(np.float32)
    np.testing.assert_allclose(head(features(images)), model(images), rtol=1e-5, atol=1e-6)


# Units.


def test_a_unit_changes_no_training(tmp_path):
    """The same values, once as they are and once in thousandths from far away."""
    from tfcompress import training
    from tfcompress.backbones import build_model, preprocessing

    histories = []
    for number, (scale, shift) in enumerate([(1.0, 0.0), (1000.0, 30_000.0)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        dataset = data.load(npz(folder, FLOATS * scale + shift + 0.5))
        backbone = BackboneConfig(name="lenet5")
        model = build_model(backbone, goal=dataset.goal, image_shape=(28, 28, 1), seed=1)
        config = TrainingConfig(epochs=2, batch_size=50)
        batches = training.image_batches(dataset, preprocessing(backbone, (28, 28, 1)), config)
        found = training.fit(model, batches, config=config, state_dir=folder / "state")
        histories.append(found.history)
    for plain, scaled in zip(*histories, strict=True):
        assert scaled["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-2)
        error = plain["val_mean_absolute_error"]
        assert scaled["val_mean_absolute_error"] == pytest.approx(1000 * error, rel=1e-2)


@pytest.mark.slow
def test_several_targets_have_figures_each_and_together(tmp_path):
    pairs = np.stack([FLOATS, 50 * FLOATS[::-1]], axis=1)
    config = dataclasses.replace(
        CONFIG,
        data=npz(tmp_path, pairs, targets=np.array(["x_pixels", "y_pixels"])),
        training=TrainingConfig(epochs=1, batch_size=32),
        recipes=(),
        export=ExportConfig(formats=("float32",)),
    )
    said = io.StringIO()
    reporter = Reporter(Console(file=said, width=200))
    found = workflow.run(config, tmp_path / "run", reporter=reporter)
    # One step of the output for both, of which the second takes 50 times as much.
    assert "x_pixels varies by 1.5 steps of an int8 output" in said.getvalue()
    assert "y_pixels varies" not in said.getvalue()
    metrics = {metric.name: metric.value for metric in found.artifacts[0].metrics}
    assert list(metrics) == [name + end for end in ("", "/0", "/1") for name in METRICS]
    each = metrics["mean_absolute_error/0"], metrics["mean_absolute_error/1"]
    assert metrics["mean_absolute_error"] == pytest.approx(np.mean(each))
    assert "baseline-float32, y\\_pixels" in (tmp_path / "run" / "report.md").read_text()
    assert json.loads((tmp_path / "run" / "results.json").read_text())["data"]["targets"]
