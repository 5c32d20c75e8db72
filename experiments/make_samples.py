"""Draws the samples that the package ships from the full, published data sets.

    python -m experiments.make_samples

writes `tfcompress/data/sets/*_sample.npz` and prints the SHA-256 that the module beside each file
records. The draw is class balanced and seeded; test images come from the published test
split. Expected: mnist_sample 8,000 and 2,000 images, cifar10_sample 1,000 and 400, together under 6
MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments import program
from tfcompress.data.dataset import DataConfig, Published, Split
from tfcompress.data.sets import cifar10, mnist
from tfcompress.data.sources import sample


@dataclass(frozen=True)
class Draw:
    """How many images of each class a sample takes."""

    train_per_class: int
    test_per_class: int


DRAWS = {"mnist_sample": Draw(800, 200), "cifar10_sample": Draw(100, 40)}
SEED = 0
SETS = Path(mnist.__file__).parent


def balanced(split: Split, *, per_class: int, seed: int) -> Split:
    """A class-balanced part of a split, in the split's order."""
    generator = np.random.default_rng(seed)
    chosen = [
        generator.choice(np.flatnonzero(split.labels == label), per_class, replace=False)
        for label in np.unique(split.labels)
    ]
    return split.take(np.sort(np.concatenate(chosen)))


def drawn(published: Published, draw: Draw, *, seed: int) -> Published:
    """The sample of a published data set."""
    return Published(
        source="sample",
        classes=published.classes,
        train=balanced(published.train, per_class=draw.train_per_class, seed=seed),
        test=balanced(published.test, per_class=draw.test_per_class, seed=seed),
    )


@program.entry()
def main() -> None:
    """Draws and writes each sample."""
    for (name, draw), full in zip(DRAWS.items(), (mnist, cifar10), strict=True):
        published = drawn(full.published(DataConfig(), ""), draw, seed=SEED)
        path = Path(flags.FLAGS.output_dir) / f"{name}.npz"
        sha256 = sample.write(path, published)
        print(f"{path}  {path.stat().st_size:,} bytes  sha256 {sha256}")


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", str(SETS), "Where the samples are written.")
    app.run(main)
