"""Operators by their canonical names: what they compute, how layers are named, what is refused."""

import itertools

import numpy as np
import pytest

from tfcompress._keras import keras
from tfcompress.graph import operators
from tfcompress.graph.operators import UnsupportedOperator

IMAGES = np.arange(2 * 2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2, 2) - 8


def computed(operator, *args, **kwargs):
    """What an operator gives for IMAGES as its first argument."""
    inputs = keras.Input([2, 2, 2])
    outputs = operators.call(operator, inputs, *args, **kwargs)
    return np.asarray(keras.Model(inputs, outputs)(IMAGES))


@pytest.mark.parametrize(
    ("operator", "arguments", "expected"),
    [
        ("add", {"x2": 2}, IMAGES + 2),
        ("add", {"x2": [1, 2]}, IMAGES + np.float32([1, 2])),
        ("subtract", {"x2": 2}, IMAGES - 2),
        ("multiply", {"x2": np.array([[[3.0, 4.0]]])}, IMAGES * [3, 4]),
        ("divide", {"x2": 4}, IMAGES / 4),
        ("power", {"x2": 2}, IMAGES**2),
        ("power", {"x2": 3}, IMAGES**3),
        ("power", {"x2": 1}, IMAGES),
        ("maximum", {"x2": -2.5}, np.maximum(IMAGES, -2.5)),
        ("minimum", {"x2": 2.5}, np.minimum(IMAGES, 2.5)),
        ("clip", {"x_min": -1, "x_max": 2}, np.clip(IMAGES, -1, 2)),
        ("negative", {}, -IMAGES),
        ("abs", {}, np.abs(IMAGES)),
        ("mean", {"axis": (1, 2)}, IMAGES.mean((1, 2))),
        ("mean", {"axis": 3, "keepdims": True}, IMAGES.mean(3, keepdims=True)),
        ("sum", {"axis": [-1]}, IMAGES.sum(-1)),
        ("max", {"axis": 1}, IMAGES.max(1)),
        ("min", {"axis": 2}, IMAGES.min(2)),
        ("norm", {"axis": 3}, np.linalg.norm(IMAGES, axis=3)),
        ("reshape", {"newshape": (-1, 4, 2)}, IMAGES.reshape(2, 4, 2)),
        ("reshape", {"newshape": (None, -1)}, IMAGES.reshape(2, 8)),
        ("flatten", {}, IMAGES.reshape(2, 8)),
        ("transpose", {"axes": [0, 3, 1, 2]}, IMAGES.transpose(0, 3, 1, 2)),
        ("expand_dims", {"axis": -1}, IMAGES[..., None]),
        ("getitem", {"key": (slice(None), 0, slice(None, None, -1))}, IMAGES[:, 0, ::-1]),
        ("getitem", {"key": (..., None, 1)}, IMAGES[..., None, 1]),
        (
            "getitem",
            {"key": [{"start": None, "stop": None, "step": None}, 1]},
            IMAGES[:, 1],
        ),
        ("reverse", {"axis": -1}, IMAGES[..., ::-1]),
        ("slice", {"begin": [0, 1, 0, 1], "size": [-1, 1, 2, -1]}, IMAGES[:, 1:, :, 1:]),
        ("pad", {"pad_width": [(0, 0), (1, 0), (0, 2), (0, 0)]}, None),
        ("pad", {"pad_width": [(0, 0), (0, 0), (1, 1), (0, 0)], "mode": "symmetric"}, None),
        ("relu", {}, np.maximum(IMAGES, 0)),
        ("relu6", {}, np.clip(IMAGES, 0, 6)),
        ("leaky_relu", {"negative_slope": 0.5}, np.where(IMAGES > 0, IMAGES, IMAGES / 2)),
        ("elu", {"alpha": 2}, np.where(IMAGES > 0, IMAGES, 2 * np.expm1(IMAGES))),
        ("silu", {}, IMAGES / (1 + np.exp(-IMAGES))),
        ("hard_sigmoid", {}, np.clip(IMAGES + 3, 0, 6) / 6),
        ("hard_swish", {}, IMAGES * np.clip(IMAGES + 3, 0, 6) / 6),
        ("identity", {}, IMAGES),
    ],
)
def test_operator_computes_what_numpy_does(operator, arguments, expected):
    if expected is None:
        width, mode = arguments["pad_width"], arguments.get("mode", "constant")
        expected = np.pad(IMAGES, width, mode=mode)
    received = computed(operator, **arguments)
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


def test_split_cuts_at_positions():
    inputs = keras.Input([6])
    parts = operators.call("split", inputs, [1, 4], axis=-1)
    outputs = keras.Model(inputs, parts)(np.float32([[0, 1, 2, 3, 4, 5]]))
    assert [part.numpy().tolist() for part in outputs] == [[[0]], [[1, 2, 3]], [[4, 5]]]


def test_average_of_three():
    inputs = [keras.Input([2]) for _ in range(3)]
    model = keras.Model(inputs, operators.call("average", inputs))
    assert model([np.float32([[value, 2]]) for value in (1, 2, 6)]).numpy().tolist() == [[3, 2]]


