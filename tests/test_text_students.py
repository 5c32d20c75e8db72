"""A run that distills a text encoder into smaller ones: with fewer layers, and narrower."""

import pytest

from tfcompress import results, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import TextConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

pytestmark = pytest.mark.slow

SHALLOW = "distill(student=encoder, student_layers=1, features=1, attention=1, learning_rate=0.01)"
NARROW = "distill(student=encoder, student_width=0.5, views=1, epochs=4, learning_rate=0.01)"


@pytest.fixture(scope="module")
def run(tmp_path_factory, reviews, tiny_encoder):
    config = RunConfig(
        data=DataConfig(name=f"text:{reviews}", task="text", calibration_size=32),
        backbone=TextConfig(name=f"encoder:{tiny_encoder}", sequence_length=8, pooling="mean"),
        training=TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2),
        recipes=(f"{SHALLOW}+prune(0.5)+float32", f"{NARROW}+int8"),
        stage_training=StageTrainingConfig(epochs=1),
        export=ExportConfig(formats=("float32",)),
        latency=LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5),
    )
    folder = tmp_path_factory.mktemp("students") / "run"
    return workflow.run(config, folder), folder, config


def test_students_are_judged_beside_their_teacher(run):
    found, folder, _ = run
    assert results.load(folder) == found
    rows = {row.name: row for row in found.artifacts}
    assert set(rows) == {"baseline-float32", "distill+prune-float32", "distill-int8"}
    assert all(row.accuracy > 0.8 for row in rows.values())
    assert all(row.latency_ms for row in rows.values())
    assert rows["distill+prune-float32"].sparsity == pytest.approx(0.5, abs=0.01)


def test_students_have_the_sizes_that_the_recipe_says(run):
    """Tables, normalization, layers (attention, feed-forward part, normalizations) and head."""
    sizes = {
        found.model.rpartition("_")[2]: sum(layer.parameters for layer in found.layers)
        for found in run[0].coverage
    }
    layer = 4 * (8 * 8 + 8) + (8 * 12 + 12) + (12 * 8 + 8) + 2 * (8 + 8)
    narrow = 4 * (4 * 4 + 4) + (4 * 6 + 6) + (6 * 4 + 4) + 2 * (4 + 4)
    assert sizes == {
        "1x8": 20 * 8 + 16 * 8 + (8 + 8) + layer + (8 * 2 + 2),
        "2x4": 20 * 4 + 16 * 4 + (4 + 4) + 2 * narrow + (4 * 2 + 2),
    }


def test_a_students_layers_are_listed(run):
    stages = {stage.name.partition("-")[2]: stage for stage in run[0].stages}
    layers = {layer.name: layer for layer in stages["distill"].report.layers}
    assert layers["layer_0/attention/query"].parameters in (8 * 8 + 8, 4 * 4 + 4)
    assert all(layer.treated for layer in layers.values() if layer.parameters)


def test_a_students_file_reads_texts(run):
    for name in ("distill+prune-float32", "distill-int8"):
        artifact = Artifact.load(run[1] / "artifacts" / f"{name}.tflite")
        assert [p.label for p in artifact.predict(["a dull plot", "a fine plot"])] == ["down", "up"]


def test_a_finished_run_is_taken_up_again(run):
    found, folder, config = run
    again = workflow.run(config, folder)
    assert again.stages == found.stages
