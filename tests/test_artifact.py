import gzip
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from tfcompress.artifact import Artifact


def test_sizes_and_checksum_are_of_the_bytes(exported, tmp_path):
    artifact = exported("int8").save(tmp_path / "a.tflite")
    content = (tmp_path / "a.tflite").read_bytes()
    assert artifact.size_bytes == len(content)
    assert artifact.gzip_size_bytes == len(gzip.compress(content, 9, mtime=0))
    assert Artifact.load(tmp_path / "a.tflite").sha256 == artifact.sha256
    assert len(artifact.sha256) == 64


@pytest.mark.parametrize("keep", [0, 7, 200, 0.3, 0.9, -20])
def test_truncated_file_is_refused(exported, tmp_path, keep):
    data = exported("int8").data
    count = int(keep * len(data)) if isinstance(keep, float) else keep
    (tmp_path / "cut.tflite").write_bytes(data[:count])
    with pytest.raises(ValueError, match=r"cut\.tflite is (not a|a damaged) TFLite file"):
        Artifact.load(tmp_path / "cut.tflite")


def test_other_file_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"this is only a text, but long enough to be looked at")
    with pytest.raises(ValueError, match=r"a\.txt is not a TFLite file.*TFL3"):
        Artifact.load(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tflite"):
        Artifact.load(tmp_path / "nowhere.tflite")


def test_metadata_survives_and_is_replaced(exported):
    artifact = exported("int8")
    assert artifact.metadata["labels"] == ["top-left", "top-right", "bottom-left", "bottom-right"]
    changed = artifact.with_metadata({"labels": ["ä"]})
    assert changed.metadata == {"labels": ["ä"]}
    assert artifact.metadata["format"] == "int8"
    assert changed.size_bytes < artifact.size_bytes


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_metadata_changes_no_output(exported, quadrants, format):
    artifact = exported(format)
    changed = artifact.with_metadata({"labels": ["a" * 1001]})
    np.testing.assert_array_equal(changed.run(quadrants.inputs), artifact.run(quadrants.inputs))


def test_buffers_are_aligned_to_16_bytes(exported):
    # The schema asks for it, kernels on Arm read the weights in place.
    model = schema.Model.GetRootAs(exported("int8").with_metadata({"a": "b" * 13}).data, 0)
    starts = []
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        if table.Offset(4):
            starts.append(table.Vector(table.Offset(4)))
    assert len(starts) > 3
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_file_from_elsewhere_has_no_metadata_and_says_what_predict_needs(exported, quadrants):
    foreign = exported("float32").with_metadata({})
    assert foreign.metadata == {}
    with pytest.raises(ValueError, match=r"no 'preprocessing'.*found: none.*with_metadata"):
        foreign.predict(quadrants.images)
    partial = foreign.with_metadata({"preprocessing": quadrants.preprocessing.to_dict()})
    with pytest.raises(ValueError, match=r"no 'labels'.*found: preprocessing"):
        partial.predict(quadrants.images)


def test_run_quantizes_with_the_scale_of_the_file(exported, quadrants):
    artifact = exported("int8")
    session = artifact.session()
    ends = session.input_details, session.output_details
    image = quadrants.inputs[:1]
    steps = np.round(image / ends[0].scale) + ends[0].zero_point
    raw = session.run(np.clip(steps, -128, 127).astype(np.int8))
    expected = (raw.astype(np.float32) - ends[1].zero_point) * ends[1].scale
    np.testing.assert_allclose(artifact.run(image), expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64, 1000])
def test_run_gives_the_same_outputs_for_every_batch(exported, quadrants, batch_size):
    artifact = exported("int8")
    expected = artifact.run(quadrants.inputs[:10], batch_size=10)
    received = artifact.run(quadrants.inputs[:10], batch_size=batch_size, threads=2)
    np.testing.assert_array_equal(received, expected)
    assert received.dtype == np.float32
    assert received.shape == (10, 4)


def test_run_takes_no_image_at_all(exported):
    assert exported("int8").run(np.zeros([0, 12, 12, 1], np.float32)).shape == (0, 4)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (np.zeros([2, 12, 12, 1], np.uint8), "uint8.*predict"),
        (np.zeros([2, 12, 12, 1], np.float64), "float64"),
        (np.zeros([12, 12, 1], np.float32), r"\[examples, 12, 12, 1\].*\[12, 12, 1\]"),
        (np.zeros([2, 12, 12, 3], np.float32), r"\[2, 12, 12, 3\]"),
        ([[0.0]], "list"),
    ],
    ids=["raw", "double", "rank", "channels", "list"],
)
def test_run_refuses(exported, inputs, said):
    with pytest.raises(ValueError, match=said):
        exported("int8").run(inputs)


def test_predict_names_the_bright_quadrant(exported, quadrants):
    predictions = exported("int8").predict(quadrants.images)
    found = np.array([quadrants.classes.index(prediction.label) for prediction in predictions])
    assert np.mean(found == quadrants.labels) > 0.95
    first = predictions[0]
    assert first.probability == max(first.probabilities.values())
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert list(first.probabilities) == list(quadrants.classes)


