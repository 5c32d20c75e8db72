"""Ways of quantization side by side, on the baseline of a small run."""

import pytest

from tfcompress.studies import quantization
from tfcompress.studies.quantization import StudyConfig

METHODS = ("tflite", "ptq(rounding=nearest, growth=0.2)", "tf-mot", "qat(growth=0.2)")


@pytest.mark.slow
def test_each_method_is_judged_and_kept(run_dir, tmp_path):
    config = StudyConfig(steps=2, methods=METHODS)
    found = quantization.study(run_dir, config, tmp_path)
    points = [(row.method, row.steps) for row in found.judged]
    assert points[:2] == [(METHODS[0], 0), (METHODS[1], 0)]
    # Before, after two steps, after an epoch.
    assert [method for method, _ in points[2:]] == 3 * ["tf-mot"] + 3 * [METHODS[3]]
    steps = [steps for _, steps in points[2:]]
    assert steps[:2] == [0, 2]
    assert steps[3:] == steps[:3]
    for row in found.judged:
        assert row.method in METHODS[1::2] or row.integer_operators == row.operators
        assert 0 < row.size_bytes < 40_000
        assert row.difference == pytest.approx(row.file_accuracy - found.float_accuracy)
    rows = {(row.method, row.steps): row for row in found.judged}
    assert rows["tflite", 0].keras_accuracy == found.float_accuracy
    assert rows[METHODS[1], 0].agreement > 0.99
    # What is finished is not done again.
    assert quantization.study(run_dir, config, tmp_path).judged == found.judged
    lines = quantization.table_lines(found)
    assert len(lines) == 4 + len(points)
    assert lines[4].startswith("| tflite | 0 |")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"methods": ("gptq",)}, "Unknown method: 'gptq'. Known: tflite, ai-edge-quantizer, ptq"),
        ({"methods": ("ptq(colour=1)",)}, "ptq has no argument 'colour'"),
        ({"methods": ("qat(epochs=3)",)}, "trains for one epoch.*without epochs"),
        ({"steps": 0}, "at least 1 step"),
        ({"learning_rate": 0}, "learning rate above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        StudyConfig(**settings)


def test_more_steps_than_an_epoch_has_are_refused_before_any_work(run_dir, tmp_path):
    config = StudyConfig(steps=17, methods=("tflite", "tfcompress"))
    with pytest.raises(ValueError, match=r"at most an epoch, 16 steps\. Received: 17"):
        quantization.study(run_dir, config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_baseline_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be the folder of a finished run"):
        quantization.study(tmp_path / "none", StudyConfig(), tmp_path / "out")


def test_googles_package_is_held_beside(run_dir, tmp_path):
    pytest.importorskip("ai_edge_quantizer", reason="the optional package is not installed")
    config = StudyConfig(methods=("ai-edge-quantizer",))
    (row,) = quantization.study(run_dir, config, tmp_path).judged
    assert row.integer_operators == row.operators
    assert row.agreement > 0.8


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install -e"):
        StudyConfig(methods=("ai-edge-quantizer",))


@pytest.mark.slow
def test_an_interrupted_judgement_has_all_points_again(run_dir, tmp_path, monkeypatch):
    config = StudyConfig(steps=2, methods=("tfcompress",))
    judge = quantization._Study._judge

    def killed(self, method, steps, *rest):
        if steps:
            raise KeyboardInterrupt
        return judge(self, method, steps, *rest)

    monkeypatch.setattr(quantization._Study, "_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        quantization.study(run_dir, config, tmp_path)
    monkeypatch.undo()
    found = quantization.study(run_dir, config, tmp_path).judged
    assert [row.steps for row in found][:2] == [0, 2]
    assert len(found) == 3


def test_more_steps_than_an_epoch_has_are_refused(run_dir, tmp_path):
    with pytest.raises(ValueError, match=r"at most an epoch, .* Received: 9999"):
        quantization.study(run_dir, StudyConfig(steps=9999, methods=("tfcompress",)), tmp_path)
