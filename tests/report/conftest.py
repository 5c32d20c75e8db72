"""Run folders built by hand: results with known figures and synthetic predictions that fit them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tfcompress import results, statistics
from tfcompress.results import (
    ArtifactResult,
    CompressionReport,
    DataResult,
    EvaluationSpeed,
    Latency,
    LayerReport,
    Parity,
    Results,
    StageResult,
)

CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class File:
    """What the test wants to be true of an exported file."""

    name: str
    format: str
    stages: tuple[str, ...]
    size: int
    gzip: int
    gained: int
    lost: int
    p50: float
    sparsity: float = 0.0


FILES = (
    File("baseline-float32", "float32", (), 318_144, 290_120, 0, 0, 0.212),
    File("baseline-int8", "int8", (), 98_496, 78_940, 4, 14, 0.121),
    File("prune+qat-float32", "float32", ("prune", "qat"), 318_200, 121_004, 11, 12, 0.213, 0.8),
    File("prune+qat-int8", "int8", ("prune", "qat"), 98_512, 41_380, 10, 14, 0.119, 0.8),
)
LAYERS = (
    ("stem_conv", "Conv2D", 432),
    ("block1_conv1", "Conv2D", 2304),
    ("block1_conv2", "Conv2D", 2304),
    ("block2_conv1", "Conv2D", 4608),
    ("block2_conv2", "Conv2D", 9216),
    ("block2_shortcut", "Conv2D", 512),
    ("block3_conv1", "Conv2D", 18432),
    ("block3_conv2", "Conv2D", 36864),
    ("logits", "Dense", 650),
)


def write_predictions(path: Path, right: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Stores outputs that are greatest at the label where `right`, beside it otherwise."""
    generator = np.random.default_rng(len(path.name))
    outputs = generator.normal(size=(labels.size, classes)).astype(np.float32)
    predicted = np.where(right, labels, (labels + 1) % classes)
    outputs[np.arange(labels.size), predicted] = outputs.max(axis=1) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, outputs=outputs, labels=labels, ids=np.arange(labels.size), kind="logits")


def flipped(right: np.ndarray, gained: int, lost: int, seed: int) -> np.ndarray:
    """`right` with `gained` of the wrong ones righted and `lost` of the right ones wronged."""
    generator = np.random.default_rng(seed)
    changed = right.copy()
    changed[generator.choice(np.flatnonzero(~right), gained, replace=False)] = True
    changed[generator.choice(np.flatnonzero(right), lost, replace=False)] = False
    return changed


def artifact(file: File, right: np.ndarray, baseline_right: np.ndarray) -> ArtifactResult:
    gained, lost = statistics.paired_counts(right, baseline_right)
    n = right.size
    spread = tuple(file.p50 * factor for factor in (0.98, 1.0, 1.05))
    return ArtifactResult(
        name=file.name,
        path=f"artifacts/{file.name}.tflite",
        sha256="0" * 64,
        stages=file.stages,
        format=file.format,
        size_bytes=file.size,
        gzip_size_bytes=file.gzip,
        parameters=77_360,
        macs=12_501_632,
        sparsity=file.sparsity,
        integer_operators=16 if "int8" in file.format else 0,
        operators=16,
        accuracy=float(right.mean()),
        accuracy_interval=statistics.wilson_interval(int(right.sum()), n),
        difference=(gained - lost) / n,
        difference_interval=statistics.paired_difference_interval(gained, lost, n),
        p_value=statistics.mcnemar_p_value(gained, lost),
        gained=gained,
        lost=lost,
        parity=Parity(512, 0.998, 0.0213, 0.004, 0.1 if "int8" in file.format else None),
        latency_ms=(Latency(file.p50, file.p50 * 1.2, "litert_cpu", 1, 1, 250, spread, 0.9, 3.1),),
        peak_memory_bytes=41_000_000,
        predictions=f"predictions/{file.name}.npz",
        distinct_weights=142 if "int8" in file.format else 2304,
    )


