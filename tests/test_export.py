from dataclasses import replace

import numpy as np
import pytest

from tfcompress import export, parity_limits
from tfcompress.export import ExportConfig, ExportError, ParityError, convert
from tfcompress.results import Parity


@pytest.mark.parametrize("format", export.FORMATS)
def test_every_format_runs_and_agrees_with_the_model(exported, quadrants, format):
    artifact = exported(format)
    parity = export.parity(artifact, quadrants.model, quadrants.inputs[64:])
    parity_limits.require_parity(parity, format)
    assert parity.examples == 192
    assert parity.top1_agreement >= 0.98
    assert artifact.metadata == {
        "format": format,
        "labels": list(quadrants.classes),
        "output": "logits",
        "preprocessing": {
            "image_shape": [12, 12, 1],
            "scale": [1 / 255],
            "offset": [0.0],
            "channel_order": "rgb",
        },
        "tfcompress_version": "0.1.0",
    }


@pytest.mark.parametrize(
    ("format", "dtype"),
    [
        ("float32", "float32"),
        ("float16", "float32"),
        ("dynamic", "float32"),
        ("int8", "int8"),
        ("int16x8", "int16"),
    ],
)
def test_ends_of_a_format(exported, format, dtype):
    session = exported(format).session()
    assert session.input_details.dtype == dtype
    assert session.output_details.dtype == dtype


def test_parity_by_hand(exported, quadrants):
    artifact, inputs = exported("int8"), quadrants.inputs[:5]
    difference = np.abs(quadrants.model(inputs).numpy() - artifact.run(inputs))
    parity = export.parity(artifact, quadrants.model, inputs, batch_size=2)
    assert parity.max_difference == pytest.approx(difference.max(), rel=1e-4)
    assert parity.mean_difference == pytest.approx(difference.mean(), rel=1e-4)
    assert parity.output_scale == artifact.session().output_details.scale
    assert export.parity(exported("float32"), quadrants.model, inputs).output_scale is None


def test_conversion_is_silent(quadrants, capfd, recwarn):
    convert(quadrants.model, "int8", calibration=quadrants.inputs[:8])
    captured = capfd.readouterr()
    assert "fully_quantize" not in captured.err
    assert captured.out == ""
    assert not [str(w.message) for w in recwarn if "quantized inputs" in str(w.message)]


def test_model_is_unchanged(quadrants):
    before = [weight.copy() for weight in quadrants.model.get_weights()]
    convert(quadrants.model, "int8", calibration=quadrants.inputs[:8])
    for old, new in zip(before, quadrants.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("format", "options", "said"),
    [
        ("int4", {}, "Unknown export format: 'int4'. Known: float32, float16, dynamic, int8"),
        ("int8", {}, "int8 needs calibration images"),
        ("int16x8", {}, "int16x8 needs calibration images"),
        ("int8", {"calibration": np.zeros([2, 12, 12, 1], np.uint8)}, "calibration.*uint8"),
        ("int8", {"calibration": np.zeros([2, 9, 9, 1], np.float32)}, r"12, 12, 1.*\[2, 9, 9, 1\]"),
        ("int8", {"calibration": np.zeros([0, 12, 12, 1], np.float32)}, "at least one"),
        ("int8", {"calibration": np.full([2, 12, 12, 1], np.inf, np.float32)}, "288 numbers.*NaN"),
        ("int8", {"calibration": np.full([2, 12, 12, 1], np.nan, np.float32)}, "288 numbers.*NaN"),
        ("int8", {"calibration": [np.zeros([12, 12, 1], np.float32)]}, "numpy array.*list"),
        ("int8", {"calibration": iter([])}, "must be a numpy array"),
        ("float32", {"metadata": {"labels": ["a"]}}, "4 classes. Received: 1"),
        ("float32", {"metadata": {"labels": None}}, "no usable labels"),
        ("float32", {"metadata": {"labels": "abcd"}}, "no usable labels"),
        ("float32", {"metadata": {"labels": ["a", "b", "a", "c"]}}, "two classes alike: 'a'"),
        ("float32", {"metadata": {"preprocessing": {}}}, "no usable preprocessing.*KeyError"),
        ("float32", {"metadata": {"preprocessing": "x"}}, "no usable preprocessing"),
        ("float32", {"metadata": {"note": {1, 2}}}, "what JSON can hold.*set"),
        ("float32", {"metadata": "x"}, "must be a mapping. Received: str"),
        ("dynamic", {"sparse": True}, "sparse=True goes with format float32"),
    ],
)
def test_convert_refuses(quadrants, format, options, said):
    with pytest.raises(ValueError, match=said):
        convert(quadrants.model, format, **options)


