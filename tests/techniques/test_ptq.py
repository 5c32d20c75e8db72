"""Post-training quantization: each of its means, and the file that comes of it."""

import numpy as np
import pytest

from tfcompress.export import convert, inference
from tfcompress.techniques import VerificationError, _integer_model, ptq
from tfcompress.techniques.ptq import PTQConfig

PLAIN = {
    "ranges": "minmax",
    "equalize": False,
    "rounding": "nearest",
    "bias_correction": False,
}


def uneven():
    """A network whose channels have ranges between 1 and 500."""
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([8, 8, 3])
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(inputs)
    x = layers.BatchNormalization(name="first_bn")(x)
    x = layers.DepthwiseConv2D(3, name="spatial")(layers.ReLU(name="relu")(x))
    x = layers.ZeroPadding2D()(layers.ReLU()(x))
    x = layers.Conv2D(8, 3, name="second")(x)
    x = layers.Conv2D(4, 1, name="third")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x))
    generator = np.random.default_rng(0)
    gamma, _, mean, variance = model.get_layer("first_bn").get_weights()
    scales = np.geomspace(0.5, 250, 8)
    model.get_layer("first_bn").set_weights([gamma * scales, 0.3 * scales, mean, variance])
    for name in ("spatial", "second"):
        kernel, bias = model.get_layer(name).get_weights()
        bias = generator.normal(0, 0.5, bias.shape)
        model.get_layer(name).set_weights([kernel, bias])
    kernel = model.get_layer("spatial").get_weights()[0] / scales[:, None]
    model.get_layer("spatial").set_weights([kernel, model.get_layer("spatial").get_weights()[1]])
    return model


def images(count=96, *, seed=0):
    return np.random.default_rng(seed).normal(size=[count, 8, 8, 3]).astype(np.float32)


def error(model, **settings):
    """Mean squared error of the int8 file's outputs on images that calibration did not see."""
    config = PTQConfig(calibration=images(), **{**PLAIN, **settings})
    quantized = ptq.quantize(model, config)
    unseen = images(256, seed=1)
    artifact = convert(quantized, "int8")
    assert artifact.integer_operators == len(artifact.operators)
    outputs = artifact.run(unseen)
    assert np.abs(outputs - inference(quantized)(unseen)).max() < 4 * _output_step(artifact)
    return float(np.mean(np.square(outputs - inference(model)(unseen))))


def _output_step(artifact):
    return artifact.session().output_details.scale


@pytest.fixture(scope="module")
def model():
    return uneven()


@pytest.fixture(scope="module")
def plain_error(model):
    return error(model)


def test_equalized_channels_make_the_error_smaller(model, plain_error):
    assert error(model, equalize=True) < 0.5 * plain_error


def test_a_corrected_bias_makes_the_error_smaller(model, plain_error):
    assert error(model, bias_correction=True) < plain_error


def test_adaptive_rounding_makes_the_error_smaller(model, plain_error):
    assert error(model, rounding="adaptive", steps=200) < plain_error


def test_the_given_model_stays_as_it_is(model):
    before = model.get_weights()
    ptq.quantize(model, PTQConfig(calibration=images(), steps=2))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_equalization_changes_no_output(model):
    from tfcompress.techniques._equalization import equalize

    normal = _integer_model.plain(model, technique="ptq", skip="")
    form = _integer_model.form_of(normal, ptq.PTQConfig(dense_per_channel=False), technique="ptq")
    unseen = images(seed=1)
    expected = inference(form.model)(unseen)
    # After first_bn, spatial and second; the mean after third is no kernel.
    assert equalize(form.model, images()) == 3
    np.testing.assert_allclose(inference(form.model)(unseen), expected, rtol=1e-4, atol=1e-5)
    gamma, beta, *_ = form.model.get_layer("first_bn").get_weights()
    assert np.ptp(np.log(gamma)) < np.ptp(np.log(model.get_layer("first_bn").get_weights()[0]))
    # Both by the same factor.
    np.testing.assert_allclose(beta, 0.3 * gamma, rtol=1e-5)


