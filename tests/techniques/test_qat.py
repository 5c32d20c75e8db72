"""Quantization-aware training: contract, partial quantization, the int8 file against the model."""

import numpy as np
import pytest

from tfcompress import compose, recipe
from tfcompress.export import convert, inference
from tfcompress.techniques import VerificationError, _integer_model, qat
from tfcompress.techniques.qat import QATConfig


def wrapped(model, config):
    return qat.wrap(model, config, steps_per_epoch=1, epochs=1)


def trained_briefly(model, images, labels, *, learning_rate=0.0, epochs=1):
    from tfcompress._keras import keras

    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def calibrated(digits):
    return QATConfig(calibration=digits.train_inputs[:128])


@pytest.fixture(scope="module")
def trained(digits, calibrated):
    model = trained_briefly(
        wrapped(digits.model, calibrated),
        digits.train_inputs,
        digits.train_labels,
        learning_rate=1e-3,
        epochs=2,
    )
    return qat.strip(model)


def top1(outputs):
    return outputs.argmax(axis=1)


def test_the_int8_file_computes_what_was_trained(trained, digits):
    artifact = convert(trained, "int8", metadata=digits.metadata)
    ours, theirs = trained.predict(digits.inputs, verbose=0), artifact.run(digits.inputs)
    step = artifact.session().output_details.scale
    assert np.mean(top1(ours) == top1(theirs)) >= 0.99
    assert np.abs(ours - theirs).mean() / step < 0.5
    assert artifact.integer_operators == len(artifact.operators)
    accuracy = np.mean(top1(digits.model.predict(digits.inputs, verbose=0)) == digits.labels)
    assert np.mean(top1(theirs) == digits.labels) >= accuracy - 0.03


def test_a_calibrated_model_is_as_good_before_any_training(digits, calibrated):
    model = qat.strip(wrapped(digits.model, calibrated))
    qat.verify(model, calibrated)
    expected = digits.model.predict(digits.inputs, verbose=0)
    found = model.predict(digits.inputs, verbose=0)
    assert np.mean(top1(found) == top1(expected)) >= 0.98


def test_calibration_leaves_the_callers_model_alone(digits, calibrated):
    before = [weight.copy() for weight in digits.model.get_weights()]
    wrapped(digits.model, calibrated)
    for old, new in zip(before, digits.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_in_half_precision_is_quantized_in_float32(digits, calibrated, precision):
    from tfcompress import placement

    model = placement.placed(digits.model, strategy="none", precision=precision)
    found = qat.strip(wrapped(model, calibrated))
    assert {layer.compute_dtype for layer in found.layers if layer.weights} == {"float32"}
    expected = qat.strip(wrapped(digits.model, calibrated))
    np.testing.assert_array_equal(
        found.predict(digits.inputs, verbose=0), expected.predict(digits.inputs, verbose=0)
    )


def test_an_uncalibrated_model_must_see_a_batch(digits):
    model = wrapped(digits.model, QATConfig())
    with pytest.raises(VerificationError, match="has seen no batch"):
        qat.verify(model, QATConfig())
    trained_briefly(model, digits.train_inputs[:64], digits.train_labels[:64])
    qat.verify(model, QATConfig())


def test_a_layer_that_is_skipped_stays_float(digits, calibrated):
    config = QATConfig(skip="point*", calibration=calibrated.calibration)
    model = qat.strip(wrapped(digits.model, config))
    report = qat.report(digits.model, model, config)
    skipped = {layer.name: layer.reason for layer in report.layers if not layer.treated}
    assert skipped["pointwise"] == "named in skip=point*"
    assert not _integer_model.is_quantized(model.get_layer("pointwise"))
    artifact = convert(model, "int8", metadata=digits.metadata)
    qat.verify_artifact(artifact, report, config)
    kinds = {weight.used_by: str(weight.values.dtype) for weight in artifact.weights().values()}
    assert "float32" in {str(w.values.dtype) for w in artifact.weights().values()}, kinds
    assert 0 < artifact.integer_operators < len(artifact.operators)
    found = top1(artifact.run(digits.inputs))
    assert np.mean(found == top1(model.predict(digits.inputs, verbose=0))) >= 0.99


@pytest.mark.parametrize("name", ["logits", "conv*"])
def test_the_last_or_first_layer_may_stay_float(digits, calibrated, name):
    config = QATConfig(skip=name, calibration=calibrated.calibration)
    model = qat.strip(wrapped(digits.model, config))
    artifact = convert(model, "int8", metadata=digits.metadata)
    found = top1(artifact.run(digits.inputs))
    assert np.mean(found == top1(model.predict(digits.inputs, verbose=0))) >= 0.99


def test_a_name_that_fits_no_layer_is_refused(digits):
    with pytest.raises(ValueError, match=r"qat: skip=convolution fits no layer"):
        wrapped(digits.model, QATConfig(skip="convolution"))


def test_a_float_file_is_found_out(trained, digits, calibrated):
    report = qat.report(digits.model, trained, calibrated)
    artifact = convert(digits.model, "float32", metadata=digits.metadata)
    with pytest.raises(VerificationError, match=r"qat: 4,272 weights .* are not int8"):
        qat.verify_artifact(artifact, report, calibrated)


def test_a_model_that_was_not_wrapped_is_found_out(digits):
    with pytest.raises(VerificationError, match="no quantized layer"):
        qat.verify(digits.model, QATConfig())


def test_a_quantized_model_is_refused(trained):
    with pytest.raises(ValueError, match="quantized model"):
        wrapped(trained, QATConfig())


def test_a_model_with_nothing_to_quantize_is_refused():
    from tfcompress._keras import keras

    inputs = keras.Input([6, 4])
    model = keras.Model(inputs, keras.layers.LSTM(4, name="memory")(inputs))
    with pytest.raises(ValueError, match=r"qat can treat no layer.*memory.*no integer form"):
        wrapped(model, QATConfig())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros([4, 8, 8, 3], np.float32), r"shapes \(.*, 1\).*Received: \(4, 8, 8, 3\)"),
        (np.zeros([0, 8, 8, 1], np.float32), "at least one example"),
        ([np.zeros([4, 8, 8, 1], np.float32)] * 2, "one array for each"),
        (np.zeros([4, 8, 8, 1]), "must be float32.*Received: float64"),
        (np.full([4, 8, 8, 1], np.nan, np.float32), "256 numbers that are NaN"),
        ("images", "at least one example"),
    ],
    ids=["channels", "none", "two", "float64", "nan", "text"],
)
def test_calibration_that_does_not_fit_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        wrapped(planted([2], 1.0, normalized=False), QATConfig(calibration=images))


