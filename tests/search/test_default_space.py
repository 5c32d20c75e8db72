"""The recipes of a search whose user names none, and what is left out of them."""

import pytest

from tfcompress._keras import keras
from tfcompress.backbones import BackboneConfig
from tfcompress.budgets import Budget
from tfcompress.config import ExportConfig, RunConfig
from tfcompress.data import DataConfig
from tfcompress.search import SearchConfig
from tfcompress.search.default_space import default_space
from tfcompress.search.space import parse


@pytest.fixture(scope="module")
def model():
    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    features = layers.Conv2D(16, 3, activation="relu")(inputs)
    features = layers.Conv2D(16, 3, activation="relu")(features)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(features)))


def suited(model, budget, **export):
    """The recipes' techniques, and what is left out."""
    run = RunConfig(
        data=DataConfig(name="mnist_sample"),
        backbone=BackboneConfig(name="lenet5"),
        export=ExportConfig(**export),
    )
    left = {}
    text = default_space(
        SearchConfig(run=run, budget=budget), model, {"teacher": model}, leave=left.__setitem__
    )
    parse([text])
    named = {name for name in ("prune(", "cluster(", "prune_channels(", "qat") if name in text}
    return named, left


def test_stored_bytes_leave_out_zeros_and_shared_values(model):
    named, left = suited(model, Budget(max_size_bytes=50_000))
    assert named == {"prune_channels(", "qat"}
    assert "--minimal --sparse" in left["prune"]
    assert "--max_gzip_size_bytes" in left["cluster"]


def test_sparse_files_leave_out_shared_values_alone(model):
    named, left = suited(model, Budget(max_size_bytes=50_000), minimal=True, sparse=True)
    assert named == {"prune(", "prune_channels(", "qat"}
    assert set(left) == {"cluster"}


def test_gzipped_bytes_leave_out_neither(model):
    named, left = suited(model, Budget(max_gzip_size_bytes=50_000))
    assert named == {"prune(", "cluster(", "prune_channels(", "qat"}
    assert not left