def _two_towers(layers):
    """Two convolutions, of very unlike channels, into one."""
    from tfcompress._keras import keras

    inputs = keras.Input([8, 8, 3])
    shared = layers.Conv2D(4, 1, name="shared")
    towers = [shared(layers.Conv2D(6, 1, name=name)(inputs)) for name in ("left", "right")]
    return keras.Model(inputs, layers.Conv2D(2, 1, name="last")(layers.Add()(towers)))


def _between(activation):
    """A convolution, an activation, and a convolution that takes it."""

    def made(layers):
        from tfcompress._keras import keras

        inputs = keras.Input([8, 8, 3])
        x = activation(layers)(inputs)
        return keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x))

    return made


@pytest.mark.parametrize(
    ("made", "points"),
    [
        (_two_towers, 0),
        (_between(lambda layers: layers.Conv2D(6, 1, activation="swish", name="left")), 0),
        (_between(lambda layers: layers.Conv2D(6, 1, activation="relu6", name="left")), 0),
        (_between(lambda layers: layers.Conv2D(6, 1, activation="relu", name="left")), 1),
        (
            _between(lambda la: lambda x: la.ReLU(max_value=0.5)(la.Conv2D(6, 1, name="left")(x))),
            0,
        ),
        (
            _between(lambda la: lambda x: la.ReLU(threshold=0.2)(la.Conv2D(6, 1, name="left")(x))),
            0,
        ),
    ],
)
def test_what_does_not_scale_along_stays(made, points):
    from tfcompress._keras import keras
    from tfcompress.techniques._equalization import equalize

    model = made(keras.layers)
    kernel, bias = model.get_layer("left").get_weights()
    model.get_layer("left").set_weights([kernel * np.geomspace(0.1, 10, 6), bias])
    before = inference(model)(images())
    assert equalize(model, images()) == points
    np.testing.assert_allclose(inference(model)(images()), before, rtol=1e-4, atol=1e-5)


def test_channels_that_reach_the_limit_of_a_relu6_stay():
    from tfcompress._keras import keras
    from tfcompress.techniques._equalization import equalize

    inputs = keras.Input([1, 1, 3])
    x = keras.layers.Conv2D(3, 1, name="first")(inputs)
    x = keras.layers.DepthwiseConv2D(1, name="spatial")(keras.layers.ReLU(6.0)(x))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="last")(x))
    model.get_layer("first").set_weights([np.eye(3).reshape(1, 1, 3, 3), np.zeros(3)])
    # Greatest values: beyond the limit, a third of it, next to nothing.
    given = np.array([[9, 2, 0.01]], np.float32).reshape(1, 1, 1, 3)
    before = inference(model)(given)
    equalize(model, given)
    kernel = model.get_layer("first").get_weights()[0].reshape(3, 3).diagonal()
    # A third of the limit has room for a headroom of 1.25; the last may grow 64-fold.
    np.testing.assert_allclose(kernel, [1, 6 / (1.25 * 2), 64], rtol=1e-5)
    np.testing.assert_allclose(inference(model)(given), before, rtol=1e-5, atol=1e-6)


def _highest(given, **settings):
    """Where the range of a tensor ends that has just these values."""
    from tfcompress._keras import keras
    from tfcompress.techniques._quantized_layers import Quantize

    inputs = keras.Input(given.shape[1:])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, use_bias=False, name="copy")(inputs))
    model.get_layer("copy").set_weights([np.ones([1, 1, 1, 1])])
    found = ptq.quantize(model, PTQConfig(**{**PLAIN, **settings}, calibration=given))
    *_, output = [layer.quantizer for layer in found.layers if isinstance(layer, Quantize)]
    return float(output.limits()[1])


@pytest.mark.parametrize(("kind", "expected"), [("minmax", 100), ("percentile", 0.98)])
def test_ranges_follow_the_data(kind, expected):
    given = np.random.default_rng(0).uniform(-1, 1, [32, 8, 8, 1]).astype(np.float32)
    given[0, 0, 0, 0] = 100
    assert _highest(given, ranges=kind, percentile=99.0) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("outlier", [2.0, 5.0])
