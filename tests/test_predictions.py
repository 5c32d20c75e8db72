from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tfcompress.predictions import Pictures, Predictions


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


def reordered(order):
    one = predictions()
    return Predictions(one.outputs[order], one.labels[order], one.ids[order], one.kind)


def test_predictions_in_another_order_are_aligned():
    found = reordered([2, 0, 1]).aligned_to(predictions())
    np.testing.assert_array_equal(found.ids, [7, 3, 5])
    np.testing.assert_array_equal(found.outputs, predictions().outputs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: reordered([0, 1]), "2 and on 3 examples"),
        (lambda one: dataclasses.replace(one, ids=np.array([7, 3, 6])), "their ids differ"),
        (
            lambda one: dataclasses.replace(one, labels=np.array([1, 0, 1])),
            "other labels for 1 of 3 examples",
        ),
    ],
    ids=["length", "examples", "labels"],
)
def test_predictions_of_other_test_sets_are_not_paired(change, said):
    with pytest.raises(ValueError, match=said):
        change(predictions()).aligned_to(predictions())


def test_pictures_come_back(tmp_path):
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    stored = Pictures.load(Pictures(images, np.array([7, 3])).save(tmp_path / "p.npz"))
    np.testing.assert_array_equal(stored.images, images)
    np.testing.assert_array_equal(stored.ids, [7, 3])


@pytest.mark.parametrize(
    ("images", "ids", "said"),
    [
        (np.zeros([1, 2, 2, 3]), [0], "uint8 images"),
        (np.zeros([1, 2, 2, 2], np.uint8), [0], "1 or 3"),
        (np.zeros([1, 2, 2, 3], np.uint8), [0, 1], "Expected 1 ids"),
    ],
)
def test_pictures_must_be_images(images, ids, said):
    with pytest.raises(ValueError, match=said):
        Pictures(images, np.array(ids))


def test_predictions_are_no_pictures(tmp_path):
    path = predictions().save(tmp_path / "p.npz")
    with pytest.raises(ValueError, match=r"holds no stored pictures \(it lacks images"):
        Pictures.load(path)
