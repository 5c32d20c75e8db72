"""A whole benchmark of real files, and what becomes of one that changes meanwhile."""

import pytest

from tfcompress.benchmark import MeasurementError
from tfcompress.benchmark.comparing import BenchmarkConfig, run


@pytest.fixture
def files(exported, tmp_path):
    paths = [tmp_path / "kept.tflite", tmp_path / "changed.tflite"]
    for path in paths:
        exported("int8").save(path)
    return paths


def settings(*paths):
    quick = {"rounds": 1, "min_runs": 2, "min_seconds": 0.0}
    return BenchmarkConfig(artifacts=tuple(map(str, paths)), **quick)


@pytest.mark.parametrize("change", ["removed", "rewritten"])
def test_a_file_that_changed_meanwhile_has_no_figure_and_the_others_have(files, change):
    kept, changed = files

    def say(what, done, total):
        if what.startswith("in turns") and done == total:
            changed.unlink() if change == "removed" else changed.write_bytes(kept.read_bytes() * 2)

    found = run(settings(kept, changed), say=say)
    rows = {row.file: row for row in found.benchmark.rows}
    assert rows["kept.tflite"].latency.p50 > 0
    assert rows["changed.tflite"].latency is None
    assert "changed or removed while it was measured" in rows["changed.tflite"].refused
    assert len(found.samples) == 1


def test_a_lone_file_that_changed_is_an_error(files):
    def say(what, done, total):
        if what.startswith("in turns"):
            files[0].unlink(missing_ok=True)

    with pytest.raises(MeasurementError, match="changed or removed while it was measured"):
        run(settings(files[0]), say=say)
