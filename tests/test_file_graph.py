from __future__ import annotations

import numpy as np
import pytest

from tfcompress import file_graph, flatbuffer
from tfcompress.file_building import FileBuilder


@pytest.mark.parametrize(
    ("type", "shape", "expected"),
    [
        ("FLOAT32", [2, 3], 24),
        ("FLOAT16", [2, 3], 12),
        ("INT8", [2, 3], 6),
        # Seven elements of 4 bits take four bytes, of 2 bits two.
        ("INT4", [7], 4),
        ("INT2", [7], 2),
        ("INT64", [2], 16),
        ("BOOL", [], 1),
        ("STRING", [5], 0),
    ],
)
def test_bytes_of_a_tensor(type, shape, expected):
    builder = FileBuilder()
    given = builder.tensor(shape, type=type)
    model = flatbuffer.parse(builder.build([given], [given]), source="it")
    (tensor,) = model.subgraphs[0].tensors
    assert file_graph.dense_bytes(tensor) == expected
    assert (file_graph.type_name(tensor), list(file_graph.shape(tensor))) == (type, shape)


def test_what_is_unpacked_from_a_constant_is_one():
    builder = FileBuilder()
    given, unpacked, made = builder.tensor([3, 4]), builder.tensor([4]), builder.tensor([3, 4])
    packed = builder.constant(np.zeros(4, np.float16))
    builder.operator("DEQUANTIZE", [packed], [unpacked])
    builder.operator("ADD", [given, unpacked], [made])
    model = flatbuffer.parse(builder.build([given], [made]), source="it")
    graph = model.subgraphs[0]
    assert file_graph.constant_tensors(model, graph) == {packed, unpacked}
    assert (file_graph.inputs(graph), file_graph.outputs(graph)) == ([given], [made])
    assert file_graph.batch(graph) == 3


def test_open_sizes_other_than_the_batch_are_refused():
    builder = FileBuilder()
    given = builder.tensor([1, 1, 3])
    model = flatbuffer.parse(builder.build([given], [given]), source="it")
    graph = model.subgraphs[0]
    graph.tensors[0].shapeSignature = [-1, 1, 3]
    file_graph.require_sizes(graph, source="mine")
    graph.tensors[0].shapeSignature = [-1, -1, 3]
    with pytest.raises(ValueError, match=r"What mine takes depends .* open: \[-1, -1, 3\]"):
        file_graph.require_sizes(graph, source="mine")
