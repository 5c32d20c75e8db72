"""One report on several runs: repetitions with other seeds, and runs of different settings."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest

from tfcompress import report, results, statistics
from tfcompress.predictions import Pictures, Predictions
from tfcompress.report import csv_files, judgement, repetitions, run, side_by_side
from tfcompress.report.run import RunFolderError
from tfcompress.report.seeds import over_seeds

from .conftest import CLASSES, FILES, write_run


def with_seed(seed):
    return lambda made: dataclasses.replace(made, config={**made.config, "seed": seed})


def with_epochs(epochs):
    return lambda made: dataclasses.replace(made, config={**made.config, "epochs": epochs})


@pytest.fixture
def seeds(tmp_path):
    return [write_run(tmp_path / f"seed{seed}", edit=with_seed(seed)) for seed in range(3)]


def forget(folders, counts, name="prune+qat-int8"):
    """Lets the file answer class 9 to some images that every baseline has right, more each seed."""
    baseline = Predictions.load(folders[0] / "predictions" / "baseline.npz")
    right = np.flatnonzero(baseline.correct & (baseline.labels != 9))
    for folder, count in zip(folders, counts, strict=True):
        path = folder / "predictions" / f"{name}.npz"
        stored = Predictions.load(path)
        outputs = stored.outputs.copy()
        outputs[right[:count], 9] = outputs.max() + 1
        changed = dataclasses.replace(stored, outputs=outputs)
        changed.save(path)
        versus = statistics.compare(outputs, baseline.outputs, baseline.labels)
        made = results.load(folder)
        rows = [
            dataclasses.replace(
                row,
                accuracy=versus.accuracy,
                difference=versus.difference,
                difference_interval=versus.difference_interval,
                p_value=versus.p_value,
                gained=versus.gained,
                lost=versus.lost,
            )
            if row.name == name
            else row
            for row in made.artifacts
        ]
        results.save(dataclasses.replace(made, artifacts=tuple(rows)), folder)
    return baseline, right[: min(counts)]


def test_what_every_seed_forgets_is_identified(seeds, tmp_path):
    baseline, forgotten = forget(seeds, (40, 44, 42))
    runs = [run.load(folder, judge=False) for folder in seeds]
    found = repetitions.identified(runs)["prune+qat-int8"]
    assert set(forgotten) <= set(found.indices)
    assert (found.modal[forgotten] == 9).all()
    images = np.zeros([40, 8, 8, 1], np.uint8)
    Pictures(images, baseline.ids[forgotten]).save(seeds[1] / "predictions" / "pictures.npz")
    paths = report.compare(seeds, tmp_path / "together")
    assert [path.stem for path in paths.figures] == ["identified-images"]
    page = paths.html.read_text()
    # The other file loses one image in every seed: no test of a spread that is nothing.
    assert "above suspicion of a loss; prune+qat-float32 loses least in the mean." in page
    assert "Compression-identified images" in page
    assert "data:image/png;base64" in page
    file = next(
        each for each in over_seeds([r.results for r in runs]) if each.name == "prune+qat-int8"
    )
    assert (file.answer, file.losing) == ("worse", 3)


def test_one_alarm_among_many_seeds_is_no_loss(example):
    """Of 20 runs one has p = 0.031 by chance: that is what 20 runs of equal models show."""
    name = "baseline-int8"
    calm = dataclasses.replace(example.artifacts[1], p_value=0.9)
    runs = [
        dataclasses.replace(
            with_seed(seed)(example),
            artifacts=(
                example.artifacts[0],
                dataclasses.replace(
                    calm if seed else example.artifacts[1],
                    accuracy=example.baseline.accuracy + 0.001 * (seed % 5),
                ),
            ),
        )
        for seed in range(20)
    ]
    found = next(each for each in over_seeds(runs) if each.name == name)
    assert judgement.judge(runs[0])[name].answer == "worse"
    assert (found.answer, found.losing) == ("better", 0)


def test_examples_in_another_order_are_paired(seeds):
    path = seeds[1] / "predictions"
    for file in path.glob("*.npz"):
        stored = Predictions.load(file)
        order = np.random.default_rng(0).permutation(len(stored))
        Predictions(
            stored.outputs[order], stored.labels[order], stored.ids[order], stored.kind
        ).save(file)
    runs = [run.load(folder, judge=False) for folder in seeds]
    same = repetitions.identified([runs[0], runs[0]])["prune+qat-int8"]
    other = repetitions.identified([runs[0], runs[1]])["prune+qat-int8"]
    np.testing.assert_array_equal(same.indices, other.indices)


def test_runs_of_different_settings_stand_side_by_side(tmp_path):
    one = write_run(tmp_path / "one", edit=with_epochs(1))
    other = write_run(tmp_path / "other", edit=with_epochs(2))
    paths = report.compare([one, other], tmp_path / "together")
    text = paths.markdown.read_text()
    assert "## Settings that differ" in text
    assert "| epochs | 1 | 2 |" in text
    runs = [run.load(folder) for folder in (one, other)]
    table = side_by_side.contents(runs).files
    # Every row but the first baseline, which all others are compared with, and the baselines'
    # float32 files, which are the baselines.
    assert len(table.rows) == 2 * len(FILES) - 1
    (row,) = (row for row in table.rows if (row[0].value, row[1].value) == ("A", "baseline-int8"))
    assert row[5].value == "\u22120.50"
    # p is 0.031 alone; there are seven comparisons.
    assert row[6].value == "worse?"


def test_runs_of_other_test_examples_are_refused(tmp_path):
    one = write_run(tmp_path / "one", edit=with_epochs(1))
    short = write_run(tmp_path / "short", images=1000, edit=with_epochs(2))
    with pytest.raises(RunFolderError, match=r"on 1,000 and on 2,000 examples cannot be paired"):
        report.compare([one, short], tmp_path / "together")
    assert not (tmp_path / "together").exists()


def test_runs_of_other_data_are_refused(tmp_path):
    one = write_run(tmp_path / "one", edit=with_epochs(1))
    names = tuple(f"c{i}" for i in range(10))
    other = write_run(tmp_path / "other", classes=names, edit=with_epochs(2))
    with pytest.raises(RunFolderError, match="has classes c0, c1"):
        report.compare([one, other], tmp_path / "together")
    twin = write_run(tmp_path / "twin", edit=with_epochs(2))
    for folder, checksum in ((one, "a"), (twin, "b")):
        (folder / "data.json").write_text(f'{{"test": "{checksum}"}}')
    with pytest.raises(RunFolderError, match="judged on other test images"):
        report.compare([one, twin], tmp_path / "together")


def test_a_run_folder_is_no_place_for_a_comparison(seeds):
    before = (seeds[0] / "results.json").read_bytes()
    with pytest.raises(ValueError, match="is a run folder, whose own report would be lost"):
        report.compare(seeds, seeds[0])
    assert (seeds[0] / "results.json").read_bytes() == before


def test_a_folder_with_other_files_is_no_place_for_a_comparison(seeds, tmp_path):
    mine = tmp_path / "thesis" / "figures" / "mine.svg"
    mine.parent.mkdir(parents=True)
    mine.write_text("<svg/>")
    with pytest.raises(ValueError, match="holds other files, and no earlier comparison"):
        report.compare(seeds, tmp_path / "thesis")
    with pytest.raises(ValueError, match="folder of its own"):
        report.compare(seeds, "")
    assert mine.read_text() == "<svg/>"
    for _ in range(2):
        report.compare(seeds, tmp_path / "new")
    extra = tmp_path / "new" / "figures" / "extra.svg"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text("<svg/>")
    report.compare(seeds, tmp_path / "new")
    assert extra.exists()


def test_a_table_over_seeds_takes_runs_of_one_test_split(seeds):
    (seeds[1] / "data.json").write_text('{"test": "a"}')
    (seeds[0] / "data.json").write_text('{"test": "b"}')
    with pytest.raises(RunFolderError, match="judged on other test images"):
        report.compared(seeds)


def test_runs_without_files_are_not_said_to_lose(tmp_path):
    def edit(epochs):
        return lambda made: dataclasses.replace(with_epochs(epochs)(made), artifacts=(), models=())

    runs = [write_run(tmp_path / str(n), edit=edit(n)) for n in (1, 2)]
    found = side_by_side.contents([run.load(folder, judge=False) for folder in runs])
    assert found.verdict.headline == "The runs hold no compressed file."


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


def of_texts(edit):
    """The same run, judged on texts."""

    def edited(made):
        made = edit(made)
        return dataclasses.replace(made, data=dataclasses.replace(made.data, example="text"))

    return edited


@pytest.mark.parametrize("differing", [with_seed, with_epochs])
def test_comparisons_of_runs_on_texts_speak_of_texts(tmp_path, differing):
    folders = [
        write_run(tmp_path / str(number), edit=of_texts(differing(number))) for number in (1, 2, 3)
    ]
    forget(folders, [4, 4, 4])
    page = report.compare(folders, tmp_path / "both").markdown.read_text(encoding="utf-8")
    assert "2,000 test texts" in page
    assert "image" not in page.lower()
