"""A small classifier, trained in a second, and its exported files, for several test files."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tfcompress.preprocessing import Preprocessing


@dataclass(frozen=True)
class Quadrants:
    """Grey images of 12x12 in which one quadrant is bright; the class is which one."""

    model: Any
    images: np.ndarray
    labels: np.ndarray
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ("top-left", "top-right", "bottom-left", "bottom-right")

    @property
    def inputs(self) -> np.ndarray:
        return self.preprocessing.apply(self.images)

    @property
    def metadata(self) -> dict[str, Any]:
        return {"preprocessing": self.preprocessing, "labels": self.classes}

    @property
    def dataset(self) -> Any:
        split = SimpleNamespace(
            examples=self.images[:70],
            labels=self.labels[:70],
            ids=np.arange(70, dtype=np.int64) + 500,
        )
        split_type = type("FixedSplit", (SimpleNamespace,), {"__len__": lambda s: len(s.labels)})
        return SimpleNamespace(test=split_type(**vars(split)), classes=self.classes)


@pytest.fixture(scope="session")
def quadrants() -> Quadrants:
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 256)
    pixels = generator.normal(60, 30, (256, 12, 12, 1))
    for image, label in zip(pixels, labels, strict=True):
        top, left = 6 * (label // 2), 6 * (label % 2)
        image[top : top + 6, left : left + 6] += 90
    images = np.clip(pixels, 0, 255).astype(np.uint8)
    layers = keras.layers
    inputs = keras.Input([12, 12, 1])
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.MaxPool2D()(x)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    data = Quadrants(
        model, images, labels, Preprocessing(image_shape=(12, 12, 1), scale=(1 / 255,))
    )
    model.fit(data.inputs, labels, epochs=8, verbose=0)
    return data


TINY_WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "great", "fine", "bad", "awful", "dull"),
    *("a", "the", "film", "plot", "is", "was", "very", "not", "and", "."),
)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of two layers, 16 positions and 20 words, that learns fast."""
    from safetensors import numpy as safetensors

    folder = tmp_path_factory.mktemp("encoder")
    references = Path(__file__).parent / "encoders" / "references" / "bert"
    shutil.copy(references / "config.json", folder / "config.json")
    generator = np.random.default_rng(0)
    tensors = safetensors.load_file(references / "model.safetensors")
    for name, tensor in tensors.items():
        drawn = generator.normal(0, 0.1, tensor.shape) + name.endswith("LayerNorm.weight")
        tensors[name] = drawn.astype(np.float32)
    safetensors.save_file(tensors, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(TINY_WORDS) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 320 short reviews whose class, down or up, is told by one word."""
    generator = np.random.default_rng(0)
    lines = ["sentence\tlabel"]
    for label in generator.integers(0, 2, 320):
        words = list(generator.choice(TINY_WORDS[10:17], generator.integers(2, 9)))
        telling = generator.choice(TINY_WORDS[4:7] if label else TINY_WORDS[7:10])
        words.insert(int(generator.integers(len(words))), str(telling))
        lines.append(" ".join(words) + f"\t{'up' if label else 'down'}")
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def exported(quadrants: Quadrants) -> Callable[[str], Any]:
    """The classifier's file in a format, made once."""
    from tfcompress.export import convert

    @cache
    def make(format: str) -> Any:
        return convert(
            quadrants.model,
            format,
            calibration=quadrants.inputs[:64],
            metadata=quadrants.metadata,
        )

    return make


@dataclass(frozen=True)
class Digits:
    """Handwritten digits of the shipped sample at 14x14, and a small classifier of them."""

    model: Any
    train_inputs: np.ndarray
    train_labels: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    metadata: dict[str, Any]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Convolution, batch normalization, depthwise, pointwise and dense layers: 5 s to train."""
    from tfcompress import data
    from tfcompress._keras import keras

    found = data.load(data.DataConfig(name="mnist_sample", max_train=1500, calibration_size=64))
    preprocessing = Preprocessing(image_shape=(14, 14, 1), scale=(1 / 255,))
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input([14, 14, 1])
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(momentum=0.8, name="conv_bn")(x)
    x = layers.ReLU(name="conv_relu")(x)
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(momentum=0.8, name="depthwise_bn")(x)
    x = layers.ReLU(name="depthwise_relu")(x)
    x = layers.Conv2D(16, 1, name="pointwise")(x)
    x = layers.ReLU(name="pointwise_relu")(x)
    x = layers.Flatten(name="flatten")(x)
    model = keras.Model(inputs, layers.Dense(10, name="logits")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    train_inputs = preprocessing.apply(found.train.examples)
    model.fit(train_inputs, found.train.labels, epochs=12, batch_size=64, verbose=0)
    return Digits(
        model,
        train_inputs,
        found.train.labels,
        preprocessing.apply(found.validation.examples[:500]),
        found.validation.labels[:500],
        {"preprocessing": preprocessing, "labels": found.classes},
    )


@pytest.fixture(scope="session")
def free_addresses() -> Callable[[int], tuple[str, ...]]:
    """Gives as many addresses of this machine at which nothing listens."""

    def found(count: int) -> tuple[str, ...]:
        with contextlib.ExitStack() as stack:
            doors = [
                stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
            ]
            return tuple(f"127.0.0.1:{door.getsockname()[1]}" for door in doors)

    return found


@pytest.fixture
def made_profile() -> Callable[..., Any]:
    """Makes a profile of three calls by hand. The third was interrupted."""
    from tfcompress.operator_profile import OperatorProfile, OperatorTime

    def make(**changes: Any) -> OperatorProfile:
        fields = {
            "kernels": "builtin",
            "threads": 1,
            "batch": 2,
            "operators": (
                OperatorTime("CONV_2D", 0, "first|one", "builtin", (10, 12, 99)),
                OperatorTime("ADD", 1, "second", "builtin", (1, 0, 0)),
                OperatorTime("CONV_2D", 2, "third", "builtin", (20, 20, 20)),
            ),
            "recorded_us": (31.0, 32.0, 119.0),
            "plain_us": (39.0, 300.0, 41.0),
        }
        return OperatorProfile(**(fields | changes))

    return make