def test_squeeze_and_excite_broadcasts():
    images, gates = keras.Input([2, 2, 2]), keras.Input([1, 1, 2])
    model = keras.Model([images, gates], operators.call("multiply", images, gates))
    factors = np.float32([[[[2, 3]]], [[[4, 5]]]])
    np.testing.assert_array_equal(model([IMAGES, factors]), IMAGES * factors)


def test_arithmetic_on_numbers_alone_gives_a_number():
    assert operators.call("sqrt", operators.call("cast", 16, "float32")) == 4
    assert operators.call("multiply", 3, 4) == 12


def test_layers_are_named_by_the_caller():
    asked = []

    def naming(name):
        asked.append(name)
        return f"my_{name}_{len(asked)}"

    inputs = keras.Input([2, 2, 2])
    outputs = operators.call("norm", inputs, axis=[1, 2], naming=naming)
    names = [layer.name for layer in keras.Model(inputs, outputs).layers[1:]]
    assert asked == ["elementwise", "reduce", "elementwise"]
    assert names == ["my_elementwise_1", "my_reduce_2", "my_elementwise_3"]


def test_unnamed_layers_get_names_of_their_own():
    inputs = keras.Input([2, 2, 2])
    outputs = operators.call("add", operators.call("add", inputs, 1), 1)
    first, second = keras.Model(inputs, outputs).layers[1:]
    assert first.name != second.name


def test_layers_compute_in_the_type_of_the_tensor():
    inputs = keras.Input([2], dtype="float16")
    for operator in ("silu", "square", "hard_swish", "negative"):
        assert operators.call(operator, inputs).dtype == "float16", operator


def test_every_operator_refuses_to_be_called_without_a_tensor():
    for operator in operators.names():
        with pytest.raises(UnsupportedOperator, match=f"The operator '{operator}'"):
            operators.call(operator)


def test_unknown_operator_is_answered_with_the_nearest_and_the_known_ones():
    with pytest.raises(UnsupportedOperator, match=r"'concatenat' .* Did you mean 'concatenate'\?"):
        operators.call("concatenat", keras.Input([2]))
    with pytest.raises(UnsupportedOperator, match=r"Known: abs, add, .*unstack"):
        operators.call("io.write_file", "/tmp/x", "contents")


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        ("add", ([1.0, 2.0, 3.0],), "3 constants with a tensor of 2 channels"),
        ("add", ([[1.0, 2.0], [3.0, 4.0]],), r"constant of shape \(2, 2\)"),
        ("add", ("two",), "which is no number"),
        ("power", ([1.0, 2.0],), "one number as the exponent"),
        ("mean", (7,), "axis 7 of a tensor with 4 axes"),
        ("reshape", ((-1, 2, 2, 3),), "moves values between"),
        ("reshape", ((-1, None, -1),), "more than one length"),
        ("getitem", ((slice(0, 1),),), "takes part of the batch"),
        ("getitem", ((slice(None), 1.5),), "1.5 as an index"),
        ("split", (3, -1), "2 values into 3 equal parts"),
        ("expand_dims", (0,), "works along the batch axis"),
        ("softmax", (0,), "works along the batch axis"),
        ("l2_normalize", (-1, 1e-6), "has a layer for epsilon=1e-12"),
        ("max_pool", ((2, 2, 2),), "not of height and width only"),
        ("clip", ([0.0, 1.0], None), "one number as a bound"),
        ("pad", ([(0, 0), (1, 1)],), "was called in a way"),
        ("relu", (1, 2, 3), "was called in a way that has no layer"),
    ],
)
def test_use_without_a_layer_is_refused_with_the_reason(operator, arguments, message):
    with pytest.raises(UnsupportedOperator, match=message):
        operators.call(operator, keras.Input([2, 2, 2]), *arguments)


@pytest.mark.parametrize(
    ("operator", "shapes", "message"),
    [
        ("add", ([2, 2, 2], [2]), "of different ranks"),
        ("matmul", ([2], [2]), "has the batch for a matrix axis"),
    ],
)
def test_shapes_that_mix_the_batch_with_other_axes_are_refused(operator, shapes, message):
    with pytest.raises(UnsupportedOperator, match=message):
        operators.call(operator, *map(keras.Input, shapes))


def test_tensors_of_two_types_are_refused():
    mixed = [keras.Input([2], dtype=dtype) for dtype in ("float16", "float32")]
    with pytest.raises(UnsupportedOperator, match="different types: float16, float32"):
        operators.call("add", *mixed)


def test_tensor_in_the_place_of_a_number_is_refused():
    images, index = keras.Input([4, 4, 2]), keras.Input([], dtype="int32")
    for operator, arguments in {
        "reshape": [(-1, index)],
        "getitem": [(slice(None), index)],
        "power": [index],
        "mean": [index],
        "pad": [index],
    }.items():
        with pytest.raises(UnsupportedOperator):
            operators.call(operator, images, *arguments)


def test_names_are_known_and_sorted():
    assert all(map(operators.is_known, operators.names()))
    assert all(first < second for first, second in itertools.pairwise(operators.names()))
    assert not operators.is_known("TFOpLambda")
