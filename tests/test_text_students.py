"""A run that distills a text encoder into smaller ones: with fewer layers, and narrower."""

import pytest

from tfcompress import finished_run, results, workflow
from tfcompress.artifact import Artifact
from tfcompress.backbones import TextConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.config import RunConfig, StageTrainingConfig
from tfcompress.data import DataConfig
from tfcompress.export import ExportConfig
from tfcompress.training import TrainingConfig

SHALLOW = "distill(student=encoder, student_layers=1, features=1, attention=1, learning_rate=0.01)"
NARROW = "distill(student=encoder, student_width=0.5, views=1, epochs=4, learning_rate=0.01)"
OF_A_LAYER = 4 * (8 * 8 + 8) + (8 * 12 + 12) + (12 * 8 + 8) + 2 * (8 + 8)
"""Four products of attention, two of the feed-forward part, two normalizations."""


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


def test_a_student_of_one_layer_of_two_lacks_the_weights_of_the_other(run):
    models = finished_run.load(run[1])
    print(models)


def test_a_narrow_student_has_half_of_every_size(run):
    pass


def test_the_report_tells_layers_of_students(run):
    report = (run[1] / "report.md").read_text(encoding="utf-8")
    print(report)


def test_a_students_file_reads_texts(run):
    for name in ("distill+prune-float32", "distill-int8"):
        artifact = Artifact.load(run[1] / "artifacts" / f"{name}.tflite")
        assert [p.label for p in artifact.predict(["a dull plot", "a fine plot"])] == ["down", "up"]


def test_a_finished_run_is_taken_up_again(run):
    found, folder, config = run
    again = workflow.run(config, folder)
    assert again.stages == found.stages
