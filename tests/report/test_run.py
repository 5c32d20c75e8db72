from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tfcompress.report import run


def test_load_tells_which_examples_are_right(make_run):
    loaded = run.load(make_run())
    names = [a.name for a in loaded.results.artifacts]
    assert list(loaded.judged) == ["baseline", *names]
    assert [each.name for each in loaded.files] == names
    for entry in (loaded.results.baseline, *loaded.results.artifacts):
        assert loaded.judged[entry.name].right.mean() == pytest.approx(entry.accuracy)
        assert loaded.judged[entry.name].right.size == 2000


def test_no_such_folder(tmp_path):
    with pytest.raises(run.RunFolderError, match="No such folder"):
        run.load(tmp_path / "nowhere")


def test_a_foreign_folder_is_told_from_an_unfinished_run(tmp_path):
    with pytest.raises(run.RunFolderError, match="not a run folder"):
        run.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(run.RunFolderError, match="not finished"):
        run.load(tmp_path)


def test_truncated_results(make_run):
    folder = make_run()
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text[: len(text) // 2])
    with pytest.raises(run.RunFolderError, match=r"not valid JSON.*truncated"):
        run.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema_version 99"),
        ({"baseline": None}, "None where ArtifactResult is expected"),
        ({"baseline": {"name": "x", "accuracy": "high"}}, "'high' where float is expected"),
        ({"stages": None}, "None where tuple is expected"),
        ({"config": None}, "None where Mapping is expected"),
        ({"baseline": {"nam": "x"}}, "unknown field"),
        ({"artifacts": 3}, "does not fit"),
    ],
    ids=["version", "no baseline", "text", "no stages", "no config", "unknown field", "wrong type"],
)
def test_foreign_results(make_run, change, message):
    folder = make_run()
    record = json.loads((folder / "results.json").read_text()) | change
    (folder / "results.json").write_text(json.dumps(record))
    with pytest.raises(run.RunFolderError, match=message):
        run.load(folder)


def test_missing_predictions_are_named(make_run):
    folder = make_run()
    (folder / "predictions" / "baseline-int8.npz").unlink()
    with pytest.raises(run.RunFolderError, match=r"Missing predictions: .*baseline-int8\.npz"):
        run.load(folder)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_predictions(make_run, kept):
    folder = make_run()
    path = folder / "predictions" / "baseline-int8.npz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(run.RunFolderError, match="holds no stored predictions"):
        run.load(folder)


def test_predictions_with_other_arrays(make_run):
    folder = make_run()
    np.savez(folder / "predictions" / "baseline.npz", outputs=np.zeros([2, 2]))
    with pytest.raises(run.RunFolderError, match="lacks labels, ids, kind"):
        run.load(folder)


def test_pickled_predictions_are_not_executed(make_run):
    folder = make_run()
    pickled = np.array([{"code": 1}], dtype=object)
    np.savez(
        folder / "predictions" / "baseline.npz",
        outputs=pickled,
        labels=pickled,
        ids=pickled,
        kind="logits",
    )
    with pytest.raises(run.RunFolderError, match="holds no stored predictions"):
        run.load(folder)


def test_predictions_of_other_examples(make_run):
    folder = make_run()
    path = folder / "predictions" / "baseline-int8.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {"ids": arrays["ids"] + 1}))
    with pytest.raises(run.RunFolderError, match=r"baseline-int8\.npz: .*their ids differ"):
        run.load(folder)


def test_predictions_in_another_order_are_paired_by_example(make_run):
    folder = make_run()
    before = run.load(folder).judged["baseline-int8"]
    path = folder / "predictions" / "baseline-int8.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    flipped = {name: arrays[name][::-1] for name in ("outputs", "labels", "ids")}
    np.savez(path, **(arrays | flipped))
    after = run.load(folder).judged["baseline-int8"]
    np.testing.assert_array_equal(after.right, before.right)
    assert after.class_changes == before.class_changes


def test_predictions_that_disagree_with_the_results(make_run):
    def edit(made):
        return dataclasses.replace(
            made,
            baseline=dataclasses.replace(made.baseline, accuracy=made.baseline.accuracy - 0.01),
        )

    with pytest.raises(run.RunFolderError, match="not of one run"):
        run.load(make_run(edit=edit))


@pytest.mark.parametrize(
    "changes", [{"difference": 0.5}, {"lost": 900}, {"name": "baseline-float32"}]
)
def test_results_that_disagree_with_the_predictions(make_run, changes):
    def edit(made):
        first, second, *rest = made.artifacts
        return dataclasses.replace(
            made, artifacts=(first, dataclasses.replace(second, **changes), *rest)
        )

    with pytest.raises(run.RunFolderError, match=r"not of one run|names baseline-float32 twice"):
        run.load(make_run(edit=edit))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a | {"outputs": np.hstack([a["outputs"], a["outputs"][:, :1]])}, "10 classes"),
        (lambda a: a | {"outputs": a["outputs"] * 1j}, "real numbers"),
        (lambda a: a | {"ids": a["ids"] * 0}, "ids must be distinct"),
        (lambda a: a | {"labels": np.int64(3)}, "a single number"),
    ],
    ids=["columns", "complex", "ids", "scalar"],
)
def test_odd_predictions(make_run, change, said):
    folder = make_run()
    path = folder / "predictions" / "baseline-int8.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **change(arrays))
    with pytest.raises(run.RunFolderError, match=said):
        run.load(folder)


def test_an_array_in_the_place_of_predictions(make_run):
    folder = make_run()
    path = folder / "predictions" / "baseline-int8.npz"
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(run.RunFolderError, match="holds no stored predictions"):
        run.load(folder)


def test_nan_outputs_name_the_file(make_run):
    folder = make_run()
    path = folder / "predictions" / "baseline.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["outputs"][0, 0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(run.RunFolderError, match=r"baseline\.npz: Outputs hold NaN in 1"):
        run.load(folder)


def test_a_run_without_recorded_predictions_loads(make_run):
    def edit(made):
        return dataclasses.replace(
            made,
            baseline=dataclasses.replace(made.baseline, predictions=None),
            artifacts=tuple(dataclasses.replace(a, predictions=None) for a in made.artifacts),
        )

    loaded = run.load(make_run(edit=edit))
    assert loaded.judged == {}
    assert loaded.files == ()


def test_one_changed_byte_in_compressed_predictions_is_a_clear_error(tmp_path):
    path = tmp_path / "a.npz"
    labels = np.arange(400) % 10
    outputs = np.random.default_rng(0).normal(size=(400, 10)).astype(np.float32)
    np.savez_compressed(path, outputs=outputs, labels=labels, ids=labels, kind="logits")
    whole, refused = path.read_bytes(), 0
    for position in range(60, len(whole) - 200, 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        try:
            # A byte of the headers may change nothing that is read.
            np.testing.assert_array_equal(run.load_predictions(path).outputs, outputs)
        except run.RunFolderError:
            refused += 1
    assert refused > 100
