"""Recipes of several techniques: what each made is counted in the model and in the int8 file."""

import numpy as np
import pytest

from tfcompress import compose, planned_stages
from tfcompress.export import convert
from tfcompress.graph.kernels import distinct, kernels
from tfcompress.recipe import parse
from tfcompress.techniques._factor_pairs import pairs

EPOCHS = 2
CLUSTERED = ("conv", "pointwise", "logits")


def supplied(digits):
    return {"teacher": digits.model, "calibration": digits.train_inputs[:64]}


def carried_out(digits, text):
    """The model that a recipe leaves, each stage trained for two epochs, with its reports."""
    from tfcompress._keras import keras

    stages = compose.plan(parse(text)).stages
    model, reports = digits.model, []
    for count in range(1, len(stages) + 1):
        begun = stages[:count]
        wrapped = compose.wrap(
            begun, model, supplied=supplied(digits), steps_per_epoch=24, epochs=EPOCHS
        )
        if not planned_stages.is_trained(begun[-1]):
            compose.adjust(begun[-1], wrapped, model, supplied=supplied(digits))
            stripped = compose.strip(begun, wrapped)
            reports.append(begun[-1].module.report(model, stripped, begun[-1].config))
            compose.verify(begun, stripped, before=model)
            model = stripped
            continue
        wrapped.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        wrapped.fit(
            digits.train_inputs,
            digits.train_labels,
            batch_size=64,
            epochs=EPOCHS,
            callbacks=compose.callbacks(begun),
            verbose=0,
        )
        stripped = compose.strip(begun, wrapped)
        reports.append(begun[-1].module.report(model, stripped, begun[-1].config))
        compose.verify(begun, stripped, before=model)
        model = stripped
    return stages, model, reports


@pytest.mark.parametrize(
    "text",
    [
        "prune(0.6)+cluster(8)",
        "prune(pattern=2:4)+qat",
        "cluster(8)+qat",
        "distill(features=1)+prune(0.6)+cluster(8)+qat",
    ],
)
def test_each_keeps_what_the_others_made(digits, text):
    before = digits.model.get_weights()
    stages, model, reports = carried_out(digits, text)
    names = [stage.technique for stage in stages]
    found = {kernel.name: kernel.numpy() for kernel in kernels(model)}
    assert set(found) == {"conv", "depthwise", "pointwise", "logits"}
    if "prune" in names:
        target = 0.6 if "0.6" in text else 0.5
        treated = [layer.name for layer in reports[names.index("prune")].layers if layer.treated]
        assert len(treated) >= 2
        for name in treated:
            size = found[name].size
            assert int((found[name] == 0).sum()) >= int(size * target + 1e-6)
        # The others are pruned of nothing.
        assert (found["depthwise"] != 0).mean() > 0.9
    if "cluster" in names:
        for name in CLUSTERED:
            assert 2 <= distinct(found[name]) <= 8
        assert distinct(found["depthwise"]) > 8

    artifact = convert(
        model, "int8", calibration=digits.train_inputs[:64], metadata=digits.metadata
    )
    for stage, report in zip(stages, reports, strict=True):
        stage.module.verify_artifact(artifact, report, stage.config)
    stored = [weight.values for weight in artifact.weights().values()]
    for size in {values.size for values in found.values()}:
        zeros = sum((values == 0).sum() for values in found.values() if values.size == size)
        assert sum((values == 0).sum() for values in stored if values.size == size) >= zeros
    if "cluster" in names:
        by_size = {weight.values.size: weight for weight in artifact.weights().values()}
        for name in ("pointwise", "logits"):
            assert 2 <= by_size[found[name].size].distinct_in_channel() <= 8

    ours, theirs = model.predict(digits.inputs, verbose=0), artifact.run(digits.inputs)
    agreement = np.mean(ours.argmax(1) == theirs.argmax(1))
    assert agreement >= (0.98 if "qat" in names else 0.93)
    assert np.mean(theirs.argmax(1) == digits.labels) > 0.75
    for old, new in zip(before, digits.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "text",
    [
        "prune_channels(0.3)+prune(0.6)+ptq(steps=20)",
        "distill+ptq(rounding=nearest)",
        "prune(0.6)+cluster(8)+ptq(equalize=false, rounding=nearest)",
    ],
)
def test_quantization_without_training_keeps_what_was_made(digits, text):
    """`carried_out` counts the effects in the model; here they are counted in the file."""
    stages, model, reports = carried_out(digits, text)
    artifact = convert(model, "int8", metadata=digits.metadata)
    assert artifact.integer_operators == len(artifact.operators)
    for stage, report in zip(stages, reports, strict=True):
        stage.module.verify_artifact(artifact, report, stage.config)
    ours, theirs = model.predict(digits.inputs, verbose=0), artifact.run(digits.inputs)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) >= 0.98


def test_low_rank_survives_what_follows(digits):
    """The stages after it see two layers, also where quantization has rewritten the model."""
    text = "distill(features=1)+factorize(target=0.3)+prune(0.5)+cluster(8)+qat"
    stages, model, reports = carried_out(digits, text)
    factorized = stages[1].module
    treated = {layer.name: layer.detail for layer in reports[1].layers if layer.treated}
    assert treated
    found = {pair.name: f"rank {pair.rank} of {pair.full_rank}" for pair in pairs(model)}
    assert found == treated
    assert {layer.name for layer in reports[2].layers} >= {f"{name}_low_rank" for name in treated}
    factorized.verify(model, stages[1].config)
    artifact = convert(
        model, "int8", calibration=digits.train_inputs[:64], metadata=digits.metadata
    )
    factorized.verify_artifact(artifact, reports[1], stages[1].config)
    stages[-1].module.verify_artifact(artifact, reports[-1], stages[-1].config)


def test_the_regressors_of_a_distillation_are_not_pruned(digits):
    stages = compose.plan(parse("distill(features=1)+prune(0.6, schedule=constant)")).stages
    wrapped = compose.wrap(
        stages, digits.model, supplied=supplied(digits), steps_per_epoch=1, epochs=1
    )
    wrapped.compile("sgd", "mse")
    targets = np.zeros([32, 10], np.float32)
    assert wrapped.regressors
    for layer in wrapped.regressors:
        layer.set_weights([np.full(weight.shape, 0.1) for weight in layer.weights])
    wrapped.fit(digits.train_inputs[:32], targets, callbacks=compose.callbacks(stages), verbose=0)
    assert all((layer.get_weights()[0] != 0).all() for layer in wrapped.regressors)
    compose.verify(stages, compose.strip(stages, wrapped), before=digits.model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prune(end=0.5)", {1: 0, 2: 0, 3: 1, 4: 1, 10: 4}),
        ("prune(schedule=constant)", {1: 0, 3: 0}),
        ("prune(schedule=constant, begin=0.5, end=1.0)", {1: 0, 2: 0, 3: 1}),
        ("prune(end=1.0)", {1: 0, 3: 2}),
        ("cluster", {3: 0}),
        ("prune(end=1.0)+qat", {3: 0}),
    ],
)
def test_the_first_epoch_that_may_be_chosen(text, expected):
    stages = compose.plan(parse(text)).stages
    for epochs, first in expected.items():
        assert compose.first_eligible_epoch(stages, epochs=epochs) == first


def test_the_baseline_may_be_chosen_from_the_start():
    assert compose.first_eligible_epoch((), epochs=5) == 0
