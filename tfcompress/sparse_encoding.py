"""TFLite's sparse encoding of a kernel, with its last axis compressed.

Knows what the encoding takes and builds it. Reading one back, of any layout, is `flatbuffer`'s
affair. Does not know which files LiteRT runs with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress import flatbuffer
from tfcompress.flatbuffer import KERNELS

# Tables around an encoding and the operator that unpacks it, with what they refer to, in bytes.
_AROUND = 150
_DENSIFY = schema.BuiltinOperator.DENSIFY


def sparse_bytes(values: np.ndarray) -> int:
    """Bytes of an array in the encoding: non-zeros, their indices, and where each row begins.

    Indices and beginnings are of 1, 2 or 4 bytes, whatever the greatest of them needs. The tables
    around them, some 60 bytes, are not counted.

    Example:
      >>> sparse_bytes(np.array([[0, 7, 0, 0], [0, 0, 0, 0]], np.float32))
      8
    """
    parts = _parts(values)
    return sum(part.nbytes for part in parts)


def store_sparse(model: Any, kind: str) -> str:
    """Encodes the kernels of one kind of operator where that is smaller, with what unpacks them.

    Args:
      model: as `flatbuffer.parse` gives it; it is changed.
      kind: name of the operator, such as `"CONV_2D"`.

    Returns:
      how many kernels were encoded, as text; empty for none.
    """
    encoded = 0
    for graph in model.subgraphs:
        operators = []
        for name, operator in flatbuffer.named_operators(model, graph):
            tensor = graph.tensors[operator.inputs[KERNELS[kind][0]]] if name == kind else None
            if tensor is not None and _is_smaller_sparse(model, tensor):
                operators.append(_encoded(model, graph, operator, kind))
                encoded += 1
            operators.append(operator)
        graph.operators = operators
    return f"{encoded} kernels of {kind}" if encoded else ""


def _is_smaller_sparse(model: Any, tensor: Any) -> bool:
    stored = flatbuffer.stored_bytes(model, tensor)
    if not stored or tensor.sparsity is not None or not flatbuffer.is_readable(tensor):
        return False
    return sparse_bytes(flatbuffer.stored_values(model, tensor)) + _AROUND < stored


def _encoded(model: Any, graph: Any, operator: Any, kind: str) -> Any:
    """Encodes an operator's kernel, and returns what unpacks it before that operator."""
    position, _ = KERNELS[kind]
    tensor = graph.tensors[operator.inputs[position]]
    values = flatbuffer.stored_values(model, tensor)
    plain = schema.TensorT()
    plain.shape, plain.type, plain.quantization = tensor.shape, tensor.type, tensor.quantization
    # A number of its own: what else reads the buffer reads it plain.
    content, tensor.sparsity = _parts(values)[0], _sparsity(values)
    tensor.buffer = len(model.buffers)
    model.buffers = [*model.buffers, schema.BufferT()]
    model.buffers[-1].data = np.frombuffer(content.tobytes(), np.uint8)
    unpacking = schema.OperatorT()
    unpacking.opcodeIndex = _densify_code(model)
    unpacking.inputs = np.array([operator.inputs[position]], np.int32)
    unpacking.outputs = np.array([len(graph.tensors)], np.int32)
    graph.tensors = [*graph.tensors, plain]
    inputs = np.array(operator.inputs, np.int32)
    inputs[position] = unpacking.outputs[0]
    operator.inputs = inputs
    return unpacking


def _densify_code(model: Any) -> int:
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == _DENSIFY:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = _DENSIFY
    code.version = 1
    model.operatorCodes = [*model.operatorCodes, code]
    return len(model.operatorCodes) - 1


def _parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-zeros, their indices in the last axis, and where the non-zeros of each row begin."""
    rows = values.reshape(-1, values.shape[-1])
    used = rows != 0
    begins = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return rows[used], _narrow(np.nonzero(used)[1]), _narrow(begins)


def _narrow(numbers: np.ndarray) -> np.ndarray:
    greatest = numbers.max(initial=0)
    kind = np.uint8 if greatest < 2**8 else np.uint16 if greatest < 2**16 else np.int32
    return numbers.astype(kind)


def _sparsity(values: np.ndarray) -> Any:
    _, indices, begins = _parts(values)
    levels = []
    for size in values.shape[:-1]:
        level = schema.DimensionMetadataT()
        level.format, level.denseSize = schema.DimensionType.DENSE, size
        levels.append(level)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType, last.arraySegments = _index_vector(begins)
    last.arrayIndicesType, last.arrayIndices = _index_vector(indices)
    found = schema.SparsityParametersT()
    found.traversalOrder = np.arange(values.ndim, dtype=np.int32)
    found.dimMetadata = [*levels, last]
    return found


def _index_vector(numbers: np.ndarray) -> tuple[int, Any]:
    vectors = {
        "uint8": (schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
        "uint16": (schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
        "int32": (schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
    }
    kind, build = vectors[numbers.dtype.name]
    found = build()
    found.values = numbers
    return kind, found
