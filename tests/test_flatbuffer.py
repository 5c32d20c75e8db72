from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfcompress import export, flatbuffer
from tfcompress.artifact import Artifact
from tfcompress.file_building import FileBuilder
from tfcompress.flatbuffer import WeightTensor, _unpack_sparse
from tfcompress.litert import Session
from tfcompress.minimal import minimize

DENSE, COMPRESSED = 0, 1


def test_reference_to_a_tensor_that_is_not_there_is_refused(exported):
    model = flatbuffer.parse(exported("int8").data, source="a")
    operator = model.subgraphs[0].operators[0]
    operator.inputs = [99, *operator.inputs[1:]]
    with pytest.raises(ValueError, match="a is a damaged TFLite file"):
        flatbuffer.parse(flatbuffer.write_metadata(model, "b", b"{}"), source="a")


def with_buffers_behind(data):
    """The same file with its buffers behind the FlatBuffer, as ai-edge-quantizer writes it."""
    model = flatbuffer.parse(data, source="a")
    moved = [
        (each, each.data) for each in model.buffers if each.data is not None and len(each.data)
    ]
    for buffer, _ in moved:
        buffer.data, buffer.offset, buffer.size = None, 16, 16
    # Offsets are numbers of a fixed width, so that the length does not depend on them.
    end = len(flatbuffer.pack(model))
    tail = b""
    for buffer, content in moved:
        tail += bytes(-(end + len(tail)) % 16)
        buffer.offset, buffer.size = end + len(tail), len(content)
        tail += content.tobytes()
    return flatbuffer.pack(model) + tail


@pytest.mark.parametrize("format", ["float32", "dynamic"])
def test_buffers_behind_the_flatbuffer_are_brought_in(exported, quadrants, format):
    plain = exported(format)
    outside = Artifact(with_buffers_behind(plain.data))
    inside = schema.Model.GetRootAs(outside.data)
    assert not any(inside.Buffers(n).DataLength() for n in range(inside.BuffersLength()))
    assert outside.weights().keys() == plain.weights().keys() != set()
    for name, weight in plain.weights().items():
        np.testing.assert_array_equal(outside.weights()[name].values, weight.values)
    rewritten = outside.with_metadata({"a": 1})
    expected, *others = (
        Session(each.data, batch=8).run(quadrants.inputs[:8])
        for each in (plain, outside, rewritten, minimize(outside).artifact)
    )
    for found in others:
        np.testing.assert_array_equal(found, expected)


def test_custom_options_behind_the_flatbuffer_are_brought_in(exported):
    model = flatbuffer.parse(exported("int8").data, source="a")
    operator = model.subgraphs[0].operators[0]
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 16, 3
    operator.largeCustomOptionsOffset = len(flatbuffer.pack(model))
    found = flatbuffer.parse(flatbuffer.pack(model) + b"abc", source="a").subgraphs[0].operators[0]
    assert bytes(found.customOptions) == b"abc"
    assert (found.largeCustomOptionsOffset, found.largeCustomOptionsSize) == (0, 0)


def test_a_buffer_behind_the_end_of_the_file_is_refused(exported):
    cut = with_buffers_behind(exported("int8").data)[:-64]
    with pytest.raises(
        ValueError, match=r"a is a damaged TFLite file.*are referred to and not there"
    ):
        flatbuffer.parse(cut, source="a")


def test_what_no_flatbuffer_holds_is_not_written(exported, monkeypatch):
    model = flatbuffer.parse(exported("int8").data, source="a")
    monkeypatch.setattr(flatbuffer, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match=r"buffers take [\d,]+ bytes .* Expected at most 100"):
        flatbuffer.pack(model)


@pytest.mark.parametrize("borders", ["inputs", "outputs"])
def test_border_of_a_graph_that_is_no_tensor_is_refused(borders):
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("ABS", [given], [made])
    model = flatbuffer.parse(builder.build([given], [made]), source="a")
    setattr(model.subgraphs[0], borders, [99])
    with pytest.raises(ValueError, match="a is a damaged TFLite file"):
        flatbuffer.parse(flatbuffer.pack(model), source="a")


