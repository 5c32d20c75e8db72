"""Every technique that the registry finds keeps the contract of `tfcompress.techniques`.

Each is used as a user would: own compile, own `fit` on numpy arrays, own callbacks.
"""

import dataclasses
import inspect
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from tfcompress import registry
from tfcompress.export import convert
from tfcompress.graph.kernels import kernels
from tfcompress.results import CompressionReport
from tfcompress.techniques import VerificationError, goes_on, level_of, with_levels

NAMES = registry.names("techniques")
NEEDS_CALLBACKS = ("cluster", "prune")
"""Techniques whose effect is absent where their callbacks were not passed to `fit`."""


def is_for_texts(name):
    config = registry.load("techniques", name).CONFIG()
    return bool(getattr(config, "only_texts", ""))


QUANTIZING = ("ptq", "qat")
"""Techniques whose effect exists in the int8 file only."""

OF_IMAGES = tuple(name for name in NAMES if not is_for_texts(name))
"""Techniques that the digits have a use for; `tests/techniques` has the others."""

technique = pytest.mark.parametrize("name", NAMES)
of_images = pytest.mark.parametrize("name", OF_IMAGES)


def config_for(module, digits):
    fields = {field.name for field in dataclasses.fields(module.CONFIG)}
    supplied = {"teacher": digits.model}
    if hasattr(module, "adjust"):
        supplied["calibration"] = digits.train_inputs[:256]
    return module.CONFIG(**{name: item for name, item in supplied.items() if name in fields})


def fitted(digits, name, *, with_callbacks=True):
    """A model wrapped, compiled and trained outside of the package's own training."""
    from tfcompress._keras import keras

    module = registry.load("techniques", name)
    config = config_for(module, digits)
    steps = -(-len(digits.train_labels) // 64)
    wrapped = module.wrap(digits.model, config, steps_per_epoch=steps, epochs=2)
    if hasattr(module, "adjust"):
        # It trains nothing.
        module.adjust(wrapped, digits.model, config)
        return module, config, wrapped
    wrapped.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    callbacks = [keras.callbacks.TerminateOnNaN()]
    if with_callbacks:
        callbacks += module.callbacks(config)
    wrapped.fit(
        digits.train_inputs,
        digits.train_labels,
        batch_size=64,
        epochs=2,
        callbacks=callbacks,
        verbose=0,
    )
    return module, config, wrapped


@pytest.fixture(scope="module")
def trained(digits):
    """What a technique leaves, made once."""

    @cache
    def make(name):
        before = snapshot(digits)
        module, config, wrapped = fitted(digits, name)
        outputs = wrapped.predict(digits.inputs, verbose=0)
        stripped = module.strip(wrapped)
        return SimpleNamespace(
            module=module,
            config=config,
            before=before,
            after=snapshot(digits),
            outputs=outputs,
            stripped=stripped,
            report=module.report(digits.model, stripped, config),
        )

    return make


def snapshot(digits):
    model = digits.model
    return SimpleNamespace(
        weights=model.get_weights(),
        layers=[(layer.name, type(layer), id(layer), layer.trainable) for layer in model.layers],
        outputs=model.predict(digits.inputs, verbose=0),
        optimizer=model.optimizer,
    )


@technique
def test_it_offers_the_names_of_the_contract(name):
    module = registry.load("techniques", name)
    assert module.__doc__
    for function, parameters in {
        "skipped": ["model", "config"],
        "wrap": ["model", "config", "steps_per_epoch", "epochs"],
        "callbacks": ["config"],
        "strip": ["model"],
        "report": ["before", "after", "config"],
        "verify": ["model", "config", "before"],
        "verify_artifact": ["artifact", "report", "config"],
    }.items():
        assert list(inspect.signature(getattr(module, function)).parameters) == parameters
        assert getattr(module, function).__doc__


@technique
def test_its_config_is_frozen_and_says_when_it_settles(name):
    kind = registry.load("techniques", name).CONFIG
    config = kind()
    assert dataclasses.is_dataclass(kind)
    assert 0 <= config.settles_at <= 1
    field = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, getattr(config, field))
    assert config == kind()
    assert hash(config) == hash(kind())


@pytest.mark.parametrize("name", with_levels())
def test_a_greater_level_compresses_more(name):
    module = registry.load("techniques", name)
    own, config = level_of(name), module.CONFIG()
    assert own.setting in {field.name for field in dataclasses.fields(config)}
    assert 0 < own.highest <= 1
    levels = np.linspace(0.01, own.highest, 50)
    settings = [getattr(own.applied(config, level), own.setting) for level in levels.tolist()]
    rising = settings if settings[-1] > settings[0] else settings[::-1]
    assert rising == sorted(rising)
    assert len(set(settings)) > 20


@pytest.mark.parametrize(
    "name", [name for name in with_levels() if goes_on(registry.load("techniques", name))]
)
def test_a_level_goes_on_from_a_lower_one(digits, name):
    module, own = registry.load("techniques", name), level_of(name)
    first, second = (own.applied(module.CONFIG(), level) for level in (0.5, 0.8))
    model = module.wrap(digits.model, first, steps_per_epoch=1, epochs=1)
    module.at_once(model, first)
    module.verify(model, first)
    module.at_once(model, second)
    module.verify(model, second)
    with pytest.raises(VerificationError):
        module.verify(digits.model, second)