def test_preprocessing_must_fit_the_model(quadrants):
    wrong = replace(quadrants.preprocessing, image_shape=(28, 28, 1))
    with pytest.raises(ValueError, match=r"\[28, 28, 1\].*the model takes \[12, 12, 1\]"):
        convert(quadrants.model, "float32", metadata={"preprocessing": wrong})


def test_models_of_another_kind_are_refused(quadrants):
    from tfcompress._keras import keras

    open_size = keras.Sequential([keras.layers.Input([None, None, 1]), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="input size must be fixed"):
        convert(open_size, "float32")
    with pytest.raises(ValueError, match="takes a tf_keras model"):
        convert(object(), "float32")
    one, two = keras.Input([2]), keras.Input([2])
    with pytest.raises(ValueError, match="one input and one output"):
        convert(keras.Model([one, two], keras.layers.Add()([one, two])), "float32")


def test_operator_that_tflite_lacks_is_named():
    from tfcompress._keras import keras, tf

    inputs = keras.Input([4])
    model = keras.Model(inputs, keras.layers.Lambda(tf.math.erfinv)(inputs))
    with pytest.raises(ExportError, match=r"refuses this model as float32(.|\n)*Erfinv"):
        convert(model, "float32")


def test_zeros_are_stored_sparse_where_asked(quadrants):
    from tfcompress._keras import keras

    model = keras.models.clone_model(quadrants.model)
    model.set_weights(quadrants.model.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[np.arange(len(kernel)) % 5 != 0] = 0
    model.get_layer("logits").set_weights([kernel, bias])
    dense, sparse = convert(model, "float32"), convert(model, "float32", sparse=True)
    stored = list(sparse.weights().values())[-1]
    assert stored.stored_sparse
    np.testing.assert_array_equal(stored.values, list(dense.weights().values())[-1].values)
    assert sparse.sparsity() == dense.sparsity() > 0.4
    assert sparse.size_bytes < dense.size_bytes
    np.testing.assert_allclose(
        sparse.run(quadrants.inputs[:8]), dense.run(quadrants.inputs[:8]), atol=1e-4
    )


def test_quantization_aware_model_exports_with_its_own_ranges(quadrants):
    from tfcompress._keras import keras, tfmot

    # TF-MOT's wrappers need a model of their own; a few steps set the ranges.
    model = tfmot.quantization.keras.quantize_model(keras.models.clone_model(quadrants.model))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(quadrants.inputs, quadrants.labels, epochs=2, verbose=0)
    assert export.is_quantization_aware(model)
    assert not export.is_quantization_aware(quadrants.model)
    artifact = convert(model, "int8", metadata=quadrants.metadata)
    assert artifact.integer_operators == len(artifact.operators) == 5
    parity = export.parity(artifact, model, quadrants.inputs[:64])
    assert parity.mean_difference <= 1.5 * parity.output_scale
    with pytest.raises(ValueError, match=r"exports as int8, or as float32.*Received: float16"):
        convert(model, "float16")


@pytest.mark.parametrize("ending", ["activation", "layer", "none"])
def test_kind_of_outputs(ending):
    from tfcompress._keras import keras, tfmot

    activation = "softmax" if ending == "activation" else None
    layers = [keras.layers.Input([4]), keras.layers.Dense(3, activation=activation)]
    model = keras.Sequential(layers + [keras.layers.Softmax()] * (ending == "layer"))
    expected = "logits" if ending == "none" else "probabilities"
    assert export.output_kind(model) == expected
    if ending != "layer":
        wrapped = tfmot.quantization.keras.quantize_model(model)
        assert export.output_kind(wrapped) == expected


def figures(agreement, mean, scale=None):
    return Parity(100, agreement, 9.0, mean, scale)


@pytest.mark.parametrize(
    ("format", "parity"),
    [
        ("float32", figures(0.98, 0.0009)),
        ("float32", figures(0.995, 0.5)),
        ("float16", figures(0.96, 0.5)),
        ("dynamic", figures(0.2, 0.01)),
        ("int8", figures(0.51, 9.0, 0.1)),
        ("int8", figures(0.1, 0.39, 0.1)),
        ("int16x8", figures(0.51, 9.0, 1e-4)),
    ],
)
def test_small_disagreement_passes(format, parity):
    parity_limits.require_parity(parity, format)


@pytest.mark.parametrize(
    ("format", "parity"),
    [
        ("float32", figures(0.98, 0.0011)),
        ("float16", figures(0.94, 0.011)),
        ("dynamic", figures(0.49, 0.03)),
        ("int8", figures(0.49, 0.41, 0.1)),
        ("int16x8", figures(0.49, 0.03, 1e-4)),
    ],
)
def test_gross_disagreement_is_refused_with_figures_and_causes(format, parity):
    with pytest.raises(ParityError) as caught:
        parity_limits.require_parity(parity, format, name="mine")
    for part in ("mine", format, "100 validation", f"{parity.top1_agreement:.1%}", "Likely causes"):
        assert part in str(caught.value)


def test_file_of_another_model_is_refused(exported, quadrants):
    from tfcompress._keras import keras

    other = keras.models.clone_model(quadrants.model)
    # Kernels alone: of a variance below zero some processors make NaN, others a number.
    weights = quadrants.model.get_weights()
    other.set_weights([-weight if weight.ndim > 1 else weight for weight in weights])
    parity = export.parity(exported("int8"), other, quadrants.inputs[:64])
    with pytest.raises(ParityError):
        parity_limits.require_parity(parity, "int8")


def test_outputs_that_are_not_finite_are_refused(exported, quadrants):
    from tfcompress._keras import keras

    broken = keras.models.clone_model(quadrants.model)
    broken.set_weights([weight * np.nan for weight in quadrants.model.get_weights()])
    with pytest.raises(ParityError, match="Keras model gives 12 outputs that are NaN"):
        export.parity(exported("int8"), broken, quadrants.inputs[:3])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"formats": ("int8", "tiny")}, "Unknown export format: 'tiny'"),
        ({"formats": ()}, "at least one"),
        ({"formats": ("int8", "int8")}, "each once"),
        ({"calibration_size": 0}, "calibration_size must be at least 1"),
        ({"bias_scales": False}, "belongs to minimal files"),
    ],
)
def test_config_refuses(fields, said):
    with pytest.raises(ValueError, match=said):
        ExportConfig(**fields)


