"""The coverage table: four families from end to end, and what the program and its page do."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import coverage_page, coverage_table, families, networks
from experiments.families import FamilyResult, FormResult, RecipeResult
from tfcompress._keras import keras

ROOT = Path(__file__).parents[2]
SUBSET = ("MobileNet", "MobileNetV3Small", "RegNetX002")
"""Depthwise; Rescaling, hard-swish and squeeze-and-excite; grouped convolutions."""


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.coverage_table", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="module")
def subset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coverage")
    arguments = (
        f"--families={','.join(SUBSET)}",
        "--image_size=32",
        "--examples=64",
        f"--output_dir={folder}",
        f"--page={folder / 'page.md'}",
    )
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    return folder, arguments, done


def entries(folder):
    values = SimpleNamespace(output_dir=folder)
    return [coverage_table.read_entry(network, values) for network in SUBSET]


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(SUBSET)), ids=SUBSET)
def test_everything_is_carried_out(subset, index):
    found = entries(subset[0])[index]
    assert [(form.form, form.error, form.pruned) for form in found.forms] == [
        (form, "", "") for form in networks.FORMS
    ]
    assert {(r.name, r.error) for r in found.recipes} == {(name, "") for name in families.RECIPES}
    for result in found.recipes:
        assert result.integer_operators == result.operators > 20
        assert result.examples == 64
    emulated = [r for r in found.recipes if r.name in ("qat", "PCQAT", "ptq")]
    assert all(r.top1_agreement >= 0.9 for r in emulated), emulated


@pytest.mark.slow
def test_tf_mot_alone_refuses_what_it_is_known_to_refuse(subset):
    by_network = {found.network: found.forms for found in entries(subset[0])}
    flat, nested, keras3 = by_network["MobileNet"]
    assert flat.tfmot == {"quantize": "", "prune": "", "cluster": ""}
    assert "inside another keras Model" in nested.tfmot["quantize"]
    assert all(keras3.tfmot.values())
    assert by_network["MobileNetV3Small"][0].tfmot["quantize"]
    assert by_network["RegNetX002"][0].tfmot["prune"]


@pytest.mark.slow
def test_the_page_says_so(subset):
    page = (subset[0] / "page.md").read_text()
    assert "**3 of 3 are carried out in every column**" in page
    assert page.count("| RegNetX002 |") == 6


@pytest.mark.slow
def test_the_same_command_makes_no_entry_again(subset):
    folder, arguments, done = subset
    assert "8 of 8 recipes carried out" in done.stdout
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    again = program(*arguments)
    assert again.stdout.count("made before") == 3
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == before


# The parts.


def values(folder, **changes):
    return SimpleNamespace(
        **{"output_dir": folder, "forms": ["flat"], "image_size": 32, "examples": 8, **changes}
    )


def test_an_entry_of_other_settings_or_damaged_is_made_again(tmp_path):
    settings = values(tmp_path)
    path = coverage_table.entry_path("VGG16", settings)
    assert not coverage_table._is_current("VGG16", settings)
    path.write_text(json.dumps({"key": coverage_table.key(settings), "value": {}}))
    assert coverage_table._is_current("VGG16", settings)
    assert not coverage_table._is_current("VGG16", values(tmp_path, image_size=64))
    path.write_text('{"key"')
    assert not coverage_table._is_current("VGG16", settings)


def test_families_are_named_in_the_order_of_the_table():
    assert coverage_table.chosen(["all"]) == list(networks.FAMILIES)
    assert coverage_table.chosen(["MobileNet", "VGG16"]) == ["VGG16", "MobileNet"]
    assert len(networks.FAMILIES) == 18


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--families=MobileNt",), "Unknown family: 'MobileNt'"),
        (("--families=",), "names none"),
        (("--forms=flat,keras4",), "Unknown form: 'keras4'"),
        (("--image_size=8",), "image_size"),
        (("VGG16",), "Unexpected arguments: VGG16"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_flags_are_answered_before_any_work(flags, says):
    found = program(*flags)
    assert found.returncode != 0
    assert says in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def small(*, activation="relu", order=("left", "right")):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    branches = {name: keras.layers.Conv2D(4, 3, name=name, padding="same") for name in order}
    made = {name: layer(inputs) for name, layer in branches.items()}
    outputs = keras.layers.Concatenate()([made["left"], made["right"]])
    outputs = keras.layers.Activation(activation)(outputs)
    outputs = keras.layers.GlobalAveragePooling2D()(outputs)
    return keras.Model(inputs, keras.layers.Dense(10)(outputs))


def test_models_are_the_same_by_layers_connections_and_weights():
    model = small()
    twin = small(order=("right", "left"))
    for name in ("left", "right"):
        twin.get_layer(name).set_weights(model.get_layer(name).get_weights())
    twin.layers[-1].set_weights(model.layers[-1].get_weights())
    assert networks.same(model, twin)
    other_activation = small(activation="gelu")
    other_activation.set_weights(model.get_weights())
    assert not networks.same(model, other_activation)
    twin.get_layer("left").set_weights(model.get_layer("right").get_weights())
    assert not networks.same(model, twin)


def test_a_settled_network_tells_images_apart():
    images = np.random.default_rng(0).uniform(0, 255, [32, 8, 8, 3]).astype(np.float32)
    model = small()
    networks.settle(model, SimpleNamespace(calibration=images, noise=images[:4]))
    outputs = model(images).numpy()
    np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(outputs.std(axis=0), 1, rtol=1e-3)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("One. Two.", "One."),
        ("No <a.b.Rescaling object at 0x7f00> here", "No Rescaling here"),
        ("", "ValueError"),
        ("x" * 200, "x" * 157 + "..."),
        ("a\n  b. c", "a b."),
        ("in user code:\n\n    File 'a.py' *\n      f()\n\n    ValueError: No. Why\n", "No."),
        ("in user code: nobody says why", "in user code: nobody says why"),
    ],
)
def test_a_reason_is_a_sentence_without_addresses(message, expected):
    assert families.reason(ValueError(message)) == expected


def result(**changes):
    good = RecipeResult(
        name="qat",
        form="flat",
        layers=20,
        treated=20,
        operators=30,
        integer_operators=30,
        examples=256,
        top1_agreement=0.984,
        max_steps=3.0,
        mean_steps=0.25,
        processor_seconds=12.0,
    )
    return dataclasses.replace(good, **changes)


def family(**changes):
    plain = FamilyResult(
        network="VGG16",
        image_size=96,
        parameters=14_719_818,
        macs=2_800_000_000,
        forms=(
            FormResult(
                "flat", same_as="flat", difference=0.0, tfmot=dict.fromkeys(families.TFMOT, "")
            ),
            FormResult("nested", same_as="flat", difference=3e-7, tfmot={"quantize": "Refused."}),
        ),
        recipes=tuple(result(name=name) for name in families.RECIPES),
        versions={"tensorflow": "2.21.0"},
        processor_seconds=100.0,
    )
    return dataclasses.replace(plain, **changes)


def rows(page, title):
    section = page.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_holds_the_figures():
    page = coverage_page.render([family()])
    assert "**1 of 1 are carried out in every column**" in page
    assert "tensorflow 2.21.0" in page
    assert rows(page, "Carried out") == [["VGG16", "14,719,818", *["yes"] * 8]]
    (shown,) = rows(page, "Operators of the int8 file that read and write integers only")
    assert shown[1:] == ["30 of 30"] * 8
    assert rows(page, "Agreement of the int8 file with its Keras model")[0][3] == "98.4, 3, 0.25"
    assert rows(page, "Forms") == [["VGG16", "yes (0)", "as flat (3e-07)"]]
    assert "Over 256 images" in page
    (alone,) = rows(page, "TF-MOT alone")
    assert alone == ["VGG16", "yes", "no: a", "yes", "\u2013", "yes", "\u2013"]
    assert "- a: Refused." in page


def test_what_failed_has_its_reason_and_is_not_counted():
    failed = tuple(
        result(name=name, error="export: refused" if name == "PCQAT" else "")
        for name in families.RECIPES
    )
    page = coverage_page.render([family(), family(network="ResNet50", recipes=failed)])
    assert "**1 of 2 are carried out in every column**" in page
    assert rows(page, "Carried out")[1] == [
        "ResNet50",
        "14,719,818",
        *["yes"] * 3,
        "no: a",
        *["yes"] * 4,
    ]
    assert "- a: export: refused" in page
    assert "7 of 8 recipes carried out" in coverage_page.in_a_line(family(recipes=failed))


def test_what_a_technique_leaves_has_its_reason():
    norm, plain = "LayerNormalization normalizes over the channels", "no kernel"
    recipes = (
        result(name="prune", left_alone={plain: 41}),
        result(name="prune_channels", left_alone={norm: 40, plain: 2}),
        result(name="qat", error="qat: refused", layers=None),
    )
    page = coverage_page.render([family(recipes=recipes)])
    (shown,) = rows(page, "Layers that a technique leaves as they are")
    assert [shown[1], shown[3], shown[6]] == ["41 b of 20", "\u2013", "40 c, 2 b of 20"]
    assert [f"- b: {plain}" in page, f"- c: {norm}" in page] == [True, True]
    assert rows(coverage_page.render([family()]), "Layers that a technique leaves as they are") == [
        ["VGG16", *["none"] * 8]
    ]


def test_a_network_that_keras_3_lacks_is_named():
    forms = (*family().forms, FormResult("keras3", same_as="flat", difference=0.0, converted=True))
    assert "(VGG16: Keras 3 has no such network" in coverage_page.render([family(forms=forms)])
    assert "Keras 3 has no such" not in coverage_page.render([family()])


def test_a_form_that_cannot_be_loaded_has_its_reason():
    forms = (FormResult("flat", error="no file"), FormResult("nested", same_as="nested"))
    page = coverage_page.render([family(forms=forms)])
    assert "**0 of 1" in page
    assert rows(page, "Forms") == [["VGG16", "no: a", "yes (0)"]]