def test_several_inputs_and_outputs_are_quantized():
    from tfcompress._keras import keras

    layers = keras.layers
    left, right = keras.Input([6, 6, 2], name="left"), keras.Input([6, 6, 2], name="right")
    shared = layers.Conv2D(3, 3, activation="relu", name="shared")
    both = layers.Concatenate()([shared(left), shared(right)])
    outputs = [layers.Conv2D(2, 1, name="one")(both), layers.Dense(2, name="two")(both)]
    model = keras.Model([left, right], outputs)
    images = [np.random.default_rng(n).normal(size=(32, 6, 6, 2)).astype("f") for n in range(2)]
    found = qat.strip(wrapped(model, QATConfig(calibration=images)))
    qat.verify(found, QATConfig())
    for ours, theirs in zip(found.predict(images), model.predict(images), strict=True):
        assert np.abs(ours - theirs).mean() < 0.05 * np.abs(theirs).max()


def test_a_model_with_a_recurrent_layer_is_quantized_around_it():
    from tfcompress._keras import keras

    layers = keras.layers
    inputs = keras.Input([8, 8, 2])
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.LSTM(5, name="memory")(layers.Reshape([36, 4])(x))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype(np.float32)
    config = QATConfig(calibration=images)
    assert dict(qat.skipped(model, config)) == {"memory": "LSTM has no integer form here"}
    found = qat.strip(wrapped(model, config))
    expected = model.predict(images, verbose=0)
    assert np.abs(found.predict(images, verbose=0) - expected).mean() < 0.05


def test_range_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"range_decay must be in \[0, 1\)\. Received: 1"):
        QATConfig(range_decay=1.0)


def planted(dead, scale, *, normalized):
    """A classifier in which some channels have all but no weights, and large biases."""
    from tfcompress._keras import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input([8, 8, 1])
    x = layers.Conv2D(8, 3, name="planted", use_bias=not normalized)(inputs)
    if normalized:
        x = layers.BatchNormalization(name="normal")(x)
    x = layers.Flatten()(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x))
    kernel, *bias = model.get_layer("planted").get_weights()
    kernel[..., dead] *= scale
    if normalized:
        gamma, beta, mean, variance = model.get_layer("normal").get_weights()
        beta[dead] = 60.0
        model.get_layer("normal").set_weights([gamma, beta, mean, variance])
    else:
        bias[0][dead] = 60.0
    model.get_layer("planted").set_weights([kernel, *bias])
    return model