def test_predict_takes_one_image_lists_and_files(exported, quadrants, tmp_path):
    artifact = exported("int8")
    image = quadrants.images[0]
    Image.fromarray(image[..., 0]).save(tmp_path / "a.png")
    Image.fromarray(np.repeat(image, 3, axis=-1)).save(tmp_path / "b.png")
    forms = [image, image[None], str(tmp_path / "a.png"), tmp_path / "b.png", [image]]
    found = [artifact.predict(form) for form in forms]
    assert [len(predictions) for predictions in found] == [1] * 5
    assert all(predictions == found[0] for predictions in found)
    assert len(artifact.predict([tmp_path / "a.png", quadrants.images[:3], image])) == 5
    assert artifact.predict([]) == []


def test_predict_resizes(exported, quadrants):
    large = np.repeat(np.repeat(quadrants.images[:20], 3, axis=1), 3, axis=2)
    labels = [p.label for p in exported("float32").predict(large)]
    assert labels == [p.label for p in exported("float32").predict(quadrants.images[:20])]


def test_probabilities_are_not_normalised_again(exported, quadrants):
    artifact = exported("float32")
    outputs = artifact.run(quadrants.inputs[:1])[0]
    record = artifact.metadata | {"output": "probabilities"}
    found = artifact.with_metadata(record).predict(quadrants.images[0])[0]
    np.testing.assert_allclose(list(found.probabilities.values()), outputs, rtol=1e-6)
    wrong = artifact.with_metadata(artifact.metadata | {"output": "odds"})
    with pytest.raises(ValueError, match=r"'odds'.*logits, probabilities"):
        wrong.predict(quadrants.images[0])


def test_labels_must_match_the_outputs(exported, quadrants):
    artifact = exported("float32")
    short = artifact.with_metadata(artifact.metadata | {"labels": ["a", "b"]})
    with pytest.raises(ValueError, match="4 outputs but 2 labels"):
        short.predict(quadrants.images[0])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros([1, 12, 12, 1], np.float32),
        np.zeros([1, 12, 12, 2], np.uint8),
        np.zeros(5, np.uint8),
        None,
        3,
        b"a.png",
        [[np.zeros([12, 12, 1], np.uint8)]],
        iter([np.zeros([12, 12, 1], np.uint8)]),
    ],
    ids=["float", "two channels", "rank", "none", "number", "bytes", "nested", "iterator"],
)
def test_predict_refuses_arrays_that_are_no_raw_images(exported, images):
    with pytest.raises(ValueError, match="uint8"):
        exported("int8").predict(images)


def test_predict_refuses_a_tensor_and_an_image_without_pixels(exported):
    from tfcompress._keras import tf

    with pytest.raises(ValueError, match=r"predict takes a uint8 numpy array.*EagerTensor"):
        exported("int8").predict(tf.zeros([1, 12, 12, 1], tf.uint8))
    with pytest.raises(ValueError, match=r"a pixel or more. Received: \[0, 8, 1\]"):
        exported("int8").predict(np.zeros([0, 8, 1], np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_run_refuses_numbers_that_are_not_finite(exported, quadrants, value):
    inputs = quadrants.inputs[:2].copy()
    inputs[1, 3, 4, 0] = value
    with pytest.raises(ValueError, match=r"finite numbers. Received: 1 that are NaN.*of 288"):
        exported("int8").run(inputs)


def test_predict_refuses_a_model_that_gives_nan(quadrants):
    from tfcompress._keras import keras
    from tfcompress.export import convert

    broken = keras.models.clone_model(quadrants.model)
    broken.set_weights(quadrants.model.get_weights())
    kernel, bias = broken.get_layer("logits").get_weights()
    # Finite weights, whose sums are not.
    broken.get_layer("logits").set_weights([np.full_like(kernel, 3e38), bias])
    artifact = convert(broken, "float32", metadata=quadrants.metadata)
    with pytest.raises(ValueError, match="NaN or infinite, so it names no class"):
        artifact.predict(quadrants.images[0])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"preprocessing": {}}, r"a\.tflite holds no usable preprocessing \(KeyError"),
        ({"preprocessing": "x"}, r"a\.tflite holds no usable preprocessing"),
        ({"labels": None}, r"a\.tflite holds no usable labels.*Received: None"),
        (
            {"labels": ["a", "b", "b", "c"]},
            r"a\.tflite has labels that name two classes alike: 'b'",
        ),
    ],
    ids=["empty", "text", "none", "repeated"],
)
def test_malformed_metadata_is_refused_with_the_file(exported, quadrants, tmp_path, changed, said):
    artifact = exported("float32")
    bad = artifact.with_metadata(artifact.metadata | changed).save(tmp_path / "a.tflite")
    with pytest.raises(ValueError, match=said):
        bad.predict(quadrants.images[0])


def test_predict_refuses_files_that_are_no_images(exported, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    Image.fromarray(np.zeros([4, 4], np.uint16)).save(tmp_path / "deep.png")
    for name, said in [("broken.png", "8-bit image"), ("deep.png", "8 bits a channel")]:
        with pytest.raises(ValueError, match=said):
            exported("int8").predict(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        exported("int8").predict(tmp_path / "none.png")


def test_using_a_file_imports_no_tensorflow(exported, tmp_path):
    exported("int8").save(tmp_path / "a.tflite")
    code = (
        "import sys, numpy as np; from tfcompress.artifact import Artifact\n"
        f"Artifact.load({str(tmp_path / 'a.tflite')!r}).predict(np.zeros([12, 12, 1], np.uint8))\n"
        "assert not {'tensorflow', 'tf_keras', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
