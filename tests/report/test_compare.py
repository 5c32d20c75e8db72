"""One report on several runs: repetitions with other seeds, and runs of different settings."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest

from tfcompress import report
from tfcompress.predictions import Pictures, Predictions
from tfcompress.report import csv_files, repetitions, run, side_by_side
from tfcompress.report.run import RunFolderError

from .conftest import CLASSES, FILES, write_run


def with_seed(seed):
    return lambda made: dataclasses.replace(made, config={**made.config, "seed": seed})


def with_epochs(epochs):
    return lambda made: dataclasses.replace(made, config={**made.config, "epochs": epochs})


@pytest.fixture
def seeds(tmp_path):
    return [write_run(tmp_path / f"seed{seed}", edit=with_seed(seed)) for seed in range(3)]


def forget(folders, examples, name="prune+qat-int8"):
    """Lets the file answer class 9 to some examples that every baseline has right."""
    baseline = Predictions.load(folders[0] / "predictions" / "baseline.npz")
    right = np.flatnonzero(baseline.correct & (baseline.labels != 9))[:examples]
    for folder in folders:
        path = folder / "predictions" / f"{name}.npz"
        stored = Predictions.load(path)
        before, outputs = stored.accuracy, stored.outputs.copy()
        outputs[right, 9] = outputs.max() + 1
        changed = dataclasses.replace(stored, outputs=outputs)
        changed.save(path)
        text = (folder / "results.json").read_text()
        (folder / "results.json").write_text(
            text.replace(f'"accuracy": {before}', f'"accuracy": {changed.accuracy}')
        )
    return baseline, right


def test_what_every_seed_forgets_is_identified(seeds, tmp_path):
    baseline, forgotten = forget(seeds, 40)
    runs = [run.load(folder) for folder in seeds]
    found = repetitions.identified(runs)["prune+qat-int8"]
    assert set(forgotten) <= set(found.indices)
    assert (found.modal[forgotten] == 9).all()
    images = np.zeros([40, 8, 8, 1], np.uint8)
    Pictures(images, baseline.ids[forgotten]).save(seeds[1] / "predictions" / "pictures.npz")
    paths = report.compare(seeds, tmp_path / "together")
    assert [path.stem for path in paths.figures] == ["identified-images"]
    page = paths.html.read_text()
    assert "Over 3 seeds" in page or "Every compressed file shows a loss" in page
    assert "Compression-identified images" in page
    assert "data:image/png;base64" in page


def test_runs_of_different_settings_stand_side_by_side(tmp_path):
    one = write_run(tmp_path / "one", edit=with_epochs(1))
    other = write_run(tmp_path / "other", edit=with_epochs(2))
    paths = report.compare([one, other], tmp_path / "together")
    text = paths.markdown.read_text()
    assert "## Settings that differ" in text
    assert "| epochs | 1 | 2 |" in text
    runs = [run.load(folder) for folder in (one, other)]
    table = side_by_side.contents(runs).files
    # Every row but the first baseline, which all others are compared with.
    assert len(table.rows) == 2 * (1 + len(FILES)) - 1
    (row,) = (row for row in table.rows if (row[0].value, row[1].value) == ("one", "baseline-int8"))
    assert row[5].value == "\u22120.50"
    # p is 0.031 alone; there are nine comparisons.
    assert row[6].value == "worse?"


def test_runs_of_other_test_examples_are_refused(tmp_path):
    one = write_run(tmp_path / "one", edit=with_epochs(1))
    short = write_run(tmp_path / "short", images=1000, edit=with_epochs(2))
    with pytest.raises(RunFolderError, match=r"1,000 test examples that are not the 2,000"):
        report.compare([one, short], tmp_path / "together")
    assert not (tmp_path / "together").exists()


def test_a_single_run_and_a_run_twice_are_refused(tmp_path):
    one = write_run(tmp_path / "one", edit=with_seed(0))
    with pytest.raises(ValueError, match="at least two runs"):
        report.compare([one], tmp_path / "together")
    with pytest.raises(ValueError, match="A seed stands twice"):
        report.compare([one, one], tmp_path / "together")


def test_the_table_of_repetitions_needs_results_alone(seeds):
    for folder in seeds:
        for path in (folder / "predictions").iterdir():
            path.unlink()
    assert report.compared(seeds).title == "Mean over 3 seeds"


def test_csv_holds_the_figures_unrounded(kept_run):
    loaded = run.load(kept_run)
    found = {
        name: list(csv.DictReader(io.StringIO(text)))
        for name, text in csv_files.tables(loaded).items()
    }
    assert set(found) == {"files", "classes", "latencies", "epochs"}
    row = next(row for row in found["files"] if row["name"] == "prune+qat-int8")
    entry = next(a for a in loaded.results.artifacts if a.name == "prune+qat-int8")
    assert float(row["accuracy"]) == entry.accuracy
    assert float(row["difference_low"]) == entry.difference_interval.low
    assert (row["answer"], row["model"]) == ("no difference shown", "")
    assert len(found["classes"]) == len(FILES) * len(CLASSES)
    assert sum(row["kept"] == "True" for row in found["epochs"]) == 3
    assert float(found["latencies"][0]["p50_ms"]) == FILES[0].p50


def test_a_report_writes_its_tables(make_run):
    paths = report.render(make_run())
    assert [path.name for path in paths.tables] == [
        "files.csv", "classes.csv", "latencies.csv", "epochs.csv",
    ]  # fmt: skip
