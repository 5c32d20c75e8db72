"""The layers of the normal form that Keras lacks: values, descriptions, conversion to TFLite."""

import math
import subprocess
import sys

import numpy as np
import pytest

from tfcompress._keras import keras
from tfcompress.export import convert
from tfcompress.graph import _layers

X = np.float32([[-4.0, -1.0, 0.5, 4.0]])
IMAGES = np.arange(2 * 2 * 2 * 4, dtype=np.float32).reshape(2, 2, 2, 4) - 10
TOKENS = np.int32([[7, 0, 1, 5], [1, 9, 1, 1]])

LAYERS = {
    "hard_sigmoid": (_layers.HardSigmoid(), X, [[0, 1 / 3, 3.5 / 6, 1]]),
    "hard_swish": (_layers.HardSwish(), X, [[0, -1 / 3, 1.75 / 6, 4]]),
    # 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    "approximate_gelu": (
        _layers.ApproximateGelu(),
        X,
        [
            [
                0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
                for x in X[0].tolist()
            ]
        ],
    ),
    "channel_scale": (_layers.ChannelScale(initial=0.5), X, X / 2),
    "mean": (_layers.Reduce("mean", [1]), X, [-0.125]),
    "sum": (
        _layers.Reduce("sum", [1, 2], keepdims=True),
        IMAGES,
        IMAGES.sum((1, 2), keepdims=True),
    ),
    "max": (_layers.Reduce("max", [3]), IMAGES, IMAGES.max(3)),
    "min": (_layers.Reduce("min", [2]), IMAGES, IMAGES.min(2)),
    "square": (_layers.Elementwise("square"), X, X**2),
    "power": (_layers.Power(3.0), X, X**3),
    "clip": (_layers.Clip(-2.0, 3.0), X, [[-2, -1, 0.5, 3]]),
    "clip_below": (_layers.Clip(minimum=0.25), X, [[0.25, 0.25, 0.5, 4]]),
    "slice": (_layers.Slice([1, [None, None, -1], None, [0, 3, 2]]), IMAGES, None),
    "pad": (_layers.Pad([[1, 0], [0, 0], [0, 2]], value=7.0), IMAGES, None),
    "reflect": (_layers.Pad([[1, 1], [0, 0], [2, 0]], mode="reflect"), IMAGES, None),
    # Channel c of a pixel goes to row c // 2, column c % 2 of its block.
    "depth_to_space": (
        _layers.DepthToSpace(2),
        np.float32([[[[1, 2, 3, 4]]]]),
        [[[[1], [2]], [[3], [4]]]],
    ),
    "space_to_depth": (
        _layers.SpaceToDepth(2),
        np.float32([[[[1], [2]], [[3], [4]]]]),
        [[[[1, 2, 3, 4]]]],
    ),
    "stop_gradient": (_layers.StopGradient(), X, X),
    "position_ids": (_layers.PositionIds(), TOKENS, [[0, 1, 2, 3], [0, 1, 2, 3]]),
    "position_ids_of_roberta": (_layers.PositionIds(1), TOKENS, [[2, 3, 1, 4], [1, 2, 1, 1]]),
    "token_mask": (_layers.TokenMask(1), TOKENS, [[1, 1, 0, 1], [0, 1, 0, 0]]),
}
EXPECTED = {
    "slice": IMAGES[:, 1, ::-1, None, 0:3:2],
    "pad": np.pad(IMAGES, [(0, 0), (1, 0), (0, 0), (0, 2)], constant_values=7),
    "reflect": np.pad(IMAGES, [(0, 0), (1, 1), (0, 0), (2, 0)], mode="reflect"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_computes_what_it_says(name):
    layer, inputs, expected = LAYERS[name]
    received = np.asarray(layer(inputs))
    expected = np.asarray(EXPECTED.get(name, expected), np.float32)
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_made_again_from_its_description(name):
    layer, inputs, _ = LAYERS[name]
    described = keras.saving.serialize_keras_object(layer)
    assert described["registered_name"] == f"tfcompress>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(described)
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(inputs), layer(inputs))


def test_a_saved_layer_is_known_to_the_keras_runtime_of_another_process(tmp_path):
    inputs = keras.Input([4])
    path = tmp_path / "model.keras"
    keras.Model(inputs, _layers.HardSwish()(inputs)).save(path)
    program = (
        "import sys, numpy; from tfcompress import runtimes; "
        "session = runtimes.choose('keras').open(sys.argv[1]); "
        "print(session.run([numpy.float32([[-1, 0, 3, 4]])])[0].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[[-0.3333333432674408, 0.0, 3.0, 4.0]]", done.stderr


def test_layers_of_two_tensors():
    first, second = np.float32([[[2, 4]]]), np.float32([[[4, 8]]])
    assert _layers.Divide()([first, second]).numpy().tolist() == [[[0.5, 0.5]]]
    assert _layers.MatMul(transpose_b=True)([first, second]).numpy().tolist() == [[[40]]]
    product = _layers.MatMul(transpose_a=True)([first, second])
    assert product.numpy().tolist() == [[[8, 16], [16, 32]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _layers.Reduce("median", [1]), "Reduce.kind must be one of mean, sum, max, min"),
        (lambda: _layers.Elementwise("system"), "Elementwise.kind must be one of abs, .*'system'"),
        (lambda: _layers.Pad([[1, 1]], mode="wrap"), "Pad.mode must be one of constant, reflect"),
    ],
)
def test_unknown_kind_is_answered_with_the_known_ones(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_channel_scale_is_trained():
    inputs = keras.Input([3])
    model = keras.Model(inputs, _layers.ChannelScale(2.0, name="scale")(inputs))
    assert [(weight.name, tuple(weight.shape)) for weight in model.trainable_weights] == [
        ("scale/gamma:0", (3,))
    ]


def is_layer(kind):
    return isinstance(kind, type) and issubclass(kind, keras.layers.Layer)


def every_layer(*, power=True):
    """A model of [4, 4, 4] images with each of the layers in it."""
    inputs = keras.Input([4, 4, 4])
    x = _layers.ChannelScale(0.5)(inputs)
    x = _layers.HardSwish()(x)
    x = _layers.Pad([[1, 1], [1, 1], [0, 0]], value=0.5)(x)
    x = _layers.Slice([[1, 5, None], [0, None, 2], [None, None, -1]])(x)
    x = _layers.SpaceToDepth(2)(_layers.DepthToSpace(2)(x))
    x = _layers.StopGradient()(_layers.ApproximateGelu()(x))
    x = keras.layers.Multiply()(
        [x, _layers.HardSigmoid()(_layers.Reduce("mean", [1, 2], keepdims=True)(x))]
    )
    x = _layers.Elementwise("square")(_layers.Clip(-2.0, 2.0)(x))
    x = _layers.Power(1.5)(x) if power else x
    x = _layers.Divide()([x, keras.layers.Rescaling(1.0, 1.0)(x)])
    x = _layers.MatMul(transpose_b=True)([x, x])
    return keras.Model(inputs, _layers.Reduce("max", [1, 2])(x))


def test_every_layer_becomes_an_operator_of_tflite():
    model = every_layer()
    used = {type(layer) for layer in model.layers}
    # Numbers of tokens have no place in a model of images; tests/encoders has them in a file.
    used |= {_layers.PositionIds, _layers.TokenMask}
    assert {kind for kind in vars(_layers).values() if is_layer(kind)} <= used
    artifact, largest = converted(model, "float32")
    assert "HARD_SWISH" in {operator.name for operator in artifact.operators}
    assert largest < 1e-5


def test_layers_are_quantized_to_integers():
    # TFLite has no integer operator for powers.
    artifact, largest = converted(every_layer(power=False), "int8")
    assert artifact.integer_operators == len(artifact.operators)
    # Some steps of the output's scale.
    assert largest < 0.1


def converted(model, format):
    """The file and the largest difference of its outputs from the model's."""
    images = np.random.default_rng(0).normal(0, 2, [8, 4, 4, 4]).astype(np.float32)
    artifact = convert(model, format, calibration=images)
    return artifact, np.abs(artifact.run(images) - model(images)).max()