@technique
def test_callbacks_are_fresh(name):
    module = registry.load("techniques", name)
    config = module.CONFIG()
    first, second = module.callbacks(config), module.callbacks(config)
    assert first is not second
    assert not {id(item) for item in first} & {id(item) for item in second}


@of_images
def test_the_callers_model_is_left_alone(trained, name):
    found = trained(name)
    assert found.before.layers == found.after.layers
    assert found.before.optimizer is found.after.optimizer
    for old, new in zip(found.before.weights, found.after.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(found.before.outputs, found.after.outputs)


@of_images
def test_it_trained_a_model_of_its_own(trained, digits, name):
    kernels = {weight.name for weight in digits.model.trainable_weights}
    own = {id(weight) for weight in digits.model.weights}
    found = trained(name)
    assert kernels
    assert not own & {id(weight) for weight in found.stripped.weights}
    assert np.abs(found.outputs - found.before.outputs).max() > 1e-3


@of_images
def test_stripping_keeps_the_outputs(trained, digits, name):
    found = trained(name)
    outputs = found.stripped.predict(digits.inputs, verbose=0)
    changed = np.abs(outputs - found.outputs) > 1e-5
    # Biases are rounded as the file does, which moves some outputs to the next integer.
    assert np.mean(changed) <= (0.05 if name in QUANTIZING else 0)


@of_images
def test_it_still_recognizes_digits(trained, digits, name):
    accuracy = np.mean(trained(name).outputs.argmax(1) == digits.labels)
    # Half of the arithmetic is gone at once, and 48 steps are few to learn again.
    assert accuracy > (0.7 if name == "prune_channels" else 0.8)


@of_images
def test_the_report_lists_every_layer_with_weights(trained, digits, name):
    report = trained(name).report
    assert isinstance(report, CompressionReport)
    assert report.technique == name
    expected = [layer.name for layer in digits.model.layers if layer.weights]
    assert [layer.name for layer in report.layers] == expected
    skipped = trained(name).module.skipped(digits.model, trained(name).config)
    assert {layer.name: layer.reason for layer in report.layers if not layer.treated} == skipped
    assert all(layer.treated or layer.reason for layer in report.layers)
    assert any(layer.treated for layer in report.layers)
    sizes = {layer.name: layer.kernel_parameters for layer in report.layers}
    assert sizes["conv_bn"] is None
    in_the_model = sum(kernel.numpy().size for kernel in kernels(trained(name).stripped))
    assert sum(size or 0 for size in sizes.values()) == in_the_model


@of_images
def test_the_effect_is_counted_in_the_model(trained, digits, name):
    found = trained(name)
    found.module.verify(found.stripped, found.config, before=digits.model)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        (name, fmt)
        for name in OF_IMAGES
        for fmt in ("float32", "int8")
        if fmt == "int8" or name not in QUANTIZING
    ],
)
def test_the_effect_is_counted_in_the_file(trained, digits, name, format):
    found = trained(name)
    artifact = convert(
        found.stripped, format, calibration=digits.train_inputs[:64], metadata=digits.metadata
    )
    found.module.verify_artifact(artifact, found.report, found.config)
    outputs = artifact.run(digits.inputs)
    assert np.mean(outputs.argmax(1) == found.outputs.argmax(1)) > 0.95


@pytest.mark.parametrize("name", NEEDS_CALLBACKS)
def test_forgotten_callbacks_are_found_out(digits, name):
    module, config, wrapped = fitted(digits, name, with_callbacks=False)
    with pytest.raises(VerificationError, match=rf"{name}: layer .*callbacks"):
        module.verify(module.strip(wrapped), config)


@pytest.mark.parametrize("name", [name for name in OF_IMAGES if name != "distill"])
def test_a_model_that_was_not_treated_is_found_out(digits, name):
    module = registry.load("techniques", name)
    with pytest.raises(VerificationError, match=f"{name}: "):
        module.verify(digits.model, module.CONFIG(), before=digits.model)


@pytest.mark.parametrize("name", ["prune", "prune_channels", "factorize", "cluster", "ptq", "qat"])
def test_a_file_of_the_untreated_model_is_found_out(trained, digits, exported_digits, name):
    found = trained(name)
    with pytest.raises(VerificationError, match=f"{name}: "):
        found.module.verify_artifact(exported_digits, found.report, found.config)


@pytest.fixture(scope="module")
def exported_digits(digits):
    return convert(
        digits.model, "float32", calibration=digits.train_inputs[:64], metadata=digits.metadata
    )


def test_a_distillation_that_was_not_stripped_is_found_out(digits):
    module = registry.load("techniques", "distill")
    config = module.CONFIG(teacher=digits.model)
    wrapped = module.wrap(digits.model, config, steps_per_epoch=1, epochs=1)
    with pytest.raises(VerificationError, match="still holds its teacher"):
        module.verify(wrapped, config)


@pytest.mark.parametrize("name", QUANTIZING)
def test_a_model_whose_ranges_saw_nothing_is_found_out(digits, name):
    """They are all zero: the file would give a constant."""
    module = registry.load("techniques", name)
    config = module.CONFIG()
    wrapped = module.wrap(digits.model, config, steps_per_epoch=1, epochs=1)
    with pytest.raises(VerificationError, match=rf"{name}: .* no batch"):
        module.verify(module.strip(wrapped), config)
