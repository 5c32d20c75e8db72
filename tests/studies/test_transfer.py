"""A small transfer study from start to end, and what is done again when it goes on."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tfcompress import backbones, compose, records
from tfcompress.backbones import BackboneConfig
from tfcompress.goals import Classes
from tfcompress.graph.kernels import kernels
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.run_folder import RunFolder
from tfcompress.studies import transfer, transfer_plan, transfer_trial
from tfcompress.studies.transfer_plan import Pair, TransferConfig, TransferSettings, stages_of
from tfcompress.studies.transfer_training import Task, Trainer
from tfcompress.transfer import ModelSizes, TransferStudy, TrialResult

SETTINGS = TransferSettings(
    epochs=2,
    compression_epochs=1,
    probe_epochs=2,
    max_train=256,
    batch_size=32,
    upstream_epochs=1,
    upstream_max_train=128,
)
CONFIG = TransferConfig(
    pairs=(
        Pair(
            BackboneConfig(name="resnet8", image_size=16),
            "mnist_sample",
            upstream="cifar10_sample",
        ),
    ),
    compressions=("prune(0.5)",),
    seeds=(0, 1),
    parts=("a", "d"),
    frozen=(0.5, 1.0),
    frozen_compressions=("prune(0.5)",),
    settings=SETTINGS,
)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """The folder of the study, and what it found."""
    folder = tmp_path_factory.mktemp("transfer")
    return folder, transfer.study(CONFIG, folder)


def planted(trial, *, accuracy=0.5, data_sha256="a"):
    sizes = ModelSizes(10, 100, 8, 8, 8)
    return TrialResult(
        trial, accuracy, accuracy, 10, sizes, 2, 512, 2, 512, 0, 0, 16, 1.0, data_sha256
    )


@pytest.fixture
def carried_out(monkeypatch):
    """The trials that were carried out, none of them in earnest."""
    done = []

    def pretend(self, trial):
        done.append(trial)
        return planted(trial)

    monkeypatch.setattr(transfer_trial.Trials, "carry_out", pretend)
    monkeypatch.setattr(transfer_trial.Trials, "dataset", lambda self, trial: None)
    monkeypatch.setattr(transfer_trial.Trials, "require_treatable", lambda self: None)
    monkeypatch.setattr(transfer, "data_sha256", lambda dataset: "a")
    return done


def by_trial(found):
    return {result.trial: result for result in found.results}


@pytest.mark.slow
def test_every_trial_is_carried_out(studied):
    folder, found = studied
    assert found.complete
    assert [result.trial for result in found.results] == list(transfer_plan.trials(CONFIG))
    for result in found.results:
        name = transfer_plan.file_name(result.trial)
        stored = Predictions.load(folder / "predictions" / f"{name}.npz")
        assert (len(stored), stored.accuracy) == (2000, result.accuracy)
        assert result.test_images == 2000
    # Checkpoints are for the time of a training alone.
    assert not list((folder / "stages").glob("*/*.npz"))
    record = json.loads((folder / transfer.RESULT).read_text())
    assert records.from_record(TransferStudy, record) == found


@pytest.mark.slow
def test_both_orders_see_the_same_number_of_images(studied):
    """256 images in batches of 32, twice; 128 upstream, once, where it is compressed there."""
    for trial, result in by_trial(studied[1]).items():
        assert (result.head_epochs, result.head_images) == (2, 512), trial
        probe = trial.regime == "linear_probe"
        assert (result.epochs, result.images) == ((0, 0) if probe else (2, 512)), trial
        assert result.upstream_images == (128 if trial.order == "upstream" else 0), trial


@pytest.mark.slow
def test_zeros_outlast_the_transfer(studied):
    for trial, result in by_trial(studied[1]).items():
        share = result.sizes.nonzero_weights / result.sizes.kernel_weights
        assert share == pytest.approx(0.5 if trial.compression != "none" else 1.0, abs=1e-3)


@pytest.mark.slow
def test_files_are_made_at_the_first_seed_where_all_is_trained(studied):
    for trial, result in by_trial(studied[1]).items():
        made = trial.seed == 0 and trial.frozen == 0
        assert (result.sizes.int8_bytes is not None) == made
    sizes = [one.sizes for trial, one in by_trial(studied[1]).items() if one.sizes.int8_bytes]
    whole, pruned = sizes[0], sizes[1]
    assert pruned.int8_gzip_bytes < 0.85 * whole.int8_gzip_bytes


@pytest.mark.slow
def test_half_of_the_layers_are_frozen(studied):
    for trial, result in by_trial(studied[1]).items():
        assert result.backbone_layers == 16
        assert result.frozen_layers == 16 * trial.frozen


@pytest.mark.slow
def test_a_lost_record_alone_is_made_again(studied, tmp_path):
    before, found = studied
    folder = tmp_path / "again"
    shutil.copytree(before, folder)
    lost = transfer_plan.trials(CONFIG)[2]
    path = folder / "trials" / f"{transfer_plan.file_name(lost)}.json"
    path.unlink()
    times = {one: one.stat().st_mtime_ns for one in (folder / "trials").iterdir()}
    again = transfer.study(CONFIG, folder)
    assert path.exists()
    assert {one: one.stat().st_mtime_ns for one in times} == times
    # The same seed gives the same weights.
    assert [r.accuracy for r in again.results] == [r.accuracy for r in found.results]


@pytest.mark.slow
def test_records_alone_are_enough_to_go_on(studied, tmp_path, carried_out):
    """As they are committed: the JSON files, no predictions and no models."""
    before, found = studied
    for path in (before / "config.json", *(before / "trials").glob("*.json")):
        target = tmp_path / path.relative_to(before)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    again = transfer.study(CONFIG, tmp_path)
    assert carried_out == []
    assert again.results == found.results


@pytest.mark.slow
def test_a_study_may_grow(studied, tmp_path, carried_out):
    transfer.study(CONFIG, tmp_path)
    first = list(carried_out)
    larger = dataclasses.replace(CONFIG, seeds=(0, 1, 2), compressions=("prune(0.5)", "cluster(8)"))
    found = transfer.study(larger, tmp_path)
    added = carried_out[len(first) :]
    assert added
    assert all(trial.seed == 2 or trial.compression == "cluster(8)" for trial in added)
    assert found.complete


def test_a_damaged_record_is_made_again(tmp_path, carried_out):
    transfer.study(CONFIG, tmp_path)
    damaged = carried_out[3]
    (tmp_path / "trials" / f"{transfer_plan.file_name(damaged)}.json").write_text("{")
    carried_out.clear()
    transfer.study(CONFIG, tmp_path)
    assert carried_out == [damaged]


def test_other_settings_are_refused_in_the_same_folder(tmp_path, carried_out):
    transfer.study(CONFIG, tmp_path)
    other = dataclasses.replace(CONFIG, settings=dataclasses.replace(SETTINGS, epochs=3))
    for refuse in (transfer.study, transfer.collected):
        with pytest.raises(ValueError, match=r"transfer_study\.epochs: 2 -> 3"):
            refuse(other, tmp_path)


def test_what_is_there_can_be_read_while_it_grows(tmp_path, carried_out):
    transfer.study(CONFIG, tmp_path)
    larger = dataclasses.replace(CONFIG, seeds=(0, 1, 2))
    found = transfer.collected(larger, tmp_path)
    assert (len(found.results), found.planned) == (len(carried_out), len(carried_out) // 2 * 3)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        transfer.collected(CONFIG, tmp_path / "nothing")


def test_changed_data_are_refused(tmp_path, carried_out, monkeypatch):
    transfer.study(dataclasses.replace(CONFIG, parts=("a",)), tmp_path)
    monkeypatch.setattr(transfer, "data_sha256", lambda dataset: "b")
    with pytest.raises(ValueError, match="data set mnist_sample has changed since this trial"):
        transfer.study(CONFIG, tmp_path)


def test_what_a_backbone_does_not_allow_is_refused_before_training(tmp_path):
    config = dataclasses.replace(
        CONFIG, compressions=("prune(pattern=1:7)",), parts=("a",), frozen_compressions=()
    )
    with pytest.raises(ValueError, match="no multiple of 7"):
        transfer.study(config, tmp_path)
    assert not (tmp_path / "trials").exists()


@pytest.mark.parametrize("field", ["target", "upstream"])
def test_data_without_classes_are_refused_before_training(field, tmp_path):
    (pair,) = CONFIG.pairs
    pair = dataclasses.replace(pair, **{field: "mnist_sample_rotation"})
    with pytest.raises(ValueError, match=r"accuracy of classes\. Received: mnist_sample_rot"):
        transfer.study(dataclasses.replace(CONFIG, pairs=(pair,)), tmp_path)
    assert not (tmp_path / "trials").exists()


@pytest.mark.parametrize("compression", ["prune(0.5)+cluster(8)", "factorize(target=0.3)"])
def test_a_transfer_keeps_what_was_made_before(compression, tmp_path):
    """Zeros at their places, shared values shared, thin layers thin; the rest moves."""
    backbone = BackboneConfig(name="resnet8", image_size=16)
    stages = stages_of(compression)
    model = backbones.build_classifier(backbone, classes=2, image_shape=(28, 28, 1))
    compressed = compose.at_once(stages, model)
    model = backbones.with_new_head(compressed, goal=Classes.numbered(10), seed=3)
    before = {kernel.name: kernel.numpy() for kernel in kernels(model)}
    trial = transfer_plan.trials(CONFIG)[0]
    dataset = transfer_trial.Trials(CONFIG, RunFolder(tmp_path), Reporter()).dataset(trial)
    task = Task(dataset, backbones.preprocessing(backbone, dataset.image_shape))
    found = Trainer(RunFolder(tmp_path), Reporter()).layers(
        model, task, SETTINGS.training(seed=0, epochs=1), name="one", stages=stages
    )
    compose.verify_kept(stages, found.model)
    after = {kernel.name: kernel.numpy() for kernel in kernels(found.model)}
    assert after.keys() == before.keys()
    for name, values in before.items():
        assert not np.array_equal(after[name], values), name
        if "prune" in compression and name != backbones.HEAD:
            assert np.array_equal(after[name] == 0, values == 0), name
            assert np.unique(after[name]).size <= 8, name