def difference_of_file(model, images):
    """Greatest difference of the int8 file from the fake-quantized model, in output steps."""
    artifact = convert(qat.strip(model), "int8", metadata={})
    step = artifact.session().output_details.scale
    return np.abs(artifact.run(images) - inference(model)(images)).max() / step


@pytest.mark.parametrize("normalized", [False, True], ids=["bias", "normalized"])
@pytest.mark.parametrize("scale", [1e-9, 0.0])
@pytest.mark.parametrize("dead", [[2], [0, 1, 2, 3, 4, 5]], ids=["one", "most"])
def test_a_near_dead_channel_with_a_large_bias_does_not_saturate(dead, scale, normalized):
    images = np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32)
    model = wrapped(planted(dead, scale, normalized=normalized), QATConfig(calibration=images))
    assert difference_of_file(model, images) < 3


def test_without_room_for_the_bias_it_does():
    """What the room is there for; if this fails, the converter has learned to make it."""
    from tfcompress.techniques import _quantized_layers

    images = np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32)
    model = wrapped(planted([2], 1e-9, normalized=False), QATConfig(calibration=images))
    kernel = next(
        layer for layer in model.layers if isinstance(layer, _quantized_layers.QuantizedKernel)
    )
    ((weights, _, variables),) = kernel._weight_vars
    variables["extent"].assign(np.maximum(np.abs(weights.numpy()).max((0, 1, 2)), 1e-12))
    artifact = convert(model, "int8", metadata={})
    step = artifact.session().output_details.scale
    assert np.abs(artifact.run(images) - inference(model)(images)).max() / step > 10


def test_a_large_bias_keeps_its_room_while_its_channel_dies_in_training():
    """The range follows the weights of each step, and the bias with them."""
    images = np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32)
    source = planted([2], 1.0, normalized=True)
    model = wrapped(source, QATConfig(calibration=images))
    kernel = model.get_layer("quant_planted")
    ((weights, _, _),) = kernel._weight_vars
    values = weights.numpy()
    values[..., 2] *= 1e-9
    weights.assign(values)
    trained_briefly(model, images, np.zeros(64))
    assert difference_of_file(model, images) < 3


def test_a_channel_whose_statistics_are_taken_anew_keeps_room_for_its_bias():
    """A shift that moves after the training makes a bias that the range did not know of."""
    images = np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32)
    model = wrapped(planted([2], 1e-9, normalized=True), QATConfig(calibration=images))
    (norm,) = (layer for layer in model.layers if type(layer).__name__ == "BatchNormalization")
    gamma, beta, mean, variance = norm.get_weights()
    beta[2] = 0.0
    norm.set_weights([gamma, beta, mean, variance])
    qat.refit(model)
    ranges = qat.strip(model).get_layer("quant_planted")._weight_vars[0][2]["extent"].numpy()
    beta[2] = 6.0
    norm.set_weights([gamma, beta, mean, variance])
    qat.refit(model)
    qat.strip(model)
    assert ranges[2] < 0.1 * model.get_layer("quant_planted")._weight_vars[0][2]["extent"][2]
    assert difference_of_file(model, images) < 3


def test_a_recipe_that_takes_statistics_anew_takes_the_ranges_anew():
    """A mean that hid a large shift from the ranges is no longer there after the training."""
    images = np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32)
    # The other channel, whose shift is seen from the start, makes the tensor's range wide.
    source = planted([2, 3], 1e-9, normalized=True)
    gamma, beta, mean, variance = source.get_layer("normal").get_weights()
    mean[2] = beta[2] * np.sqrt(variance[2] + 1e-3) / gamma[2]
    source.get_layer("normal").set_weights([gamma, beta, mean, variance])
    model = wrapped(source, QATConfig(calibration=images))
    stages = compose.plan(recipe.parse("qat(reestimate=true)")).stages
    assert compose.reestimate(stages, model, images) == 1
    assert difference_of_file(qat.strip(model), images) < 3


def images(count=48):
    return np.random.default_rng(0).normal(size=[count, 8, 8, 3]).astype(np.float32)