def test_the_range_of_the_least_error_gives_up_an_outlier_as_far_as_it_pays(outlier):
    """One value in 131,072 is clipped to `high`; all others are rounded in steps of high / 255."""
    given = np.random.default_rng(0).uniform(0, 1, [32, 64, 64, 1]).astype(np.float32)
    given[0, 0, 0, 0] = outlier
    ends = np.linspace(0.25, 1, 1000) * outlier
    errors = (outlier - ends) ** 2 / given.size + (ends / 255) ** 2 / 12
    best = float(ends[np.argmin(np.where(ends < 1, np.inf, errors))])
    assert best < 0.9 * outlier
    assert _highest(given, ranges="mse") == pytest.approx(best, rel=0.03)


def test_adaptive_rounding_moves_no_weight_by_more_than_a_step_and_keeps_zeros(model):
    from tfcompress._keras import keras
    from tfcompress.techniques._quantized_layers import QuantizedKernel

    pruned = keras.models.clone_model(model)
    weights = model.get_weights()
    pruned.set_weights([np.where(np.abs(w) < 0.05, 0, w) if w.ndim == 4 else w for w in weights])
    config = PTQConfig(**{**PLAIN, "rounding": "adaptive", "steps": 60}, calibration=images())
    found = ptq.quantize(pruned, config)
    moved = 0
    for layer in found.layers:
        if isinstance(layer, QuantizedKernel) and layer.layer.name in ("first", "second"):
            step = np.asarray(layer.kernel_step())
            before = pruned.get_layer(layer.layer.name).get_weights()[0]
            after = layer.kernel.numpy()
            assert np.all(after[before == 0] == 0)
            assert (np.abs(after - before) / step).max() <= 1.001
            np.testing.assert_allclose(after / step, np.round(after / step), atol=1e-3)
            moved += int(np.sum(np.abs(after - before) > 0.5001 * step))
    assert moved > 0


@pytest.mark.parametrize("rank", [2, 3])
def test_a_dense_layer_has_a_range_for_each_output(rank):
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([6, 5] if rank == 3 else [5])
    x = layers.Dense(4, activation="relu", name="hidden")(inputs)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    kernel, bias = model.get_layer("hidden").get_weights()
    model.get_layer("hidden").set_weights([kernel * [1, 10, 100, 1000], bias])
    shape = [64, *inputs.shape[1:]]
    given = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for per_channel in (False, True):
        config = PTQConfig(**PLAIN, dense_per_channel=per_channel, calibration=given)
        artifact = convert(ptq.quantize(model, config), "int8")
        counts = sorted(len(weight.scale) for weight in artifact.weights().values())
        assert counts == ([3, 4] if per_channel else [1, 1])
        assert artifact.integer_operators == len(artifact.operators)


@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        (None, "ptq needs calibration images"),
        (np.zeros([4, 8, 8, 1], np.float32), r"PTQConfig.calibration must hold .*\(8, 8, 3\)"),
        (np.full([4, 8, 8, 3], np.nan, np.float32), "must be finite"),
        (np.zeros([0, 8, 8, 3], np.float32), "at least one example"),
    ],
)
def test_images_that_do_not_fit_are_refused(model, calibration, says):
    with pytest.raises(ValueError, match=says):
        ptq.quantize(model, PTQConfig(calibration=calibration))


def test_a_layer_can_stay_in_float(model):
    config = PTQConfig(**PLAIN, calibration=images(), skip="third")
    artifact = convert(ptq.quantize(model, config), "int8")
    assert 0 < artifact.integer_operators < len(artifact.operators)
    assert ptq.skipped(model, config) == {"third": "named in skip=third"}


def test_a_model_that_was_not_adjusted_is_found_out(model):
    wrapped = ptq.wrap(model, PTQConfig(), steps_per_epoch=1, epochs=1)
    with pytest.raises(VerificationError, match="has seen no batch"):
        ptq.verify(wrapped, PTQConfig())
