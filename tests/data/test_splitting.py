import numpy as np
import pytest

from tfcompress.data.dataset import DataConfig, Published
from tfcompress.data.splitting import carve, hold_out, stratified_order


@pytest.fixture
def published(make_split):
    return Published("npz", ("a", "b"), train=make_split(200), test=make_split(30))


def test_splits_of_the_published_training_split_are_disjoint_and_complete(published):
    dataset = carve(published, DataConfig(validation_fraction=0.15, calibration_size=7))
    assert dataset.split_sizes() == {"train": 163, "validation": 30, "calibration": 7, "test": 30}
    ids = np.concatenate([dataset.train.ids, dataset.validation.ids, dataset.calibration.ids])
    assert sorted(ids.tolist()) == list(range(100, 300))


def test_test_split_is_the_published_one_untouched(published):
    assert carve(published, DataConfig()).test is published.test


def test_a_published_validation_split_is_passed_on_and_train_gives_up_nothing(make_split):
    given = make_split(20)
    published = Published("npz", ("a", "b"), make_split(200), make_split(30), validation=given)
    dataset = carve(published, DataConfig(validation_fraction=0.5, calibration_size=7))
    assert dataset.validation is given
    assert dataset.published_validation
    assert dataset.split_sizes() == {"train": 193, "validation": 20, "calibration": 7, "test": 30}
    ids = np.concatenate([dataset.train.ids, dataset.calibration.ids])
    assert sorted(ids.tolist()) == list(range(100, 300))


def test_every_part_holds_the_classes_in_proportion(published):
    dataset = carve(published, DataConfig(calibration_size=10))
    for split in (dataset.train, dataset.validation, dataset.calibration):
        assert np.mean(split.labels == 0) == pytest.approx(0.5, abs=0.01)


def test_calibration_takes_at_most_a_tenth(published):
    assert len(carve(published, DataConfig(calibration_size=512)).calibration) == 20


def test_max_train_keeps_a_fixed_balanced_subset_and_leaves_the_other_parts(published):
    every, some = carve(published, DataConfig()), carve(published, DataConfig(max_train=40))
    assert some.train.ids.tolist() == every.train.ids[:40].tolist()
    assert np.sum(some.train.labels == 0) == 20
    assert some.validation.ids.tolist() == every.validation.ids.tolist()
    assert len(carve(published, DataConfig(max_train=10_000)).train) == len(every.train)


def test_seed_alone_decides_the_split(published):
    first, again, other = (carve(published, DataConfig(seed=seed)) for seed in (3, 3, 4))
    assert first.validation.ids.tolist() == again.validation.ids.tolist()
    assert set(first.validation.ids) != set(other.validation.ids)


def test_too_few_images_for_a_part_are_refused(make_split):
    tiny = Published("npz", ("a", "b"), train=make_split(6), test=make_split(2))
    with pytest.raises(ValueError, match=r"calibration split empty.* takes a tenth"):
        carve(tiny, DataConfig())


def test_stratified_order_is_a_permutation_with_classes_in_proportion_in_every_stretch():
    labels = np.array([0] * 90 + [1] * 10)
    order = stratified_order(labels, seed=1)
    assert sorted(order.tolist()) == list(range(100))
    # One rare image in each ten: ranks (k + 1/2) / 10 fall at 5%, 15%, ...
    assert [int(labels[order[i : i + 10]].sum()) for i in range(0, 100, 10)] == [1] * 10


def test_hold_out_cuts_each_class_alike_and_keeps_ids(make_split):
    rest, held = hold_out(make_split(50), fraction=0.2, seed=0)
    assert (len(rest), len(held)) == (40, 10)
    assert np.sum(held.labels == 0) == 5
    assert sorted([*rest.ids, *held.ids]) == list(range(100, 150))
