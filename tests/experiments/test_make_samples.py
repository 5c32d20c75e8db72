import numpy as np
import pytest

from experiments.make_samples import DRAWS, Draw, balanced, drawn
from tfcompress.data.dataset import Published, Split


def split(count):
    labels = np.arange(count) % 4
    return Split(np.zeros((count, 2, 2, 1), np.uint8), labels, np.arange(count))


def test_draw_is_balanced_ordered_and_decided_by_its_seed():
    whole = split(100)
    part = balanced(whole, per_class=5, seed=1)
    assert np.bincount(part.labels).tolist() == [5] * 4
    assert part.ids.tolist() == sorted(set(part.ids.tolist()))
    assert balanced(whole, per_class=5, seed=1).ids.tolist() == part.ids.tolist()
    assert balanced(whole, per_class=5, seed=2).ids.tolist() != part.ids.tolist()


def test_sample_takes_test_images_from_the_test_split():
    published = Published("prepared", tuple("abcd"), train=split(100), test=split(40))
    sample = drawn(published, Draw(train_per_class=3, test_per_class=2), seed=0)
    assert (len(sample.train), len(sample.test)) == (12, 8)
    assert sample.test.ids.max() < 40
    assert sample.source == "sample"


def test_class_with_too_few_images_is_refused():
    with pytest.raises(ValueError, match="larger sample than population"):
        balanced(split(8), per_class=5, seed=0)


def test_shipped_samples_are_named_after_their_data_sets():
    assert set(DRAWS) == {"mnist_sample", "cifar10_sample"}