def quantized(model, **settings):
    return qat.strip(wrapped(model, QATConfig(calibration=images(), **settings)))


def network(*, activation="relu", normalized=False):
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([8, 8, 3])
    if normalized:
        x = layers.Conv2D(8, 3, name="conv")(inputs)
        x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    else:
        x = layers.Conv2D(8, 3, activation=activation, name="conv")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="logits")(layers.Flatten()(x)))


def largest_difference(model, artifact):
    """In steps of the output."""
    difference = np.abs(artifact.run(images()) - inference(model)(images()))
    return difference.max() / artifact.session().output_details.scale


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_works_where_the_process_computes_in_half_precision(policy):
    from tfcompress._keras import keras

    keras.mixed_precision.set_global_policy(policy)
    try:
        found = quantized(network())
        artifact = convert(found, "int8")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert artifact.integer_operators == len(artifact.operators)
    assert largest_difference(found, artifact) <= 1.01


def test_a_channel_that_is_switched_off_leaves_the_others_integer():
    model = network(normalized=True)
    gamma, beta, *statistics = model.get_layer("norm").get_weights()
    gamma[:2], beta[:] = 0, 0.5
    model.get_layer("norm").set_weights([gamma, beta, *statistics])
    found = quantized(model)
    artifact = convert(found, "int8")
    assert artifact.integer_operators == len(artifact.operators)
    assert largest_difference(found, artifact) <= 1.01
    # Of outputs between -3 and 3, 8 bits leave some hundredths.
    assert np.abs(inference(found)(images()) - inference(model)(images())).mean() < 0.03


@pytest.mark.parametrize("bias", [-100.0, 0.0])
def test_a_tensor_that_is_always_zero_is_quantized(bias):
    model = network()
    kernel, shift = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([kernel * (bias != 0), shift + bias])
    found = quantized(model)
    artifact = convert(found, "int8")
    assert artifact.integer_operators == len(artifact.operators)
    assert largest_difference(found, artifact) <= 1.01


def test_what_is_not_finite_is_refused():
    model = network()
    kernel, shift = model.get_layer("conv").get_weights()
    kernel[0, 0, 0, 0] = np.inf
    model.get_layer("conv").set_weights([kernel, shift])
    with pytest.raises(ValueError, match="qat: 1 of the 216 numbers of kernel of the layer conv"):
        quantized(model)


def test_an_activation_within_a_layer_that_stays_in_float_is_listed():
    model = network(activation="elu")
    reason = "elu has no integer form here"
    assert qat.skipped(model, QATConfig()) == {"conv/activation": reason}
    report = qat.report(model, quantized(model), QATConfig())
    assert {layer.name: layer.reason for layer in report.layers if layer.reason} == {
        "conv": f"activation: {reason}"
    }


def test_bytes_that_go_in_are_scaled_in_float():
    from tfcompress._keras import keras

    inputs = keras.Input([8, 8, 3], dtype="uint8")
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255, name="scale")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    assert list(qat.skipped(model, QATConfig())) == ["scale"]
    assert wrapped(model, QATConfig()).input_shape == (None, 8, 8, 3)


def test_a_layer_of_several_outputs_is_quantized_around():
    from tfcompress._keras import keras

    inputs = keras.Input([8, 6])
    attention = keras.layers.MultiHeadAttention(2, 3, name="attention")
    x, scores = attention(inputs, inputs, return_attention_scores=True)
    model = keras.Model(inputs, [keras.layers.Dense(2)(x), scores])
    names = [layer.name for layer in wrapped(model, QATConfig()).layers]
    assert {"attention_range", "attention_range_output1"} <= set(names)


def test_what_is_taken_from_a_pooled_maximum_beside_a_mean_is_integer():
    """As in the first block of Inception."""
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([8, 8, 3])
    x = layers.MaxPooling2D(3, 2)(layers.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    mean = layers.AveragePooling2D(3, 1, padding="same")(x)
    branches = [layers.Conv2D(4, 1, activation="relu")(part) for part in (x, x, mean)]
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()(branches))
    model = keras.Model(inputs, layers.Dense(4)(x))
    found = quantized(model)
    artifact = convert(found, "int8")
    assert artifact.integer_operators == len(artifact.operators)
    assert largest_difference(found, artifact) <= 1.01


