"""A run as one call: several recipes from one baseline, resumed, and what it counts."""

import dataclasses
import shutil

import numpy as np
import pytest

from tfcompress import durable, results, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import BackboneConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig, TransferConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.predictions import Predictions
from tfcompress.run_folder import RunFolderError
from tfcompress.training import TrainingConfig

CONFIG = RunConfig(
    data=DataConfig(name="mnist_sample", max_train=256, calibration_size=64),
    backbone=BackboneConfig(name="lenet_300_100"),
    training=TrainingConfig(epochs=2, batch_size=64),
    recipes=("distill", "prune(0.8)", "prune(0.8)+cluster(4)"),
    stage_training=StageTrainingConfig(epochs=2),
    export=ExportConfig(formats=("float32",)),
    latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return workflow.run(CONFIG, folder), folder


def test_it_returns_what_stands_in_the_folder(finished):
    found, folder = finished
    assert results.load(folder) == found
    assert found.config == CONFIG.to_dict()
    for row in found.artifacts:
        assert durable.sha256_of_file(folder / row.path) == row.sha256


def test_stages_that_two_recipes_begin_with_are_trained_once(finished):
    found, folder = finished
    names = [stage.name for stage in found.stages]
    assert names == ["00-baseline", "01-distill", "02-prune", "03-prune+cluster"]
    assert sorted(path.name for path in (folder / "stages").iterdir()) == names
    assert all(len(stage.history) == 2 for stage in found.stages)


def test_every_recipe_has_its_files(finished):
    found, _ = finished
    assert {row.name: row.stages for row in found.artifacts} == {
        "baseline-float32": (),
        "distill-float32": ("distill",),
        "prune-float32": ("prune",),
        "prune+cluster-float32": ("prune", "cluster"),
    }


def test_the_numbers_are_those_of_the_recipes(finished):
    rows = {row.name: row for row in finished[0].artifacts}
    assert rows["baseline-float32"].sparsity < 0.01
    assert rows["prune-float32"].sparsity == pytest.approx(0.8, abs=0.01)
    assert rows["prune+cluster-float32"].sparsity == pytest.approx(0.8, abs=0.01)
    assert rows["prune+cluster-float32"].distinct_weights <= 4
    # 28 * 28 * 300 + 300 * 100 + 100 * 10, and the biases.
    assert {row.macs for row in rows.values()} == {266_200}
    assert {row.parameters for row in rows.values()} == {266_200 + 410}
    assert all(row.parity.max_difference < 1e-3 for row in rows.values())


def test_every_model_and_file_has_its_outputs_on_test_and_validation(finished):
    found, folder = finished
    assert [row.name for row in found.models] == ["distill", "prune", "prune+cluster"]
    sizes = found.data.split_sizes
    for row in (found.baseline, *found.models, *found.artifacts):
        judged = Predictions.load(folder / row.predictions)
        assert (len(judged), judged.accuracy) == (sizes["test"], pytest.approx(row.accuracy))
        assert len(Predictions.load(folder / row.validation_predictions)) == sizes["validation"]


def test_the_models_and_their_float_files_agree(finished):
    found, _ = finished
    files = {row.name: row for row in found.artifacts}
    for row in found.models:
        assert row.accuracy == files[f"{row.name}-float32"].accuracy


def test_the_baselines_file_computes_the_baseline(finished):
    """Distilling the baseline into itself must not change what is exported as the baseline."""
    found, _ = finished
    row = next(row for row in found.artifacts if row.name == "baseline-float32")
    assert row.difference == 0
    assert row.accuracy == found.baseline.accuracy


def test_epochs_before_the_target_is_reached_are_not_chosen(tmp_path, finished):
    (stage,) = (stage for stage in finished[0].stages if stage.name == "02-prune")
    # The target is reached half-way, at the end of the first of two epochs.
    assert stage.best_epoch in (0, 1)
    assert stage.config["technique"]["end"] == 0.5


def test_a_finished_run_repeats_nothing(finished):
    found, folder = finished
    files = {path: path.stat().st_mtime_ns for path in (folder / "stages").rglob("*.*")}
    assert any(path.name == "best.npz" for path in files)
    again = workflow.run(CONFIG, folder)
    assert {path: path.stat().st_mtime_ns for path in (folder / "stages").rglob("*.*")} == files
    assert dataclasses.replace(again, seconds=None) == dataclasses.replace(found, seconds=None)
    assert again.seconds >= found.seconds


def test_a_lost_artifact_is_made_again_to_the_byte(finished):
    found, folder = finished
    row = next(row for row in found.artifacts if row.name == "prune+cluster-float32")
    (folder / row.path).write_bytes(b"damaged")
    again = workflow.run(CONFIG, folder)
    assert durable.sha256_of_file(folder / row.path) == row.sha256
    assert [item.sha256 for item in again.artifacts] == [item.sha256 for item in found.artifacts]


def test_another_recipe_in_the_same_folder_is_refused(finished):
    _, folder = finished
    other = dataclasses.replace(CONFIG, recipes=("qat",))
    with pytest.raises(RunFolderError, match="recipes"):
        workflow.run(other, folder)


def test_a_recipe_that_treats_nothing_is_refused_before_the_baseline_is_trained(tmp_path):
    config = dataclasses.replace(CONFIG, recipes=("prune(pattern=3:11)+cluster",))
    with pytest.raises(ValueError, match="can treat no layer"):
        workflow.run(config, tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_linear_probe_without_pretrained_weights_is_refused():
    with pytest.raises(ValueError, match="needs pretrained weights"):
        dataclasses.replace(CONFIG, transfer=TransferConfig(mode="linear_probe"))


@pytest.fixture
def copied(finished, tmp_path):
    found, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    return found, tmp_path / "run"


def test_weights_that_a_stage_did_not_end_with_are_refused(copied):
    _, folder = copied
    best = folder / "stages" / "00-baseline" / "best.npz"
    with np.load(best) as stored:
        zeros = {name: np.zeros_like(stored[name]) for name in stored}
    np.savez(best, **zeros)
    with pytest.raises(ValueError, match="not those that the stage ended with"):
        workflow.run(CONFIG, folder)


def test_predictions_of_another_file_are_made_again(copied):
    found, folder = copied
    stored = folder / "predictions"
    shutil.copy(stored / "baseline.npz", stored / "prune-float32.npz")
    again = workflow.run(CONFIG, folder)
    assert [row.accuracy for row in again.artifacts] == [row.accuracy for row in found.artifacts]


@pytest.mark.parametrize("name", ["latency.json", "seconds.json", "artifacts/prune-float32.json"])
def test_damaged_records_of_what_can_be_made_again_are(copied, name):
    found, folder = copied
    (folder / name).write_text("[]")
    again = workflow.run(CONFIG, folder)
    assert [row.sha256 for row in again.artifacts] == [row.sha256 for row in found.artifacts]


def test_changed_data_are_refused(copied):
    _, folder = copied
    checksums = durable.read_json(folder / "data.json")
    durable.write_json(folder / "data.json", {**checksums, "test": "0" * 64})
    with pytest.raises(RunFolderError, match="test differ"):
        workflow.run(CONFIG, folder)


def test_a_stage_is_trained_again_where_the_one_before_it_was(copied):
    found, folder = copied
    shutil.rmtree(folder / "stages" / "00-baseline")
    again = workflow.run(dataclasses.replace(CONFIG), folder)
    # The same seed gives the same weights, so that the later stages stand as they were.
    assert [row.sha256 for row in again.artifacts] == [row.sha256 for row in found.artifacts]
    start = folder / "stages" / "02-prune" / "start.json"
    durable.write_json(start, {"weights_sha256": "0" * 64})
    before = (start.parent / "best.npz").stat().st_mtime_ns
    workflow.run(CONFIG, folder)
    assert (start.parent / "best.npz").stat().st_mtime_ns > before


def test_what_the_recipes_treat_is_known_before_and_stands_in_the_results(finished):
    found, folder = finished
    (covered,) = found.coverage
    assert [total.technique for total in covered.techniques] == [
        "distill",
        "prune(0.8)",
        "cluster(4)",
    ]
    assert covered.mac_share("prune(0.8)") == 1
    # Biases count with their layers.
    assert covered.parameter_share("prune(0.8)") == 1
    assert "Coverage of lenet\\_300\\_100" in (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def placed_run(tmp_path_factory):
    """Trained under a strategy and in half precision."""
    training = dataclasses.replace(
        CONFIG.training, epochs=1, strategy="mirrored", precision="mixed_bfloat16"
    )
    config = dataclasses.replace(
        CONFIG,
        training=training,
        recipes=("prune(0.8)",),
        stage_training=StageTrainingConfig(epochs=1),
    )
    folder = tmp_path_factory.mktemp("placed")
    return workflow.run(config, folder), config, folder


@pytest.mark.slow
def test_what_is_exported_of_a_half_precision_training_computes_in_single(placed_run):
    found, _, folder = placed_run
    row = next(row for row in found.artifacts if row.stages == ("prune",))
    # Half precision would agree with the file to a hundredth or so.
    assert row.parity.max_difference < 1e-4
    assert row.sparsity == pytest.approx(0.8, abs=0.01)
    stored = np.load(folder / "stages" / found.stages[-1].name / "best.npz")
    assert {stored[name].dtype.name for name in stored} == {"float32"}
    settings = found.stages[-1].config["training"]
    assert (settings["strategy"], settings["precision"]) == ("mirrored", "mixed_bfloat16")


@pytest.mark.slow
def test_a_finished_half_precision_run_is_found_again(placed_run):
    found, config, folder = placed_run
    again = workflow.run(config, folder)
    assert [row.sha256 for row in again.artifacts] == [row.sha256 for row in found.artifacts]
    assert again.stages == found.stages


def test_minimal_files_are_what_is_judged(tmp_path, finished):
    config = dataclasses.replace(
        CONFIG,
        recipes=("prune(0.8)",),
        export=ExportConfig(
            formats=("float32", "int8"), minimal=True, sparse=True, bias_scales=False
        ),
    )
    found = workflow.run(config, tmp_path / "run")
    assert results.load(tmp_path / "run") == found
    rows = {row.name: row for row in found.artifacts}
    assert all(row.minimal_steps[0].name == "layout" for row in rows.values())
    for row in rows.values():
        artifact = Artifact.load(tmp_path / "run" / row.path)
        assert row.sha256 == artifact.sha256
        assert row.size_bytes == artifact.size_bytes
        assert next(iter(artifact.weights())).startswith("#0.")
    assert rows["prune-float32"].sparsity == pytest.approx(0.8, abs=0.01)
    # A Dense layer with a scale for each output has one for each bias, too.
    steps = [step.name for step in rows["baseline-int8"].minimal_steps if step.saved_bytes]
    assert "bias scales" in steps
    # No engine for a sparse int8 matrix product: said in the results, and left out of the file.
    (refused,) = (step for step in rows["prune-int8"].minimal_steps if step.refused)
    assert refused.name == "sparse FULLY_CONNECTED"
    assert not any(tensor.stored_sparse for tensor in artifact.weights().values())
    plain = {row.name: row for row in finished[0].artifacts}
    assert plain["prune-float32"].minimal_steps is None
    assert rows["baseline-float32"].accuracy == plain["baseline-float32"].accuracy
    assert rows["baseline-float32"].size_bytes < plain["baseline-float32"].size_bytes


def test_a_file_with_no_minimal_form_is_kept_as_it_is(tmp_path, finished, monkeypatch):
    from tfcompress import minimal

    def refuse(artifact, **settings):
        raise minimal.MinimalError("The minimal form is not the same: another class.")

    monkeypatch.setattr(minimal, "minimize", refuse)
    config = dataclasses.replace(
        CONFIG, recipes=(), export=ExportConfig(("float32",), minimal=True)
    )
    (row,) = workflow.run(config, tmp_path / "run").artifacts
    (step,) = row.minimal_steps
    assert "not the same" in step.refused
    plain = {row.name: row for row in finished[0].artifacts}
    assert row.size_bytes == plain["baseline-float32"].size_bytes


@pytest.mark.slow
def test_statistics_are_taken_anew_where_a_recipe_says_so(tmp_path):
    from tfcompress._keras import keras

    config = dataclasses.replace(
        CONFIG,
        backbone=BackboneConfig(name="ds_cnn", width=0.25),
        training=TrainingConfig(epochs=1, batch_size=64),
        recipes=(
            "prune(0.5, schedule=constant, reestimate=true, optimizer=sgd, learning_rate=0.01, "
            "weight_decay=0.001)",
        ),
        stage_training=StageTrainingConfig(epochs=1),
    )
    found = workflow.run(config, tmp_path)
    own, baselines = (found.stages[place].config["training"] for place in (-1, 0))
    assert (own["optimizer"], own["weight_decay"]) == ("sgd", 0.001)
    assert (baselines["optimizer"], baselines["weight_decay"]) == ("adam", 0.0)
    model = keras.models.load_model(tmp_path / "models" / "prune.keras", compile=False)
    with np.load(tmp_path / "stages" / "01-prune" / "best.npz") as stored:
        trained = [stored[name] for name in sorted(stored)]
    changed = {
        weight.name.rpartition("/")[2]
        for weight, before in zip(model.weights, trained, strict=True)
        if not np.array_equal(weight.numpy(), before)
    }
    assert changed == {"moving_mean:0", "moving_variance:0"}


@pytest.mark.slow
def test_a_student_of_its_own_size_learns_from_outputs_that_are_kept(tmp_path):
    recipe = "distill(student=ds_cnn, student_width=0.25, student_image_size=14, views=2, epochs=3)"
    config = dataclasses.replace(CONFIG, recipes=(f"{recipe}+qat(epochs=1)",))
    found = workflow.run(config, tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "encoded").iterdir()}
    assert len(files) == 2
    row = next(row for row in found.artifacts if "qat" in row.stages)
    artifact = Artifact.load(tmp_path / row.path)
    assert artifact.preprocessing.image_shape == (14, 14, 1)
    assert row.parity.top1_agreement > 0.95
    # The teacher's answers are the only thing that was learnt from in nine steps of ten.
    assert found.stages[1].history[-1]["loss"] < found.stages[1].history[0]["loss"]
    # A stage that is trained anew finds them there, and learns the same.
    last = sorted((tmp_path / "stages").iterdir())[-1]
    shutil.rmtree(last)
    again = workflow.run(config, tmp_path)
    for one, other in zip(again.stages[-1].history, found.stages[-1].history, strict=True):
        measured = {"seconds": 0, "peak_memory_bytes": 0}
        assert {**one, **measured} == pytest.approx({**other, **measured})
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "encoded").iterdir()} == files


