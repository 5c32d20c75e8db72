"""What a run leaves behind comes back from the disk as it was."""

import json

import pytest

from tfcompress import results
from tfcompress.results import (
    ArtifactResult,
    CompressionReport,
    DataResult,
    EvaluationSpeed,
    Interval,
    Latency,
    LayerReport,
    Parity,
    Results,
    StageResult,
)

BASELINE = ArtifactResult(name="baseline", format="keras", accuracy=0.9)
FULL = Results(
    config={"seed": 0, "data": {"name": "mnist_sample"}},
    environment={"python": "3.11"},
    data=DataResult("mnist_sample", "sample", ("0", "1"), {"train": 10, "test": 5}),
    baseline=BASELINE,
    artifacts=(
        ArtifactResult(
            name="prune-int8",
            path="artifacts/prune-int8.tflite",
            stages=("prune",),
            format="int8",
            size_bytes=1000,
            accuracy=0.88,
            accuracy_interval=Interval(0.8, 0.93, method="wilson"),
            difference_interval=Interval(-0.05, 0.01, 0.95, "paired_bootstrap"),
            parity=Parity(100, 0.99, 0.5, 0.1, 0.25),
            latency_ms=(Latency(0.1, 0.2, "litert_cpu", 1, 1, 50, (0.1, 0.11), 1.0, 2.0),),
        ),
    ),
    stages=(
        StageResult(
            name="01-prune",
            technique="prune",
            config={"target_sparsity": 0.5},
            history=({"loss": 1.0, "val_accuracy": 0.8}, {"loss": 0.5, "val_accuracy": 0.9}),
            best_epoch=1,
            seconds=3.0,
            report=CompressionReport(
                "prune", (LayerReport("conv", "Conv2D", 80, True, "", 72, 0.5, 36),)
            ),
        ),
    ),
    evaluation_speed=EvaluationSpeed("prune-int8", 5000.0, 500.0, 32),
    seconds=12.5,
)
BARE = Results(
    config={},
    environment={},
    data=DataResult("x", "npz", (), {}),
    baseline=ArtifactResult(name="baseline"),
    artifacts=(),
)


@pytest.mark.parametrize("before", [FULL, BARE], ids=["full", "bare"])
def test_round_trip(tmp_path, before):
    path = results.save(before, tmp_path)
    assert path.name == "results.json"
    assert results.load(tmp_path) == before


def test_absent_is_null(tmp_path):
    record = json.loads(results.save(BARE, tmp_path).read_text())
    assert record["baseline"]["accuracy"] is None
    assert record["evaluation_speed"] is None
    assert record["schema_version"] == results.SCHEMA_VERSION == 1


def test_a_folder_without_results_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No results\.json .* goes on with the command"):
        results.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON"),
        (lambda text: "[]", "schema_version None"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "version 2"),
        (lambda text: text.replace('"size_bytes"', '"bytes"'), "unknown field"),
        (lambda text: text.replace('"source"', '"origin"'), "does not fit schema_version 1"),
        (lambda text: text.replace('"name": "baseline",', ""), "does not fit schema_version 1"),
    ],
    ids=["truncated", "list", "other version", "unknown field", "renamed", "missing field"],
)
def test_a_file_that_does_not_fit_is_refused_and_named(tmp_path, change, says):
    path = results.save(FULL, tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=r"results\.json") as error:
        results.load(tmp_path)
    assert says in str(error.value)


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        results.save(
            Results(
                config={},
                environment={},
                data=BARE.data,
                baseline=ArtifactResult(name="b", accuracy=float("nan")),
                artifacts=(),
            ),
            tmp_path,
        )
    assert list(tmp_path.iterdir()) == []
