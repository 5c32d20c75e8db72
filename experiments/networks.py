"""The networks of the coverage table: built with random weights, in each form that users bring.

Knows the smallest member of each family of `tf_keras.applications`, and how a random network is
given the activations of a used one. Does not know what is tried on them.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import backbones, data, export
from tfcompress._keras import keras, keras3, tf
from tfcompress.graph import connections
from tfcompress.graph.keras3 import to_keras3
from tfcompress.graph.kernels import leaf_layers
from tfcompress.graph.normal_form import normalize

FAMILIES = (
    "VGG16",
    "ResNet50",
    "ResNet50V2",
    "ResNetRS50",
    "RegNetX002",
    "RegNetY002",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "DenseNet121",
    "NASNetMobile",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
)
"""The smallest member of each family of `tf_keras.applications`."""

FORMS = ("flat", "nested", "keras3")

CLASSES = 10
TRAINED = 16
"""Images in the training step."""
CALIBRATION = 32
"""Images that ranges and statistics are taken from."""
NOISE = 8
"""Images of random pixels, which count in the statistics too."""


@dataclass(frozen=True)
class Images:
    """Real images, preprocessed for a network; float32 [n, height, width, 3].

    Attributes:
      train: for the training step, with int64 labels.
      labels: of `train`.
      calibration: for the ranges.
      noise: random pixels.
      compared: on which file and Keras model are compared.
    """

    train: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    noise: np.ndarray
    compared: np.ndarray


def load_images(network: str, *, image_size: int, examples: int) -> Images:
    """Images of CIFAR-10's training split, from the sample that the package ships, and noise."""
    sample = data.load(data.DataConfig(name="cifar10_sample"))
    config = backbones.BackboneConfig(name=network, weights="none", image_size=image_size)
    preprocessing = backbones.preprocessing(config, sample.image_shape)
    train = sample.train.take(np.arange(TRAINED + examples))
    shape = [NOISE, image_size, image_size, 3]
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return Images(
        train=preprocessing.apply(train.examples[:TRAINED]),
        labels=train.labels[:TRAINED],
        calibration=preprocessing.apply(sample.calibration.examples[:CALIBRATION]),
        noise=preprocessing.apply(noise),
        compared=preprocessing.apply(train.examples[TRAINED:]),
    )


def build(network: str, *, image_size: int, applications: Any = None, layers: Any = None) -> Any:
    """A network with random weights and a head, as Keras itself builds it.

    Args:
      network: name in `keras.applications`.
      image_size: height and width in pixels.
      applications: of Keras 3 where its model is wanted.
      layers: of the same Keras.
    """
    applications, layers = applications or keras.applications, layers or keras.layers
    keras.utils.set_random_seed(0)
    features = getattr(applications, network)(
        weights=None, include_top=False, pooling="avg", input_shape=(image_size, image_size, 3)
    )
    logits = layers.Dense(CLASSES, name="logits")(features.output)
    model_class = keras3.Model if layers is not keras.layers else keras.Model
    return model_class(features.input, logits, name=network)


def settle(model: Any, images: Images) -> None:
    """Gives a random network the activations of a used one.

    The statistics of every BatchNormalization become those of images, most of them real, some of
    noise: on noise the outputs of two forms of a model are compared when it is loaded, and a random
    network that never saw any blows it up until the order of additions shows. Its beta becomes 1,
    so that most units are on: with half of them off a random network amplifies every rounding on
    its way through the layers (MobileNetV2 317 times, with a beta of 1 30 times), as no trained
    network does. What starts near zero to be trained away from it (ConvNeXt's LayerScale, 1e-6)
    gets a size at which its branch counts. The head is scaled so that each class has mean 0 and
    deviation 1 over the real images: else all of them would have the same class, and an agreement
    on it would say nothing.

    Args:
      model: changed in place.
      images: for the statistics.
    """
    layers = list(leaf_layers(model))
    for layer in layers:
        if type(layer).__name__ == "LayerScale":
            layer.set_weights([np.full_like(weight, 0.1) for weight in layer.get_weights()])
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.center:
                layer.beta.assign(tf.ones_like(layer.beta))
    model(np.concatenate([images.calibration, images.noise]), training=True)
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    outputs, head = export.inference(model)(images.calibration), model.layers[-1]
    spread = outputs.std(axis=0)
    kernel, bias = head.get_weights()
    head.set_weights([kernel / spread, (bias - outputs.mean(axis=0)) / spread])


def in_keras3(network: str) -> bool:
    """Whether Keras 3 has a network of that name, too."""
    return hasattr(keras3.applications, network)


def given(form: str, flat: Any) -> tuple[Any, AbstractContextManager[Any]]:
    """A network in one of `FORMS`, with the weights of the flat one.

    Args:
      form: which.
      flat: what `build` gave.

    Returns:
      The live model, and a context that gives what `load_model` is to load: the model itself, or
      the path of the file that Keras 3 wrote.
    """
    if form == "flat":
        return flat, contextlib.nullcontext(flat)
    if form == "nested":
        features = keras.Model(flat.input, flat.layers[-2].output, name="features")
        inputs = keras.Input(flat.input_shape[1:])
        logits = keras.layers.Dense(CLASSES, name="logits")(features(inputs))
        nested = keras.Model(inputs, logits, name=flat.name)
        nested.layers[-1].set_weights(flat.layers[-1].get_weights())
        return nested, contextlib.nullcontext(nested)
    if not in_keras3(flat.name):
        other = to_keras3(normalize(flat))
        return other, _saved(other)
    other = build(
        flat.name,
        image_size=flat.input_shape[1],
        applications=keras3.applications,
        layers=keras3.layers,
    )
    other.set_weights(flat.get_weights())
    return other, _saved(other)


@contextlib.contextmanager
def _saved(model: Any) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        model.save(path)
        yield path


def same(one: Any, other: Any) -> bool:
    """Whether two models have the same layers, connections and weights.

    Names do not count, nor the order in which branches were built.
    """
    return Counter(_signatures(one).values()) == Counter(_signatures(other).values())


def _signatures(model: Any) -> dict[int, str]:
    """What each tensor of a flat model is computed by, from the inputs on."""
    found: dict[int, str] = {}
    for node in connections.nodes(model):
        layer = node.layer
        weights = [hashlib.sha256(weight.tobytes()).hexdigest() for weight in layer.get_weights()]
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        taken = [] if node.is_input else [found[id(tensor)] for tensor in node.keras_inputs]
        own = [type(layer).__name__, activation, str(node.output_shapes), *weights, *taken]
        for position, tensor in enumerate(tf.nest.flatten(node.outputs)):
            text = "|".join([*own, str(position)])
            found[id(tensor)] = hashlib.sha256(text.encode()).hexdigest()
    return found
