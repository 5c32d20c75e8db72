"""Selective precision: a layer that integers ruin is found, and stays in float for few bytes."""

import dataclasses

import numpy as np
import pytest

from tfcompress import compose, export, recipe
from tfcompress.export import inference
from tfcompress.techniques import ptq, qat
from tfcompress.techniques._integer_form import CHOSEN
from tfcompress.techniques.ptq import PTQConfig
from tfcompress.techniques.qat import QATConfig

PLAIN = {"rounding": "nearest", "ranges": "minmax", "equalize": False, "bias_correction": False}
# One channel of the tensor between these two is a hundred times the others.
RUINED = {"depthwise", "pointwise"}


@pytest.fixture(scope="module")
def ruined(digits):
    """The digits' classifier, one channel of one tensor made large and taken back after it."""
    from tfcompress._keras import keras

    model = keras.models.clone_model(digits.model)
    model.set_weights(digits.model.get_weights())
    factor = np.ones(8, np.float32)
    factor[3] = 100.0
    gamma, beta, *rest = model.get_layer("depthwise_bn").get_weights()
    model.get_layer("depthwise_bn").set_weights([gamma * factor, beta * factor, *rest])
    kernel, bias = model.get_layer("pointwise").get_weights()
    model.get_layer("pointwise").set_weights([kernel / factor[:, None], bias])
    # A kernel of this one channel, so that the others' weights keep their steps.
    return model


def error(model, reference, images):
    return float(np.mean((inference(model)(images) - inference(reference)(images)) ** 2))


def test_the_layers_around_a_ruined_tensor_are_found(ruined, digits):
    config = PTQConfig(calibration=digits.train_inputs[:64], growth=0.3, **PLAIN)
    names = ptq.layers_in_float(ruined, config)
    assert set(names) >= RUINED
    sizes = {"conv": 72, "depthwise": 72, "pointwise": 128, "logits": 4000}
    spent = 3 * sum(sizes.get(name, 0) for name in names)
    assert spent <= 0.3 * sum(sizes.values())
    everything = ptq.quantize(ruined, dataclasses.replace(config, growth=0.0))
    mixed = ptq.quantize(ruined, config)
    assert error(mixed, ruined, digits.inputs) < 0.1 * error(everything, ruined, digits.inputs)


def test_the_file_computes_what_the_model_does(ruined, digits):
    images = digits.train_inputs[:64]
    config = PTQConfig(calibration=images, growth=0.3, **PLAIN)
    config = dataclasses.replace(config, in_float=ptq.layers_in_float(ruined, config))
    mixed = ptq.quantize(ruined, config)
    artifact = export.convert(mixed, "int8", metadata=digits.metadata)
    assert 0 < artifact.integer_operators < len(artifact.operators)
    found = artifact.run(digits.inputs)
    agreement = np.mean(found.argmax(1) == inference(mixed)(digits.inputs).argmax(1))
    assert agreement > 0.99
    report = ptq.report(ruined, mixed, config)
    ptq.verify_artifact(artifact, report, config)
    layers = {layer.name: layer for layer in report.layers}
    assert all(layers[name].reason == CHOSEN for name in RUINED)
    assert layers["logits"].treated


def test_no_room_chooses_nothing(ruined, digits):
    images = digits.train_inputs[:64]
    # Each of the layers around it has more than 8 of the weights.
    assert ptq.layers_in_float(ruined, PTQConfig(calibration=images, growth=0.002, **PLAIN)) == ()
    assert ptq.layers_in_float(ruined, PTQConfig(calibration=images, **PLAIN)) == ()


def test_what_gains_less_than_a_hundredth_is_left_in_integers(ruined, digits):
    config = PTQConfig(calibration=digits.train_inputs[:64], growth=3.0, **PLAIN)
    names = ptq.layers_in_float(ruined, config)
    # The error is that of one tensor; what other layers add is far below a hundredth of it.
    assert set(names) >= RUINED
    assert "logits" not in names


def test_the_model_is_whole_again_after_each_trial(ruined, digits):
    from tfcompress.techniques import _integer_model, _selection

    config = QATConfig(calibration=digits.train_inputs[:64], growth=0.3, in_float=())
    normal = _integer_model.plain(ruined, technique="qat", skip="")
    form = _integer_model.form_of(normal, config, technique="qat")
    trial = _selection._Trial(form, config, "minmax")
    nothing = trial.harm(set())
    # What the file gives stays in integers.
    assert trial.harm(set(trial.all)) < 0.01 * nothing
    assert trial.harm(set()) == nothing


def test_training_for_integers_takes_the_same_choice(ruined, digits):
    config = QATConfig(calibration=digits.train_inputs[:64], growth=0.3)
    with pytest.raises(ValueError, match=r"in_float=qat\.layers_in_float\(model, config\)"):
        qat.wrap(ruined, config, steps_per_epoch=1, epochs=1)
    names = qat.layers_in_float(ruined, config)
    assert set(names) >= RUINED
    errors = {}
    for kept in ((), names):
        chosen = dataclasses.replace(config, in_float=kept)
        model = qat.wrap(ruined, chosen, steps_per_epoch=1, epochs=1)
        errors[kept] = error(model, ruined, digits.inputs)
    assert errors[names] < 0.1 * errors[()]


@pytest.mark.parametrize(("technique", "kind"), [(ptq, PTQConfig), (qat, QATConfig)])
def test_bad_settings(technique, kind, ruined):
    with pytest.raises(ValueError, match=r"growth must be in \[0, 3\]"):
        kind(growth=-0.1)
    with pytest.raises(ValueError, match="growth needs calibration images"):
        technique.layers_in_float(ruined, kind(growth=0.1))


def test_a_recipe_is_checked_without_a_choice(ruined):
    stages = compose.plan(recipe.parse("qat(growth=0.1)")).stages
    compose.require_treatable(stages, ruined, supplied={"in_float": None})
