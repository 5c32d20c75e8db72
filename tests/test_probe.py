"""What compressing one layer does: on models small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

import tfcompress
from tfcompress import compose, planned_stages, probe, recipe
from tfcompress._keras import keras
from tfcompress.layer_sensitivity import KINDS


@pytest.fixture(scope="module")
def selector():
    """Two classes by which of two features is larger; `spare` adds next to nothing."""
    inputs = keras.Input((1, 1, 2))
    flat = keras.layers.Flatten()(inputs)
    main = keras.layers.Dense(2, use_bias=False, name="main")
    spare = keras.layers.Dense(2, use_bias=False, name="spare")
    outputs = keras.layers.Add()([main(flat), spare(flat)])
    model = keras.Model(inputs, outputs, name="selector")
    main.set_weights([np.array([[1.0, 0.1], [0.2, 1.0]], np.float32)])
    spare.set_weights([np.full((2, 2), 1e-3, np.float32)])
    return model


@pytest.fixture(scope="module")
def examples():
    images = np.random.default_rng(0).uniform(size=(200, 1, 1, 2)).astype(np.float32)
    return images, images.reshape(-1, 2).argmax(1)


def by_level(found, kind, name):
    return {effect.level: effect for effect in found.by_layer(kind)[name]}


def test_zeros_cost_what_the_weights_were_worth(selector, examples):
    before = selector.get_weights()
    found = tfcompress.sensitivity(
        selector, *examples, kinds=["sparsity"], levels={"sparsity": [0.5, 0.75]}
    )
    assert (found.model, found.examples) == ("selector", 200)
    main, spare = by_level(found, "sparsity", "main"), by_level(found, "sparsity", "spare")
    # Half of main are the two small weights, without which it still selects.
    assert main[0.5].accuracy >= found.accuracy > 0.9
    # Of equals the first goes; the weight that is left gives one class for any positive feature.
    assert main[0.75].accuracy == pytest.approx(0.5, abs=0.15)
    assert main[0.75].is_shown
    assert main[0.75].divergence > main[0.5].divergence > 10 * spare[0.75].divergence
    assert not spare[0.75].is_shown
    assert found.sparsities(0.25) == {"main": 0.0, "spare": 0.5}
    for one, other in zip(before, selector.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_effect_is_that_of_a_model_with_these_weights(selector, examples):
    found = tfcompress.sensitivity(selector, *examples, levels={"sparsity": [0.75]})
    changed = keras.models.clone_model(selector)
    changed.set_weights([np.array([[0, 0], [0, 1]], np.float32), selector.get_weights()[1]])
    images, labels = examples
    logits, kept = (model.predict(images, verbose=0) for model in (changed, selector))
    effect = by_level(found, "sparsity", "main")[0.75]
    assert effect.accuracy == np.mean(logits.argmax(1) == labels)
    log_p, log_q = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (kept, logits))
    expected = np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1))
    assert effect.divergence == pytest.approx(expected, rel=1e-4)


def test_bits_round_each_channel_of_its_own():
    inputs = keras.Input((1, 1, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, use_bias=False, name="conv")(inputs))
    model.set_weights([np.array([[[[7.0, 0.07], [3.4, 0.034]]]], np.float32)])
    kernel = probe.kernels(model)[0]
    # Four bits hold -7 to 7.
    np.testing.assert_allclose(
        probe._in_bits(kernel, 4).reshape(2, 2), [[7, 0.07], [3, 0.03]], rtol=1e-6
    )


def test_every_kind_on_a_network(digits):
    images, labels = digits.inputs[:128], digits.labels[:128]
    found = tfcompress.sensitivity(digits.model, images, labels, kinds=list(KINDS))
    assert found.kinds == tuple(KINDS)
    names = {layer.name for layer in digits.model.layers}
    for effect in found.effects:
        assert set(effect.name.split("+")) <= names
        assert effect.difference == pytest.approx(effect.accuracy - found.accuracy)
        assert effect.divergence >= 0
    # Over all layers the harshest level does the most harm. Ranks of small kernels differ little.
    for kind in ("sparsity", "bits", "channels"):
        layers = found.by_layer(kind).values()
        assert sum(e[-1].divergence for e in layers) > 2 * sum(e[0].divergence for e in layers)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kinds": ["colour"]}, "Unknown kind of sensitivity: 'colour'"),
        ({"levels": {"sparsity": [80]}}, r"Levels of sparsity are fractions in \(0, 1\)"),
        ({"levels": {"sparsity": []}}, "Levels of sparsity"),
        ({"kinds": ["bits"], "levels": {"bits": [1]}}, "whole numbers from 2 to 16"),
    ],
)
def test_bad_settings(selector, examples, settings, says):
    with pytest.raises(ValueError, match=says):
        tfcompress.sensitivity(selector, *examples, **settings)


def test_images_and_labels_must_fit(selector, examples):
    images, labels = examples
    with pytest.raises(ValueError, match="a label for each image"):
        tfcompress.sensitivity(selector, images, labels[:-1])
    with pytest.raises(ValueError, match="images must be float32"):
        tfcompress.sensitivity(selector, images.astype(np.float64), labels)


def test_a_stage_is_given_what_was_found_for_its_model():
    stage = compose.plan(recipe.parse("prune(0.8, allocation=sensitivity)")).stages[0]
    asked = []

    def sparsities(model, stage):
        asked.append((model, stage.config.target_sparsity))
        return {"conv": 0.7}

    prepared = planned_stages.prepared(stage, "the model", supplied={"sparsities": sparsities})
    assert asked == [("the model", 0.8)]
    assert prepared.config.sparsities == {"conv": 0.7}
    # What was found out is neither part of what a stage is known by, nor asked for again.
    assert prepared == stage
    again = planned_stages.supplied_config(prepared, {"sparsities": sparsities})
    assert again.sparsities == {"conv": 0.7}
