"""The cost of files, worked out by hand, and held against what Keras' layers say."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfcompress import file_cost, flatbuffer, memory_plan
from tfcompress.file_building import FileBuilder


def kernel(*shape):
    return np.zeros(shape, np.float32)


def one_operator(name, given, *constants, made):
    """A file of one operator on an activation and constants; None leaves an input out."""
    builder = FileBuilder()
    first, result = builder.tensor(given), builder.tensor(made)
    others = [-1 if values is None else builder.constant(values) for values in constants]
    builder.operator(name, [first, *others], [result])
    return builder.build([first], [result])


@pytest.mark.parametrize(
    ("name", "given", "others", "made", "macs", "parameters"),
    [
        # Kernel 5*3*3*2 at 4*4 output positions of each of 3 images.
        ("CONV_2D", (3, 8, 8, 2), [kernel(5, 3, 3, 2)], (3, 4, 4, 5), 90 * 16 * 3, 90),
        # Each of two groups has 1 input.
        ("CONV_2D", (1, 8, 8, 2), [kernel(6, 3, 3, 1)], (1, 8, 8, 6), 54 * 64, 54),
        ("DEPTHWISE_CONV_2D", (1, 8, 8, 2), [kernel(1, 3, 3, 4)], (1, 8, 8, 4), 36 * 64, 36),
        ("CONV_3D", (1, 4, 4, 4, 2), [kernel(2, 2, 2, 2, 5)], (1, 3, 3, 3, 5), 80 * 27, 80),
        # 10 weights at 7 rows, and 5 biases.
        ("FULLY_CONNECTED", (7, 2), [kernel(5, 2), kernel(5)], (7, 5), 10 * 7, 15),
        # The rows may stand in more axes than one.
        ("FULLY_CONNECTED", (3, 7, 2), [kernel(5, 2), None], (3, 7, 5), 10 * 21, 10),
        ("ADD", (1, 4), [kernel(4)], (1, 4), 0, 4),
    ],
    ids=["conv", "grouped", "depthwise", "conv3d", "dense", "dense_of_rows", "add"],
)
def test_one_operator(name, given, others, made, macs, parameters):
    found = file_cost.count(one_operator(name, given, *others, made=made), source="it")
    assert (found.macs, found.kernel_macs, found.parameters) == (macs, macs, parameters)
    assert found.macs_by_arithmetic() == {"float32": macs, "int8": 0}
    assert found.batch == given[0]
    assert found.uncounted == ()


def test_a_transposed_convolution_spreads_each_of_its_inputs():
    builder = FileBuilder()
    given = builder.tensor([1, 8, 8, 2])
    size = builder.constant(np.array([1, 16, 16, 5], np.int32))
    made = builder.tensor([1, 16, 16, 5])
    builder.operator("TRANSPOSE_CONV", [size, builder.constant(kernel(5, 3, 3, 2)), given], [made])
    found = file_cost.count(builder.build([given], [made]), source="it")
    # Its output's size, integers without a scale, is no parameter.
    assert (found.macs, found.parameters) == (90 * 64, 90)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_of_two_activations_is_told_apart(transposed):
    builder = FileBuilder()
    left = builder.tensor([2, 4, 3] if transposed else [2, 3, 4])
    right, made = builder.tensor([2, 4, 5]), builder.tensor([2, 3, 5])
    builder.operator("BATCH_MATMUL", [left, right], [made], adjX=transposed)
    found = file_cost.count(builder.build([left, right], [made]), source="it")
    assert (found.macs, found.kernel_macs, found.parameters) == (2 * 3 * 5 * 4, 0, 0)


def test_a_product_with_the_options_of_another_operator_has_the_defaults():
    builder = FileBuilder()
    left, right, made = (builder.tensor(shape) for shape in ([2, 3, 4], [2, 4, 5], [2, 3, 5]))
    builder.operator("BATCH_MATMUL", [left, right], [made])
    model = flatbuffer.parse(builder.build([left, right], [made]), source="it")
    (operator,) = model.subgraphs[0].operators
    operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
    operator.builtinOptions = schema.AddOptionsT()
    assert file_cost.count(flatbuffer.pack(model), source="it").macs == 2 * 3 * 5 * 4


@pytest.mark.parametrize("reading", [file_cost.count, memory_plan.plan, flatbuffer.parse])
def test_a_damaged_file_is_read_or_refused(reading):
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 5])
    builder.operator("FULLY_CONNECTED", [given, builder.constant(kernel(5, 4)), -1], [made])
    whole = builder.build([given], [made])
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole[: generator.integers(8, len(whole))])
        if generator.random() < 0.9:
            damaged = bytearray(whole)
            for place in generator.integers(8, len(whole), generator.integers(1, 4)):
                damaged[place] ^= 1 << int(generator.integers(8))
        with contextlib.suppress(ValueError):
            reading(bytes(damaged), source="it")


def test_bytes_are_counted_where_they_move():
    builder = FileBuilder()
    given, between, made = (builder.tensor([1, 4]) for _ in range(3))
    shared = builder.constant(kernel(4, 4))
    builder.operator("FULLY_CONNECTED", [given, shared, -1], [between])
    builder.operator("FULLY_CONNECTED", [between, shared, -1], [made])
    first, second = file_cost.count(builder.build([given], [made]), source="it").operators
    # Four floats in, four out; the weights of both are read once.
    assert (first.activation_bytes, second.activation_bytes) == (32, 32)
    assert (first.constant_bytes, second.constant_bytes) == (64, 0)
    assert (first.output, second.output) == ("t1", "t2")


def test_unpacked_weights_are_constants():
    builder = FileBuilder()
    given, unpacked, made = builder.tensor([1, 4]), builder.tensor([4, 4]), builder.tensor([1, 4])
    builder.operator("DEQUANTIZE", [builder.constant(np.zeros([4, 4], np.float16))], [unpacked])
    builder.operator("FULLY_CONNECTED", [given, unpacked, -1], [made])
    found = file_cost.count(builder.build([given], [made]), source="it")
    assert (found.macs, found.kernel_macs, found.parameters) == (16, 16, 16)
    assert (found.activation_bytes, found.constant_bytes) == (32, 32)
    assert found.macs_by_arithmetic() == {"float32": 16, "int8": 0}


def test_int8_kernels_are_int8_arithmetic():
    builder = FileBuilder()
    given, made = (builder.tensor([1, 4], type="INT8", scale=0.5) for _ in range(2))
    weights = builder.constant(np.zeros([4, 4], np.int8), scale=0.5)
    bias = builder.constant(np.zeros(4, np.int32), scale=0.25)
    builder.operator("FULLY_CONNECTED", [given, weights, bias], [made])
    found = file_cost.count(builder.build([given], [made]), source="it")
    assert found.macs_by_arithmetic() == {"float32": 0, "int8": 16}
    assert (found.parameters, found.activation_bytes, found.constant_bytes) == (20, 8, 32)


def test_what_cannot_be_counted_is_named():
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("STABLEHLO_DOT_GENERAL", [given, given], [made])
    assert file_cost.count(builder.build([given], [made]), source="it").uncounted == (
        "STABLEHLO_DOT_GENERAL",
    )


def test_files_that_are_none_are_refused():
    with pytest.raises(ValueError, match="mine is not a TFLite file"):
        file_cost.count(b"no model", source="mine")
    whole = one_operator("FULLY_CONNECTED", (7, 2), kernel(50, 2), made=(7, 50))
    with pytest.raises(ValueError, match="mine is a damaged TFLite file"):
        file_cost.count(whole[: len(whole) // 2], source="mine")


def test_an_operator_without_its_inputs_is_refused():
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("CONV_2D", [given], [made])
    with pytest.raises(ValueError, match="mine is damaged: an operator lacks an input"):
        file_cost.count(builder.build([given], [made]), source="mine")


@pytest.mark.parametrize("format", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_files_cost_what_the_model_of_their_layers_costs(exported, quadrants, format):
    from tfcompress.graph import cost

    found = file_cost.count(exported(format).data, source=format)
    assert found.kernel_macs == found.macs == cost.macs(quadrants.model)
    # Batch normalization of 8 channels is folded: its 32 numbers become 8 biases.
    assert found.parameters == cost.parameters(quadrants.model) - 32 + 8
    assert found.to_dict()["macs"] == found.macs


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        ("resnet8", {"image_size": 32}),
        ("MobileNet", {"image_size": 96, "width": 0.25}),
    ],
)
@pytest.mark.parametrize("format", ["float32", "int8"])
def test_networks_cost_what_their_layers_cost(backbone, settings, format):
    from tfcompress import backbones
    from tfcompress.export import convert
    from tfcompress.graph import cost

    size = settings["image_size"]
    config = backbones.BackboneConfig(name=backbone, weights="none", **settings)
    model = backbones.build_classifier(config, classes=10, image_shape=(size, size, 3))
    images = np.random.default_rng(0).uniform(-1, 1, (4, size, size, 3)).astype(np.float32)
    found = file_cost.count(convert(model, format, calibration=images).data, source=backbone)
    assert found.macs == cost.macs(model)
    arithmetic = "float32" if format == "float32" else "int8"
    assert found.macs_by_arithmetic()[arithmetic] == found.macs
    assert found.uncounted == ()