@pytest.mark.slow
def test_each_student_has_a_coverage_of_its_own(tmp_path):
    recipes = [f"distill(student=ds_cnn, student_width={w}, epochs=1)" for w in (0.25, 0.5)]
    config = dataclasses.replace(
        CONFIG,
        recipes=tuple(recipes),
        backbone=BackboneConfig(name="lenet5"),
        training=TrainingConfig(epochs=1, batch_size=64),
    )
    small, large = workflow.run(config, tmp_path).coverage
    # 8 and 16 channels, each kernel, its normalization and the head.
    assert small.parameters == 9 * 8 * 4 + 3 * 64 + 7 * 4 * 8 + 90
    assert large.parameters == 9 * 16 * 4 + 3 * 256 + 7 * 4 * 16 + 170


CHANNELS = dataclasses.replace(
    CONFIG,
    backbone=BackboneConfig(name="ds_cnn", width=0.5),
    recipes=("prune_channels(0.4, importance=taylor, rounds=2)+qat(reestimate=true)",),
    stage_training=StageTrainingConfig(epochs=1),
    export=ExportConfig(formats=("int8",)),
)


@pytest.mark.slow
def test_channels_go_in_rounds_and_an_interrupted_run_makes_the_same_file(tmp_path, monkeypatch):
    from tfcompress import training

    whole = workflow.run(CHANNELS, tmp_path / "whole")
    names = [stage.name for stage in whole.stages]
    assert names[1:3] == ["01-prune_channels", "02-prune_channels-2"]
    baseline, row = whole.artifacts
    assert row.stages == ("prune_channels", "qat")
    assert row.macs <= 0.6 * baseline.macs

    fit, calls = training.fit, []

    def killed(*args, **settings):
        calls.append(settings)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **settings)

    monkeypatch.setattr(training, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        workflow.run(CHANNELS, tmp_path / "again")

    def kept():
        files = (tmp_path / "again" / "candidates").glob("channels-*.json")
        return {path.name: path.stat().st_mtime_ns for path in files}

    chosen_before = kept()
    resumed = workflow.run(CHANNELS, tmp_path / "again")
    # The second round, in which it was killed, and qat; what was finished is not trained again.
    assert len(calls) == 3 + 2
    # What goes was chosen once a round, and not again by the resumed run.
    assert len(chosen_before) >= 2
    assert kept() == chosen_before
    assert [row.sha256 for row in resumed.artifacts] == [row.sha256 for row in whole.artifacts]


def test_channels_go_until_the_file_is_fast_enough(tmp_path):
    recipe = "prune_channels(0.1, of=latency)"
    config = dataclasses.replace(
        CHANNELS,
        backbone=BackboneConfig(name="resnet8", weights="none"),
        recipes=(recipe,),
        latency=LatencyConfig(rounds=1, min_runs=100, min_seconds=0.01),
    )
    try:
        found = workflow.run(config, tmp_path)
    except ValueError as error:
        # Processors with AMX compute in tiles of 16 channels, which a narrow layer does not fill.
        if "of the latency" not in str(error):
            raise
        pytest.skip(f"Fewer channels make no int8 file faster on this processor. {error}")
    baseline, row = found.artifacts
    assert row.macs < baseline.macs
    # Every file that was timed on the way is kept, so that a resumed run decides alike.
    measured = len(list((tmp_path / "candidates").iterdir()))
    assert measured >= 2
    shutil.rmtree(tmp_path / "stages" / found.stages[1].name)
    again = workflow.run(config, tmp_path)
    assert len(list((tmp_path / "candidates").iterdir())) == measured
    assert again.artifacts[1].macs == row.macs
