"""TF-MOT's collaborative optimization beside a finished run's files."""

import pytest

from tfcompress.artifact import Artifact
from tfcompress.benchmark import LatencyConfig
from tfcompress.minimal import minimize
from tfcompress.studies import tfmot_comparison
from tfcompress.studies.tfmot_comparison import ComparisonConfig
from tfcompress.studies.tfmot_recipes import RECIPES

QUICK = LatencyConfig(rounds=1, min_seconds=0.01, min_runs=5)


@pytest.mark.slow
def test_both_recipes_are_carried_out_and_held_beside_the_run(run_dir, tmp_path):
    config = ComparisonConfig(epochs=1, sparsity=0.5, clusters=4, latency=QUICK)
    found = tfmot_comparison.compare(run_dir, config, tmp_path)
    assert [row.name for row in found.files] == ["baseline-int8", *RECIPES]
    rows = {row.name: row for row in found.files}
    for name in RECIPES:
        # Half of all but the depthwise kernels, which TF-MOT leaves dense.
        assert 0.25 < rows[name].sparsity < 0.6
        expected = rows[name].accuracy - found.baseline_accuracy
        assert rows[name].difference == pytest.approx(expected)
    clustered = Artifact.load(tmp_path / "artifacts" / "tf-mot-PCQAT.tflite")
    counts = [c.in_channel for c in clustered.distinct_weights().values()]
    # All kernels but the three depthwise ones of nine weights a channel.
    assert sorted(counts)[:5] == [4, 4, 4, 4, 4]
    # Bytes are counted alike: the same labels, and minimal, as the run's own files are.
    own = Artifact.load(run_dir / "artifacts" / "baseline-int8.tflite")
    assert clustered.metadata["labels"] == own.metadata["labels"]
    assert minimize(clustered).artifact.size_bytes == clustered.size_bytes
    # What is finished is not trained again, and both recipes begin with the same pruning.
    trained = sorted(path.name for path in (tmp_path / "stages").iterdir())
    assert trained == ["prune", "prune-PQAT", "prune-cluster", "prune-cluster-PCQAT"]
    stages = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "stages").rglob("*"))
    again = tfmot_comparison.compare(run_dir, config, tmp_path)
    assert stages == sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "stages").rglob("*"))
    assert [row.accuracy for row in again.files] == [row.accuracy for row in found.files]
    lines = tfmot_comparison.table_lines(found)
    assert len(lines) == 4 + 3
    assert lines[4].startswith("| baseline-int8 | ")
    assert lines[4].endswith("| 1.00 |")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"recipes": ("tf-mot QAT",)}, "Unknown recipe of TF-MOT: 'tf-mot QAT'"),
        ({"sparsity": 1.0}, r"sparsity in \(0, 1\)"),
        ({"clusters": 1}, "at least 2 clusters"),
        ({"epochs": 0}, "at least 1 epoch"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        ComparisonConfig(**settings)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be the folder of a finished run"):
        tfmot_comparison.compare(tmp_path / "none", ComparisonConfig(), tmp_path / "out")
