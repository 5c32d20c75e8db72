"""Networks of Keras 3's applications, from the files that Keras 3 writes.

Two by default; `TFCOMPRESS_ALL_FAMILIES=1` runs the smallest member of every family.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfcompress._keras import keras, keras3
from tfcompress.graph.loading import load_model
from tfcompress.graph.normal_form import is_normal

ALWAYS = ("ConvNeXtTiny", "MobileNetV3Small")
FAMILIES = (
    *ALWAYS,
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
)
# The least that each takes; 75 for those that shrink an image without padding it.
SIZES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def network(name: str) -> tuple[Any, np.ndarray]:
    """A family's network with weights and statistics like those of a trained one, and images."""
    size = SIZES.get(name, 64)
    build = getattr(keras3.applications, name)
    model = build(input_shape=(size, size, 3), weights=None, classes=10, classifier_activation=None)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        last = weight.path.rsplit("/", 1)[-1]
        if "variance" in last:
            weight.assign(generator.uniform(0.5, 2.0, weight.shape))
        elif last == "gamma":
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif last in ("beta", "bias", "moving_mean"):
            weight.assign(generator.normal(0, 0.2, weight.shape))
    return model, generator.uniform(0, 255, (2, size, size, 3)).astype("float32")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_computes_the_same_from_its_keras_3_file(name: str, tmp_path: Path) -> None:
    if name not in ALWAYS and not os.environ.get("TFCOMPRESS_ALL_FAMILIES"):
        pytest.skip("one of the many: set TFCOMPRESS_ALL_FAMILIES=1 to run it")
    given, images = network(name)
    given.save(str(tmp_path / "m.keras"))
    model = load_model(tmp_path / "m.keras")
    assert is_normal(model)
    # A Normalization's statistics are settings in the normal form, not weights.
    fixed = (x for x in given.layers if isinstance(x, keras3.layers.Normalization))
    assert model.count_params() == given.count_params() - sum(x.count_params() for x in fixed)
    expected = np.asarray(given(images, training=False))
    difference = np.abs(np.asarray(model(images, training=False)) - expected).max()
    # float32 additions in another order, through up to 780 layers: 2e-6 was seen.
    assert difference <= 2e-5 * np.abs(expected).max()
    keras.backend.clear_session()
    keras3.backend.clear_session()
