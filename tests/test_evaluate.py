import types

import numpy as np
import pytest

from tfcompress import evaluate
from tfcompress.data.dataset import Split
from tfcompress.preprocessing import Preprocessing


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
    for name in ("examples", "labels", "ids"):
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


def test_machine_of_many_cores_gets_the_most_threads(exported, monkeypatch):
    monkeypatch.setattr(evaluate.os, "sched_getaffinity", lambda _: set(range(384)), raising=False)
    assert len(evaluate._sessions(exported("int8"), None, 1)) == 256


def test_validation_is_judged_when_asked_for(exported, quadrants):
    dataset = types.SimpleNamespace(validation=quadrants.dataset.test)
    found = evaluate.predict_artifact(exported("int8"), dataset, split="validation")
    np.testing.assert_array_equal(found.labels, dataset.validation.labels)
    np.testing.assert_array_equal(found.ids, dataset.validation.ids)
    with pytest.raises(ValueError, match="Unknown split to evaluate: 'train'"):
        evaluate.predict_artifact(exported("int8"), dataset, split="train")


def split_of(shape):
    images = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    count = np.arange(shape[0])
    return Split(images, count, count + 100)


@pytest.mark.parametrize(
    ("shape", "kept"), [((3, 28, 20, 1), (28, 20, 1)), ((3, 200, 100, 3), (64, 32, 3))]
)
def test_pictures_are_small(shape, kept):
    dataset = types.SimpleNamespace(test=split_of(shape))
    found = evaluate.pictures(dataset, np.array([2, 0]))
    assert found.images.shape == (2, *kept)
    assert found.ids.tolist() == [102, 100]


def test_texts_have_no_pictures():
    texts = Split(np.zeros([2, 4], np.int32), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="no pixels to show"):
        evaluate.pictures(types.SimpleNamespace(test=texts), np.array([0]))
