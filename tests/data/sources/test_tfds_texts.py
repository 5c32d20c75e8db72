"""Which feature of a TFDS data set is the text, and which split it is tested on."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfcompress.data.sources import Request, _tfds_texts

TEXT, LABEL = tfds.features.Text(), tfds.features.ClassLabel(names=["down", "up"])
REQUEST = Request("some/set", is_text=True)


class Made:
    """What a builder shows of a prepared data set."""

    data_path = "somewhere"

    def __init__(self, features, splits=(), supervised_keys=None):
        self.rows = dict(splits)
        self.info = SimpleNamespace(
            features=features, splits=self.rows, supervised_keys=supervised_keys
        )

    def as_dataset(self, *, split, shuffle_files):
        assert not shuffle_files
        rows = ({"sentence": text.encode(), "label": label} for text, label in self.rows[split])
        return SimpleNamespace(as_numpy_iterator=lambda: rows)


def test_the_one_text_is_found_with_and_without_supervised_keys():
    alone = Made({"idx": tfds.features.Tensor(shape=(), dtype=np.int32), "s": TEXT, "label": LABEL})
    assert _tfds_texts.keys(alone, REQUEST) == ("s", "label")
    told = Made({"title": TEXT, "body": TEXT, "y": LABEL}, supervised_keys=("body", "y"))
    assert _tfds_texts.keys(told, REQUEST) == ("body", "y")


@pytest.mark.parametrize(
    "features",
    [{"premise": TEXT, "hypothesis": TEXT, "label": LABEL}, {"sentence": TEXT}, {"label": LABEL}],
)
def test_pairs_and_sets_without_texts_or_classes_are_refused(features):
    with pytest.raises(ValueError, match="'some/set' is no classification of single texts"):
        _tfds_texts.keys(Made(features), REQUEST)


def test_a_test_split_without_labels_is_none():
    splits = {
        "train": [("a é", 1), ("b", 0)],
        "validation": [("c", 1)],
        "test": [("d", -1)],
    }
    found = _tfds_texts.read(
        Made({"sentence": TEXT, "label": LABEL}, splits), REQUEST, source="prepared"
    )
    assert (found.train.texts, found.test.texts) == (("a é", "b"), ("c",))
    assert (found.classes, found.train.labels.tolist()) == (("down", "up"), [1, 0])
    assert found.validation is None
    del splits["validation"]
    with pytest.raises(ValueError, match=r"test or validation split with labels. Received"):
        _tfds_texts.read(Made({"sentence": TEXT, "label": LABEL}, splits), REQUEST, source="x")


def test_a_validation_split_beside_a_test_split_with_labels_is_the_one_to_choose_by():
    splits = {"test": [("d", 0)], "train": [("a", 1), ("b", 0)], "validation": [("c", 1)]}
    made = Made({"sentence": TEXT, "label": LABEL}, splits)
    found = _tfds_texts.read(made, REQUEST, source="prepared")
    assert (found.test.texts, found.validation.texts) == (("d",), ("c",))
