"""Models that TF-MOT has wrapped, brought back to plain layers."""

import numpy as np
import pytest

from tfcompress.graph.kernels import distinct, kernels
from tfcompress.graph.wrappers import plain_copy

IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
TARGETS = np.ones([8, 3], np.float32)
NAMES = ["conv", "relu", "separable", "pool", "logits"]


def network():
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input([6, 6, 2], name="images")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.ReLU(name="relu")(x)
    x = layers.SeparableConv2D(6, 3, name="separable")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def pruned():
    from tfcompress._keras import tfmot

    sparsity = tfmot.sparsity.keras
    model = sparsity.prune_low_magnitude(network(), sparsity.ConstantSparsity(0.5, 0, frequency=1))
    model.compile("sgd", "mse")
    callbacks = [sparsity.UpdatePruningStep()]
    model.fit(IMAGES, TARGETS, batch_size=2, callbacks=callbacks, verbose=0)
    return model


def clustered():
    from tfcompress._keras import tfmot

    clustering = tfmot.clustering.keras
    start = clustering.CentroidInitialization.LINEAR
    model = clustering.cluster_weights(
        network(), number_of_clusters=4, cluster_centroids_init=start
    )
    model.compile("sgd", "mse")
    model.fit(IMAGES, TARGETS, batch_size=2, verbose=0)
    return model


def annotated():
    from tfcompress._keras import tfmot

    return tfmot.quantization.keras.quantize_annotate_model(network())


@pytest.mark.parametrize("build", [network, pruned, clustered, annotated])
def test_the_copy_is_plain_and_gives_the_same(build):
    model = build()
    outputs = model.predict(IMAGES, verbose=0)
    copy = plain_copy(model, technique="prune")
    assert [layer.name for layer in copy.layers[1:]] == NAMES
    assert all("tf_keras" in type(layer).__module__ for layer in copy.layers)
    np.testing.assert_allclose(copy.predict(IMAGES, verbose=0), outputs, atol=1e-6)


def test_zeros_and_equal_values_stay():
    zeros = {k.name: np.mean(k.numpy() == 0) for k in kernels(plain_copy(pruned(), technique="x"))}
    assert zeros == {"conv": 0.5, "separable": 0.5, "logits": 0.5}
    values = kernels(plain_copy(clustered(), technique="cluster"))
    assert [distinct(kernel.numpy()) for kernel in values if not kernel.depthwise] == [4, 4, 4]


@pytest.mark.parametrize("build", [pruned, clustered, annotated])
def test_the_callers_model_is_left_alone(build):
    model = build()
    weights = [weight.numpy() for weight in model.weights]
    copy = plain_copy(model, technique="prune")
    for old, new in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert not {id(weight) for weight in model.weights} & {id(weight) for weight in copy.weights}
    # Raises for a layer that was called twice.
    assert all(layer.output is not None for layer in model.layers)


@pytest.mark.parametrize("build", [pruned, clustered])
def test_the_kernels_of_a_wrapped_model_are_those_of_the_plain_one(build):
    plain, wrapped = kernels(network()), kernels(build())
    assert {(k.name, k.part) for k in plain} == {(k.name, k.part) for k in wrapped}


def test_what_tf_mot_cannot_take_off_is_refused():
    from tfcompress._keras import keras, tfmot

    inputs = keras.Input([5, 8])
    x = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    clustering = tfmot.clustering.keras
    model = clustering.cluster_weights(
        keras.Model(inputs, x),
        number_of_clusters=4,
        cluster_centroids_init=clustering.CentroidInitialization.LINEAR,
    )
    with pytest.raises(ValueError, match=r"cluster cannot take TF-MOT's wrappers off.*as it was"):
        plain_copy(model, technique="cluster")


@pytest.mark.parametrize("build", [pruned, clustered])
def test_a_wrapped_model_is_loaded_without_its_wrappers(build):
    from tfcompress.graph.loading import load_model

    model = build()
    found = load_model(model)
    assert [layer.name for layer in found.layers[1:]] == NAMES
    np.testing.assert_allclose(
        found.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=1e-6
    )


def test_a_quantized_model_is_not_loaded():
    from tfcompress._keras import tfmot
    from tfcompress.graph.loading import ModelError, load_model

    model = tfmot.quantization.keras.quantize_apply(annotated())
    with pytest.raises(ModelError, match="load_model cannot start from a quantized model"):
        load_model(model)
