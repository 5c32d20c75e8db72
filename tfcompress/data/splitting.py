"""How a published data set becomes four disjoint splits.

Knows the seeded, class-stratified order that the training split is carved along. Does not know
where the images came from. No TensorFlow here.
"""

from __future__ import annotations

import numpy as np

from tfcompress.data.dataset import DataConfig, Dataset, Published, Split

# Keeps a small data set from spending its training images on calibration.
LARGEST_CALIBRATION_FRACTION = 0.1


def carve(published: Published, config: DataConfig) -> Dataset:
    """Cuts validation, calibration and train from the published training split.

    The three lie one after the other along `stratified_order`, so that they are disjoint and each
    holds the classes in the proportions of the whole; of a regression, which has no classes, each
    is a random part. The published test split is passed on untouched, and so is a published
    validation split, of which train then gives up nothing.

    Args:
      published: the data set as its authors split it.
      config: sizes and seed.

    Raises:
      ValueError: a split would be empty, or what `Dataset` refuses.
    """
    order = stratified_order(published.train.labels, seed=config.seed)
    count = len(order)
    given = published.validation
    validation = 0 if given is not None else round(count * config.validation_fraction)
    calibration = min(config.calibration_size, int(count * LARGEST_CALIBRATION_FRACTION))
    first_train = validation + calibration
    last_train = first_train + config.max_train if config.max_train else count
    return Dataset(
        name=config.name,
        source=published.source,
        classes=published.classes,
        train=published.train.take(order[first_train:last_train]),
        validation=published.train.take(order[:validation]) if given is None else given,
        calibration=published.train.take(order[validation:first_train]),
        test=published.test,
        targets=published.targets,
        published_validation=given is not None,
    )


def stratified_order(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """A shuffled order of which every stretch holds the classes in their overall proportions.

    The k-th image (in random order) of a class of n images sorts by (k + 1/2) / n, ties at random.

    Values are one class: their order is a plain shuffle.

    Args:
      labels: int64 [n], or float32 [n, targets].
      seed: of the shuffle, 0 or more.

    Returns:
      int64 [n], a permutation of 0 .. n - 1.

    Example:
      >>> labels = np.array([0, 0, 0, 0, 1, 1])
      >>> sorted(labels[stratified_order(labels, seed=0)[:3]].tolist())
      [0, 0, 1]
    """
    if labels.dtype.kind == "f":
        labels = np.zeros(len(labels), np.int64)
    generator = np.random.default_rng(seed)
    position = np.empty(len(labels), np.float64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks = generator.permutation(len(members))
        position[members] = (ranks + 0.5) / len(members)
    return np.lexsort((generator.random(len(labels)), position))


def hold_out(split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cuts a part off a split along `stratified_order`, for data published without a test split.

    Args:
      split: all images.
      fraction: size of the second part, in (0, 1).
      seed: of the shuffle.

    Returns:
      The rest and the part held out; `ids` stay positions in the whole.
    """
    order = stratified_order(split.labels, seed=seed)
    held = round(len(order) * fraction)
    return split.take(np.sort(order[held:])), split.take(np.sort(order[:held]))