def stage(
    name: str, technique: str, epochs: int, zeros: float | None, after: str | None = None
) -> StageResult:
    history = tuple(
        {
            "loss": 0.9 * 0.8**epoch + 0.05,
            "accuracy": 0.95 - 0.25 * 0.8**epoch,
            "val_loss": 0.95 * 0.8**epoch + 0.2 + 0.01 * epoch,
            "val_accuracy": 0.89 - 0.2 * 0.8**epoch - 0.001 * epoch,
            "learning_rate": 1e-3,
            "seconds": 9.5,
        }
        for epoch in range(epochs)
    )
    layers = tuple(
        LayerReport(
            layer,
            kind,
            count,
            treated=layer != "stem_conv",
            reason="" if layer != "stem_conv" else "first layer",
            sparsity=None if zeros is None else zeros if layer != "stem_conv" else 0.0,
        )
        for layer, kind, count in LAYERS
    )
    best = int(np.argmax([epoch["val_accuracy"] for epoch in history])) if history else None
    return StageResult(
        name=name,
        technique=technique,
        config={"target_sparsity": 0.8, "schedule": {"begin_step": 0}} if zeros else {},
        history=history,
        best_epoch=best,
        seconds=9.5 * epochs,
        after=after,
        report=None if technique == "baseline" else CompressionReport(technique, layers),
    )


def make_results(files=FILES, *, images=2000, classes=CLASSES):
    """Results and, by predictions path, which examples are right."""
    generator = np.random.default_rng(0)
    labels = np.arange(images) % len(classes)
    baseline_right = generator.random(images) < 0.88
    right = {"predictions/baseline.npz": baseline_right}
    artifacts = []
    for index, file in enumerate(files):
        mine = flipped(baseline_right, file.gained, file.lost, seed=index)
        right[f"predictions/{file.name}.npz"] = mine
        artifacts.append(artifact(file, mine, baseline_right))
    baseline = ArtifactResult(
        name="baseline",
        format="keras",
        parameters=77_360,
        macs=12_501_632,
        accuracy=float(baseline_right.mean()),
        accuracy_interval=statistics.wilson_interval(int(baseline_right.sum()), images),
        predictions="predictions/baseline.npz",
    )
    made = Results(
        config={
            "data": {"name": "cifar10", "seed": 0},
            "backbone": {"name": "resnet8", "weights": "default"},
            "recipes": ("prune(0.8)+qat",),
            "output_dir": "runs/example",
        },
        environment={
            "python": "CPython 3.11.7",
            "processor": {"name": "Some CPU", "logical_cores": 2},
            "memory_bytes": 8 * 2**30,
            "packages": {"tensorflow": "2.21.0"},
            "gpus": [],
            "commit": None,
        },
        data=DataResult(
            "cifar10",
            "sample",
            classes,
            {"train": 40_000, "validation": 5_000, "calibration": 512, "test": images},
        ),
        baseline=baseline,
        artifacts=tuple(artifacts),
        stages=(
            stage("00-baseline", "baseline", 12, None),
            stage("01-prune", "prune", 6, 0.8, after="00-baseline"),
            stage("02-qat", "qat", 3, 0.79, after="01-prune"),
        ),
        evaluation_speed=EvaluationSpeed("baseline-int8", 61_000.0, 8_100.0, 256),
        seconds=254.0,
    )
    return made, right, labels


def write_run(folder: Path, files=FILES, *, images=2000, classes=CLASSES, edit=None) -> Path:
    """Writes a run folder; `edit` may change the results before they are written."""
    made, right, labels = make_results(files, images=images, classes=classes)
    for path, each in right.items():
        write_predictions(folder / path, each, labels, len(classes))
    results.save(edit(made) if edit else made, folder)
    return folder


@pytest.fixture
def make_run(tmp_path):
    """`make_run(files, images=..., edit=...)` writes a run folder and returns its path."""

    def make(files=FILES, **options):
        return write_run(tmp_path / "run", files, **options)

    return make


@pytest.fixture(scope="session")
def twenty_files():
    """Files that crowd a figure."""
    stages = ("prune", "cluster")
    return tuple(
        File(
            name=f"prune+cluster-{i}-int8",
            format="int8",
            stages=stages,
            size=90_000 + i,
            gzip=40_000 + 900 * i,
            gained=10 + i,
            lost=20 + 2 * i,
            p50=0.1 + 0.002 * i,
            sparsity=0.8,
        )
        for i in range(20)
    )


@pytest.fixture(scope="session")
def kept_run(tmp_path_factory):
    """A run folder for tests that only read it."""
    return write_run(tmp_path_factory.mktemp("kept") / "run")


@pytest.fixture(scope="session")
def example():
    """Results with known figures."""
    return make_results()[0]


@pytest.fixture
def only():
    """`only(results, *names)` keeps the named files."""

    def keep(made, *names):
        return replace(made, artifacts=tuple(a for a in made.artifacts if a.name in names))

    return keep
