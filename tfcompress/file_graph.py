"""Shapes, types and sizes of the tensors of a TFLite graph.

Knows the schema's objects as `flatbuffer.parse` gives them, and where their sizes are found that
the file leaves open. Does not know what an operator does. No TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress import call_sizes, flatbuffer

_TYPE_NAMES = {
    code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}
_BITS = {"INT2": 2, "INT4": 4, "UINT4": 4, "STRING": 0}
_BITS |= dict.fromkeys(("BOOL", "INT8", "UINT8", "FLOAT8_E4M3FN", "FLOAT8_E5M2"), 8)
_BITS |= dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16)
_BITS |= dict.fromkeys(("FLOAT32", "INT32", "UINT32"), 32)
_BITS |= dict.fromkeys(("FLOAT64", "INT64", "UINT64", "COMPLEX64"), 64)
_BITS |= {"COMPLEX128": 128}


def shape(tensor: Any) -> tuple[int, ...]:
    """The shape that the file states, an open axis as 1; empty for a scalar."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def type_name(tensor: Any) -> str:
    """The type of a tensor's elements as in the schema, such as `"INT8"`."""
    return str(_TYPE_NAMES[tensor.type])


def dense_bytes(tensor: Any) -> int:
    """Bytes of a tensor's elements at its `shape`, as LiteRT holds them in memory.

    Elements of 4 and of 2 bits are packed. Strings, whose size is not in their shape, and types
    without a size, such as resources, count as nothing.
    """
    return -(-math.prod(shape(tensor)) * _BITS.get(type_name(tensor), 0) // 8)


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether the file holds the tensor's elements."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def constant_tensors(model: Any, graph: Any) -> frozenset[int]:
    """Numbers of the tensors that are the same in each call.

    They are those whose elements the file holds, and what is unpacked from them.
    """
    found = {index for index, tensor in enumerate(graph.tensors) if is_constant(model, tensor)}
    for name, operator in flatbuffer.named_operators(model, graph):
        if name in flatbuffer.UNPACKING and all(index in found for index in operator.inputs):
            found |= {int(index) for index in operator.outputs}
    return frozenset(found)


def inputs(graph: Any) -> list[int]:
    """Numbers of the tensors that a caller fills."""
    return [] if graph.inputs is None else [int(index) for index in graph.inputs if index >= 0]


def outputs(graph: Any) -> list[int]:
    """Numbers of the tensors that a caller reads."""
    return [] if graph.outputs is None else [int(index) for index in graph.outputs if index >= 0]


def batch(graph: Any) -> int:
    """Images of one call: the first size of the inputs, if it is a batch; 1 where it is open.

    It is one where it is open, or where all inputs and an output share it. Any other first axis,
    such as that of a wave of 16,000 samples, is one example's own: 1.
    """
    given = [graph.tensors[index] for index in inputs(graph)]
    if not given or any(_is_open(tensor) for tensor in given):
        return 1
    made = [shape(graph.tensors[index]) for index in outputs(graph)]
    firsts = {shape(tensor)[:1] for tensor in given}
    shared = firsts.pop() if len(firsts) == 1 else ()
    return shared[0] if shared and shared in [sizes[:1] for sizes in made] else 1


def _is_open(tensor: Any) -> bool:
    return _stated_sizes(tensor)[:1] == [-1]


def _stated_sizes(tensor: Any) -> list[int]:
    """The sizes of a tensor with -1 for those that are open; empty where none is."""
    signature = tensor.shapeSignature
    return [] if signature is None else [int(size) for size in signature]


def main_graph(model: Any, *, source: str) -> Any:
    """The graph that a call of the file runs: its first subgraph.

    A file may have several entries, called signatures, each into a graph of its own. Engines differ
    in which they run where none is named, so that nothing true of the file follows from one.

    Args:
      model: as `flatbuffer.parse` gives it.
      source: what to call the file in the message.

    Raises:
      ValueError: a signature runs another graph than the first.
    """
    entries = model.signatureDefs or []
    if any(entry.subgraphIndex != 0 for entry in entries):
        named = [f"{flatbuffer.text(e.signatureKey)!r} (graph {e.subgraphIndex})" for e in entries]
        raise ValueError(
            f"Which graph a call of {source} runs cannot be told from its signatures: "
            f"{', '.join(named)}. Expected signatures of graph 0 alone: export the one that is "
            "meant to a file of its own."
        )
    return model.subgraphs[0]


def sized_graph(model: Any, data: bytes, *, source: str, length: int | None = None) -> Any:
    """The main graph with the sizes that a call of one batch has.

    Graphs that work with the sizes of their own tensors, as those of text encoders do, leave open
    in the file what follows from the inputs; a call of LiteRT then says what they come to.

    Args:
      model: as `flatbuffer.parse` gives it; its tensors get their sizes.
      data: the file's bytes.
      source: what to call the file in the message.
      length: of a file that takes texts of several lengths, the tokens of each.

    Raises:
      ValueError: a signature runs another graph than the first, the size of an input, apart from
        the batch, is open, or LiteRT cannot say what sizes follow from it.
    """
    graph = main_graph(model, source=source)
    if length is None:
        require_sizes(graph, source=source)
    if any(min(_stated_sizes(tensor)[1:], default=0) < 0 for tensor in graph.tensors):
        found = call_sizes.of_call(data, source=source, batch=batch(graph), length=length)
        for index, sizes in found.items():
            if index < len(graph.tensors) and not is_constant(model, graph.tensors[index]):
                graph.tensors[index].shape = list(sizes)
    return graph


def require_sizes(graph: Any, *, source: str) -> None:
    """Raises ValueError where a size of an input, apart from the batch, is open.

    Args:
      graph: a subgraph.
      source: what to call the file in the message.
    """
    for index in inputs(graph):
        sizes = _stated_sizes(graph.tensors[index])
        if any(size < 0 for size in sizes[1:]):
            raise ValueError(
                f"What {source} takes depends on the size of an input, which is open: {sizes}. "
                "Expected fixed sizes; the batch alone may stay open. Export it for one size."
            )