def test_one_scale_for_a_dense_layer(quadrants):
    def dense_scales(**options):
        made = export.convert(
            quadrants.model,
            "int8",
            calibration=quadrants.inputs[:64],
            metadata=quadrants.metadata,
            **options,
        )
        (dense,) = [w for w in made.weights().values() if w.used_by.startswith("FULLY_CONNECTED")]
        return np.size(dense.scale)

    assert dense_scales() == 4
    assert dense_scales(dense_per_channel=False) == 1


@pytest.mark.parametrize("format", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Bidirectional", "RNN"])
def test_recurrent_layers_are_exported_step_by_step(kind, format):
    from tfcompress._keras import keras

    layers = keras.layers
    layer = {
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3)),
        "RNN": lambda: layers.RNN(layers.LSTMCell(3)),
    }.get(kind, lambda: getattr(layers, kind)(3))()
    keras.utils.set_random_seed(0)
    inputs = keras.Input([5, 4])
    model = keras.Model(inputs, layers.Dense(2)(layer(inputs)))
    given = np.random.default_rng(0).normal(size=(32, 5, 4)).astype(np.float32)
    artifact = convert(model, format, calibration=given)
    expected = model(given).numpy()
    tolerance = 1e-5 if format == "float32" else 0.05 * np.abs(expected).max()
    assert np.abs(artifact.run(given, batch_size=8) - expected).max() < tolerance
    assert not getattr(layer, "unroll", False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(quadrants, value):
    from tfcompress._keras import keras

    model = keras.models.clone_model(quadrants.model)
    model.set_weights(quadrants.model.get_weights())
    kernel = model.get_layer("conv").get_weights()[0]
    kernel[0, 0, 0, :2] = value
    model.get_layer("conv").set_weights([kernel])
    with pytest.raises(
        ValueError, match=r"convert: 2 of the 72 numbers of kernel of the layer conv"
    ):
        convert(model, "float32")


# Values instead of classes.

TARGETS = ("a_m", "b_m", "c_m", "d_m")


def test_targets_in_the_metadata_make_the_outputs_values(quadrants):
    metadata = {"preprocessing": quadrants.preprocessing, "targets": TARGETS}
    artifact = convert(quadrants.model, "float32", metadata=metadata)
    assert artifact.output == "values"
    measured = artifact.predict(quadrants.images[:2])
    expected = quadrants.model.predict(quadrants.inputs[:2], verbose=0)
    assert [tuple(each.values) for each in measured] == [TARGETS] * 2
    np.testing.assert_allclose(
        [list(each.values.values()) for each in measured], expected, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="gives 4 values: a_m, b_m"):
        _ = measured[0].value
    parity = export.parity(artifact, quadrants.model, quadrants.inputs[:64])
    assert parity.top1_agreement is None
    assert parity.relative_difference < 1e-5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": TARGETS[:3]}, "model's 4 values.*Received: 3 names"),
        ({"targets": TARGETS, "output": "logits"}, "Received: 4 names, output 'logits'"),
        ({"targets": TARGETS, "labels": TARGETS}, "no labels.*, labels"),
        ({"targets": ("a", "a", "b", "c")}, "targets that name two values alike: 'a'"),
        ({"targets": 4}, "no usable targets"),
    ],
)
def test_targets_that_do_not_fit_are_refused(quadrants, changes, says):
    with pytest.raises(ValueError, match=says):
        convert(quadrants.model, "float32", metadata=changes)


