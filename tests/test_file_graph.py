from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfcompress import file_cost, file_graph, flatbuffer, memory_plan
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


@pytest.mark.parametrize(
    ("given", "made", "opened", "expected"),
    [
        ([[8, 3], [8]], [[8, 2]], False, 8),
        ([[1, 3]], [[1, 2]], True, 1),
        ([[16_000]], [[1, 521]], False, 1),
        ([[8, 3], [4]], [[8, 2]], False, 1),
        ([[]], [[1]], False, 1),
    ],
    ids=["stated", "open", "a wave", "inputs that differ", "a scalar"],
)
def test_a_batch_is_what_all_inputs_and_an_output_share(given, made, opened, expected):
    builder = FileBuilder()
    ins, outs = ([builder.tensor(sizes) for sizes in part] for part in (given, made))
    graph = flatbuffer.parse(builder.build(ins, outs), source="it").subgraphs[0]
    if opened:
        graph.tensors[ins[0]].shapeSignature = [-1, *given[0][1:]]
    assert file_graph.batch(graph) == expected


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


def with_signatures(*graphs):
    """A model of two graphs, and an entry into each of these."""
    builder = FileBuilder()
    given, made = builder.tensor([1, 4]), builder.tensor([1, 4])
    builder.operator("ABS", [given], [made])
    model = flatbuffer.parse(builder.build([given], [made]), source="it")
    model.subgraphs = [model.subgraphs[0], model.subgraphs[0]]
    model.signatureDefs = []
    for graph in graphs:
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = f"s{len(model.signatureDefs)}", graph
        model.signatureDefs.append(entry)
    return model


@pytest.mark.parametrize("graphs", [(), (0,), (0, 0)])
def test_the_first_graph_is_the_file_s(graphs):
    model = with_signatures(*graphs)
    assert file_graph.main_graph(model, source="it") is model.subgraphs[0]


@pytest.mark.parametrize("graphs", [(1, 0), (0, 1), (1,)])
def test_a_file_with_entries_into_other_graphs_has_no_one_graph(graphs):
    model = with_signatures(*graphs)
    with pytest.raises(ValueError, match=rf"mine runs cannot be told .*'s0' \(graph {graphs[0]}\)"):
        file_graph.main_graph(model, source="mine")
    data = flatbuffer.pack(model)
    for reading in (file_cost.count, memory_plan.plan):
        with pytest.raises(ValueError, match="Which graph a call of mine runs"):
            reading(data, source="mine")