@pytest.mark.parametrize(("graph", "tensor"), [(1, 0), (0, 99)])
def test_signature_of_what_is_not_there_is_refused(graph, tensor):
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("ABS", [given], [made])
    model = flatbuffer.parse(builder.build([given], [made]), source="a")
    entry, name = schema.SignatureDefT(), schema.TensorMapT()
    name.name, name.tensorIndex = "in", tensor
    entry.signatureKey, entry.subgraphIndex, entry.inputs = "s", graph, [name]
    model.signatureDefs = [entry]
    with pytest.raises(ValueError, match="a is a damaged TFLite file"):
        flatbuffer.parse(flatbuffer.pack(model), source="a")


def level(size=0, segments=None, indices=None):
    if segments is None:
        return SimpleNamespace(format=DENSE, denseSize=size)
    return SimpleNamespace(
        format=COMPRESSED,
        denseSize=0,
        arraySegments=SimpleNamespace(values=np.array(segments)),
        arrayIndices=SimpleNamespace(values=np.array(indices)),
    )


def test_compressed_rows_are_expanded():
    sparsity = SimpleNamespace(
        traversalOrder=[0, 1],
        blockMap=None,
        dimMetadata=[level(3), level(segments=[0, 2, 2, 3], indices=[0, 3, 1])],
    )
    dense = _unpack_sparse(np.array([1, 2, 3], np.int8), (3, 4), sparsity)
    assert dense.tolist() == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 0, 0]]


def test_columns_come_first_where_the_traversal_says_so():
    sparsity = SimpleNamespace(
        traversalOrder=[1, 0],
        blockMap=None,
        dimMetadata=[level(2), level(segments=[0, 1, 2], indices=[2, 0])],
    )
    dense = _unpack_sparse(np.array([5, 7], np.float32), (3, 2), sparsity)
    assert dense.tolist() == [[0, 7], [0, 0], [5, 0]]


def test_blocks_are_expanded():
    sparsity = SimpleNamespace(
        traversalOrder=[0, 1, 2, 3],
        blockMap=[0, 1],
        dimMetadata=[level(2), level(segments=[0, 1, 2], indices=[0, 1]), level(2), level(2)],
    )
    dense = _unpack_sparse(np.arange(1, 9, dtype=np.int8), (4, 4), sparsity)
    assert dense.tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]


def test_weight_counts_by_hand():
    tensor = WeightTensor(
        values=np.array([[3, 5, 3], [4, 4, 4]], np.int8),
        scale=np.array([0.5, 2.0], np.float32),
        zero_point=np.array([3, 0], np.int32),
        axis=0,
        used_by="FULLY_CONNECTED y",
    )
    assert tensor.dequantize().tolist() == [[0, 1, 0], [8, 8, 8]]
    assert tensor.zeros() == 2
    assert tensor.distinct_in_channel() == 2
    assert tensor.distinct() == 3


def test_channels_lie_along_the_axis():
    values = np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 4.0]], np.float32)
    assert WeightTensor(values, None, None, 1, "").distinct_in_channel() == 3
    assert WeightTensor(values, None, None, 0, "").distinct_in_channel() == 2


def test_kernels_of_a_float_file_are_those_of_the_model(exported, quadrants):
    weights = exported("float32").weights()
    kinds = [tensor.used_by.split()[0] for tensor in weights.values()]
    assert kinds == ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
    depthwise, dense = list(weights.values())[1:]
    kernel = quadrants.model.get_layer("logits").get_weights()[0]
    np.testing.assert_allclose(dense.values, kernel.T, atol=1e-7)
    assert depthwise.values.shape == (1, 3, 3, 8)
    assert depthwise.axis == 3


@pytest.mark.parametrize("format", ["float16", "dynamic", "int8", "int16x8"])
def test_kernels_of_every_format_stand_for_the_same_values(exported, format):
    plains, others = exported("float32").weights(), exported(format).weights()
    for plain, other in zip(plains.values(), others.values(), strict=True):
        step = 2.0**-10 * np.abs(plain.values).max() if other.scale is None else other.scale.max()
        np.testing.assert_allclose(other.dequantize(), plain.values, atol=float(step) * 0.51)