def test_parity_of_values_by_hand(quadrants, exported):
    metadata = {"preprocessing": quadrants.preprocessing, "targets": TARGETS}
    artifact = exported("int8").with_metadata(
        {"output": "values", "preprocessing": metadata["preprocessing"].to_dict()}
    )
    inputs = quadrants.inputs[:32]
    expected = quadrants.model.predict(inputs, verbose=0)
    difference = np.abs(artifact.run(inputs) - expected)
    found = export.parity(artifact, quadrants.model, inputs)
    relative = (difference / expected.std(axis=0)).mean()
    assert found.relative_difference == pytest.approx(relative, rel=1e-3)
    assert found.mean_difference == pytest.approx(difference.mean(), rel=1e-3)


@pytest.mark.parametrize(
    ("format", "relative", "refused"),
    [("float32", 0.009, False), ("float32", 0.02, True), ("int8", 0.4, False), ("int8", 0.6, True)],
)
def test_values_that_disagree_grossly_are_refused(format, relative, refused):
    parity = Parity(64, None, 90.0, 30.0, 1.0, relative_difference=relative)
    if not refused:
        parity_limits.require_parity(parity, format)
        return
    with pytest.raises(ParityError, match=f"values differ by {relative} of their standard dev"):
        parity_limits.require_parity(parity, format)
    # Within four steps of a coarse output it is rounding.
    coarse = replace(parity, output_scale=10.0)
    if format == "int8":
        parity_limits.require_parity(coarse, format)
