"""A finished run's files on corrupted images and on another data set: numbers, table, figure."""

import dataclasses
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from tfcompress import data, evaluate, records, results, robustness, statistics
from tfcompress.data import DataConfig, corruptions
from tfcompress.predictions import Predictions
from tfcompress.report import robustness_chart
from tfcompress.results import Interval
from tfcompress.robustness import CorruptionScore, RobustFile, Robustness, Shift, ShiftedFile
from tfcompress.run_folder import RunFolder
from tfcompress.studies import robustness as study
from tfcompress.studies import shift
from tfcompress.studies.robustness import RobustnessConfig

CONFIG = RobustnessConfig(
    corruptions=("gaussian_noise", "contrast"), severities=(1, 5), resamples=200
)


@pytest.fixture(scope="module")
def judged(run_dir, tmp_path_factory):
    """The folder of a study with another data set of other classes, and its result."""
    folder = tmp_path_factory.mktemp("robust")
    config = dataclasses.replace(CONFIG, shift_dataset="cifar10_sample")
    return folder, config, study.judge(run_dir, config, folder)


def stored(folder, condition, name):
    return Predictions.load(folder / "predictions" / condition / f"{name}.npz")


def changed_at(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("predictions/**/*"))


def test_every_file_is_judged_on_every_corruption(judged, run_dir):
    folder, _, found = judged
    assert [file.name for file in found.files] == ["baseline", "baseline-int8"]
    assert found.corruptions == ("gaussian_noise", "contrast")
    run = results.load(run_dir)
    assert found.files[0].clean_accuracy == run.baseline.accuracy
    assert found.files[1].clean_accuracy == run.artifacts[0].accuracy
    assert found.files[1].clean_difference == pytest.approx(run.artifacts[0].difference)
    for file in found.files:
        for score in file.corruptions:
            by_hand = [
                stored(folder, f"{score.corruption}-{severity}", file.name).accuracy
                for severity in (1, 5)
            ]
            assert score.accuracies == pytest.approx(by_hand)
            assert score.accuracy == pytest.approx(np.mean(by_hand))


def test_the_answers_are_those_to_the_corrupted_images(judged, run_dir):
    folder, _, _ = judged
    source = study.finished_run.load(run_dir)
    dataset = corruptions.corrupted(source.dataset, name="contrast", severity=5)
    again = evaluate.predict_model(source.baseline, dataset, source.preprocessing)
    np.testing.assert_array_equal(again.outputs, stored(folder, "contrast-5", "baseline").outputs)


def test_errors_relative_to_the_baseline_follow_from_what_is_stored(judged):
    folder, _, found = judged
    ratios = []
    for name in found.corruptions:
        file, baseline = (
            sum(1 - stored(folder, f"{name}-{severity}", one).accuracy for severity in (1, 5))
            for one in ("baseline-int8", "baseline")
        )
        ratios.append(file / baseline)
    row = found.files[1]
    assert [score.error_ratio for score in row.corruptions] == pytest.approx(ratios)
    assert row.mean_corruption_error == pytest.approx(np.mean(ratios))
    interval = row.mean_corruption_error_interval
    assert interval.low <= row.mean_corruption_error <= interval.high


def test_the_baseline_is_compared_with_nothing(judged):
    _, _, found = judged
    baseline = found.files[0]
    assert baseline.difference is None
    assert baseline.mean_corruption_error is None
    assert baseline.furthest_behind is None
    assert all(score.difference is None for score in baseline.corruptions)
    assert found.shift.files[0].auroc_difference is None


def test_confidence_tells_other_classes_apart(judged):
    folder, _, found = judged
    other = found.shift
    assert (other.dataset, other.source, other.examples) == ("cifar10_sample", "sample", 400)
    assert not other.same_classes
    assert other.shared_classes == 0
    areas = []
    for file in other.files:
        own, there = (
            statistics.softmax(stored(folder, name, file.name).outputs).max(axis=1)
            for name in ("clean", "shift")
        )
        assert file.own_confidence == pytest.approx(own.mean())
        assert file.confidence == pytest.approx(there.mean())
        wins = (own[:, None] > there).mean() + (own[:, None] == there).mean() / 2
        assert file.auroc == pytest.approx(wins)
        areas.append(file.auroc)
        assert file.accuracy is None
    assert other.files[1].auroc_difference == pytest.approx(areas[1] - areas[0])


def test_the_result_is_kept_as_json(judged):
    folder, _, found = judged
    record = json.loads((folder / study.RESULT).read_text())
    assert records.from_record(Robustness, record) == found