def test_float16_kernels_are_given_as_stored(exported):
    assert {t.values.dtype for t in exported("float16").weights().values()} == {np.dtype("float16")}


def test_zeros_and_distinct_values_are_counted_in_the_file(quadrants):
    from tfcompress._keras import keras
    from tfcompress.export import convert

    model = keras.models.clone_model(quadrants.model)
    model.set_weights(quadrants.model.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    levels = np.array([0.0, 0.25, -0.5], np.float32)
    clustered = levels[np.arange(kernel.size) % 3].reshape(kernel.shape)
    model.get_layer("logits").set_weights([clustered, bias])
    for format in ("float32", "int8"):
        artifact = convert(model, format, calibration=quadrants.inputs[:32])
        name, dense = list(artifact.weights().items())[-1]
        assert dense.zeros() == np.sum(clustered == 0)
        assert artifact.distinct_weights()[name].in_channel == 3
        others = sum(tensor.values.size for tensor in artifact.weights().values())
        assert artifact.sparsity() >= np.sum(clustered == 0) / others


@pytest.fixture(scope="module")
def table_model():
    from tfcompress._keras import keras

    tokens = keras.Input([4], dtype="int32")
    rows = keras.layers.Embedding(300, 8)(tokens)
    return keras.Model(tokens, keras.layers.Dense(2)(keras.layers.Flatten()(rows)))


@pytest.mark.parametrize(
    ("format", "stored"),
    [
        ("float32", np.float32),
        ("float16", np.float16),
        ("dynamic", np.int8),
        ("int8", np.int8),
        # Of the type of the activations, which its rows are.
        ("int16x8", np.int16),
    ],
)
def test_tables_are_stored_in_the_numbers_of_their_format(table_model, format, stored):
    tokens = np.arange(300, dtype=np.int32).reshape(75, 4)
    artifact = export.convert(table_model, format, calibration=tokens)
    (table,) = artifact.tables().values()
    assert (table.values.dtype, table.values.shape) == (stored, (300, 8))
    assert "GATHER" in table.used_by
    assert [kernel.values.shape for kernel in artifact.weights().values()] == [(2, 32)]
    expected = table_model.get_weights()[0]
    # Half a step of one scale for the whole table, or a rounding of float16.
    step = 0.0 if table.scale is None else float(table.scale[0])
    np.testing.assert_allclose(table.dequantize(), expected, atol=0.51 * step + 1e-4)


@pytest.mark.parametrize(
    ("format", "integer"), [("float32", 0), ("float16", 0), ("int8", 5), ("int16x8", 5)]
)
def test_integer_operators_are_counted(exported, format, integer):
    assert exported(format).integer_operators == integer


@pytest.mark.parametrize(("format", "integer"), [("float32", False), ("int8", True)])
def test_arithmetic_on_shapes_is_left_out(format, integer):
    from tfcompress._keras import keras, tf
    from tfcompress.export import convert

    def reshaped(*shape):
        """Asks for the size of the open batch: SHAPE, STRIDED_SLICE, PACK on int32."""
        return keras.layers.Lambda(lambda x: tf.reshape(x, [tf.shape(x)[0], *shape]))

    inputs = keras.Input([4])
    x = reshaped(1, 1, 3)(keras.layers.Dense(3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(reshaped(3)(x)))
    images = np.random.default_rng(0).random((8, 4), np.float32)
    artifact = convert(model, format, calibration=images)
    whole = flatbuffer.parse(artifact.data, source="a file")
    stored = {name for name, _ in flatbuffer.named_operators(whole, whole.subgraphs[0])}
    assert stored > {"SHAPE", "STRIDED_SLICE", "PACK"}
    names = [operator.name for operator in artifact.operators]
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(names)
    assert artifact.integer_operators == (len(names) if integer else 0)
    assert names.count("FULLY_CONNECTED") == 2


def test_unpacking_is_listed_as_an_operator_that_is_not_integer(exported):
    found = {(operator.name, operator.integer) for operator in exported("float16").operators}
    assert ("DEQUANTIZE", False) in found
    assert ("CONV_2D", False) in found
