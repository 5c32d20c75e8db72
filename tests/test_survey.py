"""Which layers a technique treats, found without training: counted by hand on a small model."""

from __future__ import annotations

import numpy as np
import pytest

import tfcompress
from tfcompress import compose, survey
from tfcompress._keras import keras
from tfcompress.recipe import RecipeError


@pytest.fixture(scope="module")
def model():
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    outputs = layers.BatchNormalization(name="stem/norm")(outputs)
    outputs = layers.SeparableConv2D(8, 3, padding="same", name="separable")(outputs)
    outputs = layers.GlobalAveragePooling2D()(outputs)
    outputs = layers.Dense(10, name="logits")(outputs)
    return keras.Model(inputs, outputs, name="small")


# stem 3*3*3*4 = 108, norm 4*4, separable 3*3*4 + 4*8 + 8 biases, logits 8*10 + 10.
PARAMETERS = {"stem": 108, "stem/norm": 16, "separable": 76, "logits": 90}
MACS = {"stem": 108 * 64, "stem/norm": 0, "separable": (36 + 32) * 64, "logits": 80}


def test_layers_have_their_parameters_and_macs(model):
    found = survey.measured(model, survey.planned(recipe="prune(0.5)"))
    assert {layer.name: layer.parameters for layer in found.layers} == PARAMETERS
    assert {layer.name: layer.macs for layer in found.layers} == MACS
    assert found.parameters == model.count_params() == 290
    assert found.model == "small"


def test_what_is_passed_over_has_its_reason(model):
    found = survey.measured(model, survey.planned(recipe="prune(0.5)+cluster(16)"))
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["stem"].skipped == {}
    assert set(by_name["stem/norm"].skipped.values()) == {"no kernel"}
    assert "depthwise" in by_name["separable"].left_out["prune(0.5)"]
    assert by_name["separable"].skipped == {}
    # A layer whose name begins with another's is not a part of that one.
    assert by_name["stem"].left_out == {}


def test_shares_leave_out_what_a_treated_layer_keeps(model):
    found = survey.measured(model, survey.planned(techniques=["prune(0.5)", "prune(skip=stem)"]))
    assert found.parameter_share("prune(0.5)") == (290 - 16 - 36) / 290
    assert found.mac_share("prune(0.5)") == 1 - 36 * 64 / sum(MACS.values())
    assert found.parameter_share("prune(skip=stem)") == (290 - 16 - 36 - 108) / 290
    assert [total.layers for total in found.techniques] == [3, 2]


def test_nothing_is_trained_or_changed(model):
    before = [layer.name for layer in model.layers], model.get_weights()
    survey.measured(model, survey.planned(recipe="distill+prune(0.5)+cluster"))
    assert [layer.name for layer in model.layers] == before[0]
    for old, new in zip(before[1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_every_technique_is_asked_by_default_in_the_order_of_a_recipe():
    assert tuple(survey.planned()) == compose.ORDER


def test_export_formats_of_a_recipe_are_no_columns():
    assert list(survey.planned(recipe="prune(0.80)+cluster(8)+int8")) == [
        "prune(0.8)",
        "cluster(8)",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"recipe": "prune", "techniques": ["qat"]}, "Received both"),
        ({"recipe": "int8"}, "no technique"),
        ({"recipe": "none"}, "no technique"),
        ({"techniques": []}, "needs a technique"),
        ({"techniques": ["shrink"]}, "unknown technique 'shrink'"),
        ({"recipe": "qat+prune"}, "out of order"),
        ({"recipe": "prune(80)"}, "For 80% sparsity pass 0.8"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests_are_refused_before_a_model_is_loaded(arguments, says):
    with pytest.raises(RecipeError) as error:
        tfcompress.coverage("no such file.keras", **arguments)
    assert says in str(error.value)


def test_settings_that_fit_no_layer_are_refused(model):
    with pytest.raises(ValueError, match="skip=head fits no layer"):
        survey.measured(model, survey.planned(recipe="prune(skip=head)"))


def test_the_public_name_stays_a_function():
    assert callable(tfcompress.coverage)
    assert tfcompress.coverage is survey.coverage


def test_multiply_accumulates_of_an_open_size_are_not_known():
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    open_size = keras.Model(inputs, keras.layers.Dense(10)(outputs))
    found = survey.measured(open_size, survey.planned(recipe="prune(0.5)"))
    assert [layer.macs for layer in found.layers] == [None, 40]
    assert found.mac_share("prune(0.5)") is None
    assert found.parameter_share("prune(0.5)") == 1
    assert "-" in str(found).splitlines()[2]


def test_any_model_is_taken(model, tmp_path):
    nested_input = keras.Input((8, 8, 3))
    nested = keras.Model(nested_input, model(nested_input), name="nested")
    nested.save(tmp_path / "nested.keras")
    found = tfcompress.coverage(tmp_path / "nested.keras", recipe="prune(0.5)")
    assert {layer.name: layer.parameters for layer in found.layers} == PARAMETERS
    assert found.techniques == tfcompress.coverage(model, recipe="prune(0.5)").techniques