def test_what_is_finished_is_computed_from_what_is_stored(judged, run_dir, monkeypatch):
    folder, config, found = judged
    before = changed_at(folder)
    monkeypatch.setattr(evaluate, "predict_model", None)
    monkeypatch.setattr(evaluate, "predict_artifact", None)
    monkeypatch.setattr(corruptions, "corrupt", None)
    again = study.judge(run_dir, config, folder)
    assert changed_at(folder) == before
    assert dataclasses.replace(again, environment=found.environment) == found


def test_a_lost_or_damaged_answer_is_given_again(judged, run_dir):
    folder, config, found = judged
    lost = folder / "predictions" / "contrast-1" / "baseline-int8.npz"
    damaged = folder / "predictions" / "gaussian_noise-5" / "baseline.npz"
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-20])
    again = study.judge(run_dir, config, folder)
    assert again.files == found.files


def test_other_settings_are_refused_in_the_same_folder(judged, run_dir):
    folder, config, _ = judged
    with pytest.raises(ValueError, match=r"robustness\.seed: 0 -> 1"):
        study.judge(run_dir, dataclasses.replace(config, seed=1), folder)


def test_the_same_images_under_other_labels_have_the_same_accuracy(run_dir, tmp_path):
    """Classes go by name: here in another order, in colour, of a class fewer."""
    digits = data.load(DataConfig(name="mnist_sample"))
    kept = digits.test.labels != 9
    arrays = {
        "x_train": np.repeat(digits.train.examples[:500], 3, axis=-1),
        "y_train": 8 - digits.train.labels[:500] % 9,
        "x_test": np.repeat(digits.test.examples[kept], 3, axis=-1),
        "y_test": 8 - digits.test.labels[kept],
        "classes": np.array(list("876543210")),
    }
    np.savez(tmp_path / "reversed.npz", **arrays)
    name = f"npz:{tmp_path / 'reversed.npz'}"
    config = dataclasses.replace(CONFIG, corruptions=("contrast",), severities=(1,))
    config = dataclasses.replace(config, shift_dataset=name, files=("baseline-int8",))
    found = study.judge(run_dir, config, tmp_path / "out").shift
    assert found.same_classes
    for file in found.files:
        own = stored(tmp_path / "out", "clean", file.name)
        assert file.accuracy == pytest.approx(own.correct[kept].mean())
        assert file.own_accuracy == own.accuracy
        assert file.auroc is None
    assert found.files[0].difference is None
    expected = found.files[1].accuracy - found.files[0].accuracy
    assert found.files[1].difference == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"files": ("int4",)}, r"Unknown file of .*'int4'. Known: baseline-int8"),
        ({"shift_dataset": "mnist_simple"}, "Unknown data set: 'mnist_simple'"),
        ({"shift_dataset": "mnist_sample"}, "is of mnist_sample itself"),
    ],
)
def test_what_the_run_does_not_have_is_refused_before_any_work(run_dir, tmp_path, settings, says):
    with pytest.raises(ValueError, match=says):
        study.judge(run_dir, dataclasses.replace(CONFIG, **settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"corruptions": ("fog",)}, "Unknown corruption: 'fog'. Known: gaussian_noise"),
        ({"corruptions": ()}, "a corruption and a severity at least"),
        ({"severities": (1, 6)}, "from 1 .* to 5. Received: 6"),
        ({"severities": (3, 3)}, r"severities names something twice: \[3, 3\]"),
        ({"resamples": 10}, "at least 100 resamples"),
        ({"seed": -1}, "a seed of 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        RobustnessConfig(**settings)


def test_all_is_judged_unless_less_is_asked_for():
    assert RobustnessConfig().corruptions == corruptions.names()
    assert RobustnessConfig().severities == (1, 2, 3, 4, 5)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be the folder of a finished run"):
        study.judge(tmp_path / "none", CONFIG, tmp_path / "out")


def test_classes_are_matched_by_name():
    assert shift.mapped_labels("abc", "cba").tolist() == [2, 1, 0]
    assert shift.mapped_labels("ab", "cba").tolist() == [2, 1]
    assert shift.mapped_labels("abd", "cba") is None


def test_a_model_that_changed_is_asked_again(tmp_path):
    from tfcompress.judged_files import JudgedFile, answers

    asked = []

    def predict(dataset):
        asked.append(dataset)
        return Predictions(np.eye(3, dtype=np.float32), np.arange(3), np.arange(3), "logits")

    def ask(sha256, key):
        file = JudgedFile("net", sha256, predict)
        return answers(file, RunFolder(tmp_path), lambda: "data", condition="jpeg-1", key=key)

    for sha256, key in (("aa", "0"), ("aa", "0"), ("bb", "0"), ("bb", "1")):
        assert len(ask(sha256, key)) == 3
    assert asked == ["data"] * 3


# How it is shown, by hand.


@pytest.fixture
def result():
    def scores(*pairs):
        return tuple(
            CorruptionScore(name, (accuracy,), accuracy, difference, interval, 1.5)
            for name, accuracy, difference, interval in pairs
        )

    baseline = scores(("jpeg", 0.8, None, None), ("contrast", 0.6, None, None))
    behind = Interval(-0.07, -0.03)
    file = scores(("jpeg", 0.81, 0.01, Interval(-0.01, 0.03)), ("contrast", 0.55, -0.05, behind))
    shown = RobustFile(
        name="net-int8",
        clean_accuracy=0.89,
        accuracy=0.68,
        accuracy_interval=Interval(0.66, 0.7),
        corruptions=file,
        clean_difference=-0.01,
        clean_difference_interval=Interval(-0.02, 0.0),
        difference=-0.02,
        difference_interval=Interval(-0.03, -0.01),
        mean_corruption_error=1.1,
        mean_corruption_error_interval=Interval(1.05, 1.15),
    )
    return Robustness(
        network="net",
        dataset="pictures",
        examples=1000,
        severities=(3,),
        files=(RobustFile("baseline", 0.9, 0.7, Interval(0.68, 0.72), baseline), shown),
        shift=None,
        config={},
        environment={},
    )


def test_the_table_by_hand(result):
    told, _, head, line, *rows = robustness.table_lines(result)
    assert told == "net, 1,000 test images of pictures; 2 corruptions, severities 3."
    assert {text.count("|") for text in (head, line, *rows)} == {9}
    assert rows == [
        "| baseline | 90.00 | 70.00 (68.00 to 72.00) |  |  |  | contrast 60.0 |  |",
        "| net-int8 | 89.00 | 68.00 (66.00 to 70.00) | -2.00 (-3.00 to -1.00) | "
        "110.0 (105.0 to 115.0) |  | contrast 55.0 | contrast -5.00 |",
    ]


def test_a_file_that_loses_nothing_is_behind_nowhere(result):
    baseline, file = result.files
    assert file.furthest_behind.corruption == "contrast"
    better = dataclasses.replace(file, corruptions=file.corruptions[:1])
    assert better.furthest_behind is None
    assert baseline.worst.corruption == "contrast"


def test_the_tables_of_another_data_set_by_hand(result):
    apart = ShiftedFile("net-int8", 0.9, 0.5, 0.8, auroc=0.95, auroc_difference=-0.001)
    found = Shift("letters", "sample", 400, False, 0, (apart,))
    lines = robustness.table_lines(dataclasses.replace(result, shift=found))
    assert lines[-5] == "On 400 test images of letters, other classes (0 are the run's too)."
    assert lines[-1] == "| net-int8 | 95.00 | -0.10 | 90.0 | 50.0 |"
    right = ShiftedFile("net-int8", 0.9, 0.5, 0.8, 0.75, Interval(0.7, 0.8), -0.02)
    found = Shift("others", "sample", 400, True, 10, (right,))
    lines = robustness.shift_lines(found)
    assert lines[0].endswith("its classes are the run's.")
    assert lines[-1] == "| net-int8 | 75.00 (70.00 to 80.00) | -5.00 | -2.00 | 90.0 | 50.0 |"
    assert lines[2].count("|") == lines[3].count("|") == lines[-1].count("|")


def test_the_figure_names_files_corruptions_and_differences(result):
    texts = [
        text.strip() for text in ElementTree.fromstring(robustness_chart.svg(result)).itertext()
    ]
    assert {"net-int8", "baseline", "clean", "jpeg", "contrast", "mean"} <= {*texts}
    minus = "\N{MINUS SIGN}"
    assert {"90.0", "70.0", "+1.0", f"{minus}5.0", f"{minus}2.0"} <= {*texts}
    assert any("severities 3" in text for text in texts)


def test_numbers_that_may_be_none_step_back(result):
    from tfcompress.report import drawing

    with drawing.theme():
        figure = robustness_chart.draw(result)
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert colours["+1.0"] == drawing.COLORS["muted"]
    assert colours["\N{MINUS SIGN}5.0"] == drawing.COLORS["ink"]