def test_variances_that_round_to_zero_are_trained_and_exported():
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([8, 8, 3])
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(8, 1)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Dense(16, activation="gelu")(x))
    model = keras.Model(inputs, layers.Dense(4)(x))
    given = images()
    # A thousandth of the others' size, a millionth of their variance.
    given[:, :4] *= 1e-3
    found = wrapped(model, QATConfig(calibration=given))
    found.compile(keras.optimizers.SGD(1e-3), "mse")
    history = found.fit(given, np.zeros([len(given), 4]), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    artifact = convert(qat.strip(found), "int8")
    assert artifact.integer_operators == len(artifact.operators)
    difference = np.abs(artifact.run(given) - inference(found)(given))
    assert difference.max() <= 1.01 * artifact.session().output_details.scale


def test_equal_kernels_that_the_file_stores_once_are_no_floats():
    from tfcompress._keras import keras
    from tfcompress.graph._layers import ChannelScale

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    for number in range(3):
        y = ChannelScale(0.5, name=f"scale{number}")(layers.Conv2D(4, 1)(x))
        x = layers.Add()([x, y])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    found = quantized(model)
    artifact = convert(found, "int8")
    assert len(artifact.weights()) < 8
    qat.verify_artifact(artifact, qat.report(model, found, QATConfig()), QATConfig())
    with pytest.raises(VerificationError, match=r"qat: \d+ weights .* layers .* float have 0"):
        qat.verify_artifact(
            convert(model, "float32"), qat.report(model, found, QATConfig()), QATConfig()
        )


def test_the_gradient_passes_a_range_in_training_alone():
    """Also where a value lies beyond it; the range follows."""
    from tfcompress._keras import keras, tf

    k = keras.layers
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), k.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")]
    )
    calibration = np.linspace(-1, 1, 64, dtype=np.float32).reshape(16, 2, 2, 1)
    quantized = wrapped(model, QATConfig(calibration=calibration))
    images = tf.constant([-3.0, -0.5, 0.5, 3.0], shape=(1, 2, 2, 1))
    for training, expected in ((True, [1, 1, 1, 1]), (False, [0, 1, 1, 0])):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = quantized(images, training=training)
        gradient = tape.gradient(outputs, images)
        np.testing.assert_allclose(np.ravel(gradient), expected, atol=1e-6)


def test_the_gradient_of_a_kernel_is_that_of_its_rounded_weights():
    """No weight lies beyond a range that is read from it: none is stopped, none is scaled."""
    from tfcompress._keras import keras, tf

    k = keras.layers
    model = keras.Sequential([keras.Input((1, 1, 3)), k.Conv2D(2, 1, name="conv")])
    images = np.random.default_rng(0).uniform(-1, 1, (64, 1, 1, 3)).astype(np.float32)
    quantized = wrapped(model, QATConfig(calibration=images))
    kernel = quantized.get_layer("quant_conv").kernel
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(quantized(images, training=True))
    # Of a sum over all outputs, each channel's weights have the sum of the rounded inputs.
    rounded = quantized.get_layer(f"{model.inputs[0].name}_range")(images, training=False)
    expected = np.repeat(np.sum(rounded, axis=(0, 1, 2))[:, None], 2, axis=1)
    np.testing.assert_allclose(tape.gradient(total, kernel)[0, 0], expected, atol=1e-4)


@pytest.mark.parametrize(("slope", "least"), [(0.0, "zero"), (0.1, "moved")])
def test_the_range_of_a_relu_begins_at_zero_where_it_has_no_slope(slope, least):
    """With a slope and a limit it has no integer form, and what takes it is quantized."""
    from tfcompress._keras import keras

    k = keras.layers
    inputs = keras.Input((2, 2, 3))
    relu = k.ReLU(max_value=6, negative_slope=slope, name="relu")
    model = keras.Model(inputs, k.Conv2D(4, 1)(relu(inputs)))
    images = np.random.default_rng(0).uniform(-1, 1, (64, 2, 2, 3)).astype(np.float32)
    quantized = wrapped(model, QATConfig(calibration=images))
    found = [
        layer.quantizer
        for layer in quantized.layers
        if type(layer).__name__ == "Quantize" and "relu" in layer.name
    ]
    (quantizer,) = found
    before = [end.numpy() for end in quantizer.limits()]
    quantized(2 * images, training=True)
    low, high = (end.numpy() for end in quantizer.limits())
    assert high > before[1]
    if least == "zero":
        assert low == 0
    else:
        assert low < before[0] < -0.05
