import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tfcompress import evaluate
from tfcompress.predictions import Predictions
from tfcompress.preprocessing import Preprocessing


def predictions():
    return Predictions(
        outputs=np.array([[0.1, 0.9], [2.0, 1.0], [0.0, 5.0]], np.float32),
        labels=np.array([1, 1, 1]),
        ids=np.array([7, 3, 5]),
        kind="logits",
    )


def test_accuracy_by_hand():
    assert predictions().correct.tolist() == [True, False, True]
    assert predictions().accuracy == pytest.approx(2 / 3)
    assert len(predictions()) == 3


def test_stored_predictions_come_back(tmp_path):
    path = predictions().save(tmp_path / "a" / "p.npz")
    stored = Predictions.load(path)
    np.testing.assert_array_equal(stored.outputs, predictions().outputs)
    np.testing.assert_array_equal(stored.labels, [1, 1, 1])
    np.testing.assert_array_equal(stored.ids, [7, 3, 5])
    assert stored.kind == "logits"
    assert [file.name for file in path.parent.iterdir()] == ["p.npz"]


@pytest.mark.parametrize("keep", [0, 10, 0.5, 1.0])
def test_damaged_file_is_refused(tmp_path, keep):
    path = predictions().save(tmp_path / "p.npz")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    if keep == 1.0:
        np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match=r"p\.npz holds no stored predictions"):
        Predictions.load(path)


def test_changed_byte_in_the_compressed_part_is_refused(tmp_path):
    path = predictions().save(tmp_path / "p.npz")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("outputs.npy").header_offset
    data = bytearray(path.read_bytes())
    names = int.from_bytes(data[start + 26 : start + 28], "little")
    extra = int.from_bytes(data[start + 28 : start + 30], "little")
    data[start + 30 + names + extra] ^= 0xFF  # the type of the first compressed block
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"p\.npz holds no stored predictions"):
        Predictions.load(path)


def test_missing_file_and_other_suffix(tmp_path):
    with pytest.raises(FileNotFoundError):
        Predictions.load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"\.npz.*p\.csv"):
        predictions().save(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "odds"}, "Unknown kind of outputs: 'odds'. Known: logits, probabilities"),
        ({"labels": np.array([1])}, "3.*2.*1 labels, 3 ids"),
        ({"outputs": np.zeros(3)}, r"outputs \[3\]"),
    ],
)
def test_fields_must_fit(fields, said):
    with pytest.raises(ValueError, match=said):
        Predictions(**(vars(predictions()) | fields))


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize("batch_size", [None, 1, 16, 1000])
def test_every_test_example_is_run_in_order(exported, quadrants, threads, batch_size):
    seen = []
    found = evaluate.predict_artifact(
        exported("int8"),
        quadrants.dataset,
        threads=threads,
        batch_size=batch_size,
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_array_equal(found.outputs, exported("int8").run(quadrants.inputs[:70]))
    np.testing.assert_array_equal(found.labels, quadrants.labels[:70])
    np.testing.assert_array_equal(found.ids, np.arange(500, 570))
    assert found.kind == "logits"
    assert seen[-1] == (70, 70)
    assert found.accuracy > 0.95


def test_model_is_run_like_its_float_file(exported, quadrants):
    seen = []
    found = evaluate.predict_model(
        quadrants.model,
        quadrants.dataset,
        quadrants.preprocessing,
        batch_size=32,
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_allclose(
        found.outputs, exported("float32").run(quadrants.inputs[:70]), atol=1e-4
    )
    assert found.kind == "logits"
    assert seen == [(32, 70), (64, 70), (70, 70)]


def test_file_without_metadata_is_refused(exported, quadrants):
    with pytest.raises(ValueError, match="no 'preprocessing'"):
        evaluate.predict_artifact(exported("int8").with_metadata({}), quadrants.dataset)


def test_empty_split_is_refused(exported, quadrants):
    dataset = quadrants.dataset
    for name in ("images", "labels", "ids"):
        setattr(dataset.test, name, getattr(dataset.test, name)[:0])
    with pytest.raises(ValueError, match="split is empty"):
        evaluate.predict_artifact(exported("int8"), dataset)


def test_speed_is_images_over_seconds(exported, quadrants):
    # In each round the loop reads the clock before and after, then the evaluation in batches does.
    times = iter([10, 15, 20, 20.5, 30, 33, 40, 40.25, 50, 59, 60, 67])
    speed = evaluate.evaluation_speed(
        exported("int8"),
        quadrants.dataset,
        name="mine",
        batch_size=16,
        single_images=30,
        rounds=3,
        clock=lambda: next(times),
    )
    assert (speed.artifact, speed.batch) == ("mine", 16)
    assert speed.single == pytest.approx(30 / 5)
    assert speed.batched == pytest.approx(70 / 0.5)


@pytest.mark.parametrize(
    ("size", "channels", "expected"), [(28, 1, 32), (64, 3, 32), (224, 3, 5), (2000, 3, 1)]
)
def test_large_images_run_in_smaller_batches(size, channels, expected):
    preprocessing = Preprocessing(image_shape=(size, size, channels))
    assert evaluate._batch_size(None, preprocessing, "artifact") == expected
    assert evaluate._batch_size(7, preprocessing, "artifact") == 7


def test_reading_stored_predictions_imports_no_tensorflow(tmp_path):
    path = predictions().save(tmp_path / "p.npz")
    code = (
        "import sys; from tfcompress.predictions import Predictions\n"
        f"assert len(Predictions.load({str(path)!r})) == 3\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_entry_of_an_unknown_compression_is_refused(tmp_path):
    path = predictions().save(tmp_path / "p.npz")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] ^= 0xFF  # the compression of the first entry
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"p\.npz holds no stored predictions"):
        Predictions.load(path)


def test_machine_of_many_cores_gets_the_most_threads(exported, monkeypatch):
    monkeypatch.setattr(evaluate.os, "sched_getaffinity", lambda _: set(range(384)), raising=False)
    assert len(evaluate._sessions(exported("int8"), None, 1)) == 256
