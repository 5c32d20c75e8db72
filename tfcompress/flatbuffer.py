"""What stands in a TFLite file: operators, weights, quantization, metadata.

Knows the file's schema, through the classes that `ai_edge_litert` carries, and reads and writes the
file with no TensorFlow. Does not run anything and does not know how a file was made.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"

KERNELS = {
    "CONV_2D": (1, 0),
    "CONV_3D": (1, 4),
    "CONV_3D_TRANSPOSE": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 0),
    "TRANSPOSE_CONV": (1, 0),
}
"""Where an operator keeps its kernel: index of the input, axis of the output channels."""

_TABLES = {"EMBEDDING_LOOKUP": (1, 1), "GATHER": (0, 1)}
"""Likewise, where an operator keeps the table that it takes rows from."""

UNPACKING = ("DEQUANTIZE", "DENSIFY", "QUANTIZE")
"""Operators between a constant and its use: float16 or sparse weights, simulated quantization."""

# The schema asks for this alignment of the buffers; kernels read the weights in place.
_BUFFER_ALIGNMENT = 16
_SPARSE = schema.DimensionType.SPARSE_CSR
LARGEST_FILE = 2**31 - 1
"""Bytes that a FlatBuffer holds at most; a larger file keeps its buffers behind it."""


def _names(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


_OPERATOR_NAMES = _names(schema.BuiltinOperator)
_TYPE_NAMES = _names(schema.TensorType)
_INTEGER_TYPES = frozenset({"INT4", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"})
_SHAPE_TYPES = frozenset({"INT32", "INT64", "BOOL"})
_DTYPES = {
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
}
_EIGHT_BYTES_WIDE = ("INT64", "UINT64", "FLOAT64", "COMPLEX64", "COMPLEX128")


@dataclass(frozen=True)
class OperatorInfo:
    """One operator of the file.

    Attributes:
      name: as in the schema, such as `"CONV_2D"`; the custom code of a custom operator.
      integer: whether every tensor that it reads or writes, constants included, holds integers. A
        `QUANTIZE` or `DEQUANTIZE` between float and integer is therefore not integer.
    """

    name: str
    integer: bool


@dataclass(frozen=True)
class WeightTensor:
    """A constant kernel of a convolution or a matrix product, or a table, as the file stores it.

    Attributes:
      values: as stored, unpacked from a sparse encoding where there is one.
      scale: float32 of length 1 or one for each output channel; None for a float tensor.
      zero_point: int32, as long as `scale`; None for a float tensor.
      axis: the axis of the output channels.
      used_by: name of the first operator that reads it and of that operator's output.
      stored_sparse: whether the file keeps it in a sparse encoding.
      stored_bytes: what it takes in the file, the indices of a sparse encoding included; 0 for one
        whose buffer is an earlier one's too.
    """

    values: np.ndarray
    scale: np.ndarray | None
    zero_point: np.ndarray | None
    axis: int
    used_by: str
    stored_sparse: bool = False
    stored_bytes: int = 0

    def dequantize(self) -> np.ndarray:
        """The real values that the tensor stands for, as float32."""
        if self.scale is None or self.zero_point is None:
            return self.values.astype(np.float32)
        shape = [1] * self.values.ndim
        shape[self.axis] = -1
        shifted = self.values.astype(np.int32) - self.zero_point.reshape(shape)
        real: np.ndarray = shifted.astype(np.float32) * self.scale.reshape(shape)
        return real

    def zeros(self) -> int:
        """How many of the real values are exactly zero."""
        if self.scale is None or self.zero_point is None:
            return int(self.values.size - np.count_nonzero(self.values))
        shape = [1] * self.values.ndim
        shape[self.axis] = -1
        return int(np.sum(self.values == self.zero_point.reshape(shape)))

    def distinct_in_channel(self) -> int:
        """The greatest count of distinct stored values within one output channel."""
        channels = np.moveaxis(self.values, self.axis, 0).reshape(self.values.shape[self.axis], -1)
        ordered = np.sort(channels, axis=1)
        return int(1 + np.max(np.sum(ordered[:, 1:] != ordered[:, :-1], axis=1)))

    def distinct(self) -> int:
        """The count of distinct stored values within the whole tensor."""
        return int(np.unique(self.values).size)


def parse(data: bytes, *, source: str) -> Any:
    """Reads a whole file into the schema's objects.

    Some writers, ai-edge-quantizer for one, keep buffers behind the FlatBuffer, by offset and size:
    these are brought in, so that none of their readers can miss a weight.

    Args:
      data: the file's bytes.
      source: what to call the file in a message.

    Raises:
      ValueError: `data` is no TFLite file or a damaged one.
    """
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise ValueError(
            f"{source} is not a TFLite file: bytes 4 to 8 must be {FILE_IDENTIFIER!r}. "
            f"Received: {data[4:8]!r} in {len(data)} bytes."
        )
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        _bring_in(model, data)
        _check_references(model)
    except (struct.error, ValueError, LookupError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{source} is a damaged TFLite file of {len(data)} bytes ({error}). "
            "It may be truncated: copy or export it again."
        ) from error
    if not model.subgraphs or not model.buffers:
        raise ValueError(f"{source} is a TFLite file without a graph. Export it again.")
    return model


def _bring_in(model: Any, data: bytes) -> None:
    """Makes buffers and options that lie behind the FlatBuffer part of the model.

    Raises:
      ValueError: one of them lies behind the end of the file.
    """

    def content(offset: int, size: int) -> np.ndarray:
        if offset + size > len(data):
            raise ValueError(f"bytes {offset} to {offset + size} are referred to and not there")
        return np.frombuffer(data, np.uint8, size, offset)

    # An offset of 1 is a placeholder of the converter, for one that was never filled in.
    for buffer in model.buffers or []:
        if buffer.offset > 1:
            buffer.data = content(buffer.offset, buffer.size)
            buffer.offset = buffer.size = 0
    for graph in model.subgraphs or []:
        for operator in graph.operators or []:
            start = operator.largeCustomOptionsOffset
            if start > 1:
                operator.customOptions = content(start, operator.largeCustomOptionsSize)
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _check_references(model: Any) -> None:
    for entry in model.metadata or []:
        _ = model.buffers[entry.buffer]
    for entry in model.signatureDefs or []:
        graph = model.subgraphs[entry.subgraphIndex]
        for given in (*(entry.inputs or []), *(entry.outputs or [])):
            _ = graph.tensors[given.tensorIndex]
    for graph in model.subgraphs or []:
        for borders in (graph.inputs, graph.outputs):
            _ = [graph.tensors[index] for index in ([] if borders is None else borders)]
        for tensor in graph.tensors:
            _ = model.buffers[tensor.buffer], _TYPE_NAMES[tensor.type]
            if tensor.sparsity is not None:
                _ = len(tensor.sparsity.dimMetadata), len(tensor.sparsity.traversalOrder)
        for operator in graph.operators or []:
            _ = model.operatorCodes[operator.opcodeIndex]
            _ = [graph.tensors[index] for index in _tensors_of(operator)]


def operators(model: Any) -> tuple[OperatorInfo, ...]:
    """The operators of all subgraphs, in file order.

    Arithmetic on shapes, which a file with an open batch carries, is left out: it touches no data,
    and would make a float file look partly integer.
    """
    return tuple(
        OperatorInfo(name, all(_is_integer(graph, index) for index in _tensors_of(operator)))
        for graph in model.subgraphs
        for name, operator in named_operators(model, graph)
        if name != "SHAPE" and not all(_is_shape(graph, index) for index in _tensors_of(operator))
    )


def weights(model: Any) -> dict[str, WeightTensor]:
    """The constant kernels of convolutions and matrix products, by tensor name, in file order.

    A kernel that the file stores as float16 or sparse, with an operator that unpacks it, is given
    as stored. One that several operators share appears once. A tensor without a name, as in a
    minimal file, goes by `#`, its subgraph and its number, such as `#0.17`.

    Raises:
      ValueError: a kernel of a type that cannot be read here, such as INT4.
    """
    return _constants(model, KERNELS, what="kernel")


def tables(model: Any) -> dict[str, WeightTensor]:
    """The constant tables that rows are taken from by number, as those of tokens; see `weights`.

    Raises:
      ValueError: a table of a type that cannot be read here, such as INT4.
    """
    return _constants(model, _TABLES, what="table")


def _constants(
    model: Any, places: Mapping[str, tuple[int, int]], *, what: str
) -> dict[str, WeightTensor]:
    """What operators of some names keep: for each name the index of the input, and the axis."""
    found: dict[str, WeightTensor] = {}
    buffers: set[int] = set()
    for graph_index, graph in enumerate(model.subgraphs):
        seen = set()
        producers = {
            output: (name, operator)
            for name, operator in named_operators(model, graph)
            for output in operator.outputs
        }
        for name, operator in named_operators(model, graph):
            if name not in places:
                continue
            position, axis = places[name]
            index = operator.inputs[position]
            while index in producers and producers[index][0] in UNPACKING:
                index = producers[index][1].inputs[0]
            tensor = graph.tensors[index]
            data = model.buffers[tensor.buffer].data
            if index in seen or data is None or len(data) == 0:
                continue
            seen.add(index)
            place = f"#{graph_index}.{index}"
            key = text(tensor.name) or place
            if key in found:
                key += place
            output = operator.outputs[0]
            used_by = f"{name} {text(graph.tensors[output].name) or f'#{graph_index}.{output}'}"
            stored = 0 if tensor.buffer in buffers else stored_bytes(model, tensor)
            buffers.add(tensor.buffer)
            values = stored_values(
                model, tensor, what=f"The {what} {text(tensor.name)!r} of {used_by}"
            )
            found[key] = _weight_tensor(tensor, values, axis, used_by, stored)
    return found


def read_metadata(model: Any, name: str) -> bytes | None:
    """The metadata buffer called `name`, or None where the file has none."""
    for entry in model.metadata or []:
        if text(entry.name) == name:
            data = model.buffers[entry.buffer].data
            return b"" if data is None else np.asarray(data, np.uint8).tobytes()
    return None


def write_metadata(model: Any, name: str, content: bytes) -> bytes:
    """Sets the metadata buffer called `name` in `model` and returns the bytes of the new file."""
    set_metadata(model, name, content)
    return pack(model)


def set_metadata(model: Any, name: str, content: bytes) -> None:
    """Sets the metadata buffer called `name` in `model`."""
    for entry in model.metadata or []:
        if text(entry.name) == name:
            buffer = model.buffers[entry.buffer]
            break
    else:
        buffer, entry = schema.BufferT(), schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers = [*model.buffers, buffer]
        model.metadata = [*(model.metadata or []), entry]
    buffer.data = np.frombuffer(content, np.uint8)


def pack(model: Any) -> bytes:
    """The bytes of the file that a model, in the schema's objects, stands for.

    Raises:
      ValueError: it is too large for a FlatBuffer.
    """
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    if size > LARGEST_FILE:
        raise ValueError(
            f"A TFLite file whose buffers take {size:,} bytes cannot be written here. Expected at "
            f"most {LARGEST_FILE:,}, which a FlatBuffer holds. Compress the model before."
        )
    builder = flatbuffers.Builder(size + 65536)
    plain = model.buffers
    model.buffers = [_AlignedBuffer(buffer) for buffer in plain]
    try:
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    finally:
        model.buffers = plain
    return bytes(builder.Output())


class _AlignedBuffer:
    """Packs a buffer at the schema's alignment, which the generated Python code leaves out."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def Pack(self, builder: flatbuffers.Builder) -> int:
        data = self._buffer.data
        vector = None
        if data is not None and len(data):
            content = np.asarray(data, np.uint8).tobytes()
            builder.StartVector(1, len(content), _BUFFER_ALIGNMENT)
            builder.head = builder.Head() - len(content)
            builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        schema.BufferAddOffset(builder, self._buffer.offset)
        schema.BufferAddSize(builder, self._buffer.size)
        return int(schema.BufferEnd(builder))


def named_operators(model: Any, graph: Any) -> Iterator[tuple[str, Any]]:
    """The operators of a subgraph with their names, as in the schema or the custom code."""
    for operator in graph.operators or []:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.customCode:
            yield text(code.customCode), operator
            continue
        # Codes up to 127 stand in the older, one-byte field; newer ones in the wider field.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        yield _OPERATOR_NAMES.get(number, f"BUILTIN_{number}"), operator


def _tensors_of(operator: Any) -> list[int]:
    return [index for index in (*operator.inputs, *operator.outputs) if index >= 0]


def _is_integer(graph: Any, index: int) -> bool:
    return _TYPE_NAMES[graph.tensors[index].type] in _INTEGER_TYPES


def _is_shape(graph: Any, index: int) -> bool:
    tensor = graph.tensors[index]
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return _TYPE_NAMES[tensor.type] in _SHAPE_TYPES and (scale is None or len(scale) == 0)


def text(name: bytes | str | None) -> str:
    """A name as the schema's objects hold it; empty where there is none."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""


def stored_values(model: Any, tensor: Any, *, what: str = "A tensor") -> np.ndarray:
    """The constant elements of a tensor in its shape, unpacked from a sparse encoding.

    Args:
      model: that the tensor belongs to.
      tensor: with a buffer that holds its elements.
      what: names the tensor in the message.

    Raises:
      ValueError: a type that cannot be read here, such as INT4.
    """
    kind = _TYPE_NAMES[tensor.type]
    if kind not in _DTYPES:
        raise ValueError(
            f"{what} is stored as {kind}. Types that can be read: {', '.join(_DTYPES)}."
        )
    data = model.buffers[tensor.buffer].data
    values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _DTYPES[kind])
    shape = tuple(int(size) for size in tensor.shape)
    if tensor.sparsity is None:
        return values.reshape(shape)
    return _unpack_sparse(values, shape, tensor.sparsity)


def stored_bytes(model: Any, tensor: Any) -> int:
    """Bytes of a constant tensor's elements, and of the indices of a sparse one."""
    data = model.buffers[tensor.buffer].data
    count = 0 if data is None else len(data)
    for level in [] if tensor.sparsity is None else tensor.sparsity.dimMetadata:
        for part in (level.arraySegments, level.arrayIndices):
            count += 0 if part is None else np.asarray(part.values).nbytes
    return count


def is_readable(tensor: Any) -> bool:
    """Whether `stored_values` can read a tensor's type."""
    return _TYPE_NAMES[tensor.type] in _DTYPES


def element_width(tensor: Any) -> int:
    """Bytes of an element: 1, 2, 4 or 8; at most 8, and 4 where that is not known."""
    kind = _TYPE_NAMES[tensor.type]
    if kind in _EIGHT_BYTES_WIDE:
        return 8
    if kind in ("INT4", "INT2", "UINT4", "BOOL"):
        return 1
    return int(np.dtype(_DTYPES[kind]).itemsize) if kind in _DTYPES else 4


def _weight_tensor(
    tensor: Any, values: np.ndarray, axis: int, used_by: str, stored: int
) -> WeightTensor:
    sparse = tensor.sparsity is not None
    quantization = tensor.quantization
    scale = zero_point = None
    if quantization is not None and quantization.scale is not None and len(quantization.scale):
        scale = np.asarray(quantization.scale, np.float32)
        zero_point = np.asarray(quantization.zeroPoint, np.int32)
    return WeightTensor(values, scale, zero_point, axis, used_by, sparse, stored)


def _unpack_sparse(values: np.ndarray, shape: tuple[int, ...], sparsity: Any) -> np.ndarray:
    """Expands TFLite's encoding: dimensions in traversal order, each dense or compressed (CSR)."""
    coordinates = np.zeros([1, 0], np.int64)
    for level in sparsity.dimMetadata:
        if level.format == _SPARSE:
            segments = np.asarray(level.arraySegments.values, np.int64)
            counts, children = np.diff(segments), np.asarray(level.arrayIndices.values, np.int64)
        else:
            counts = np.full(len(coordinates), level.denseSize)
            children = np.tile(np.arange(level.denseSize), len(coordinates))
        coordinates = np.column_stack([np.repeat(coordinates, counts, axis=0), children])
    order = [int(dimension) for dimension in sparsity.traversalOrder]
    position = {dimension: coordinates[:, level] for level, dimension in enumerate(order)}
    size = {
        dimension: sparsity.dimMetadata[level].denseSize for level, dimension in enumerate(order)
    }
    index = [position[dimension] for dimension in range(len(shape))]
    # Dimensions beyond the tensor's own are the inside of blocks along `blockMap`.
    block_map = [] if sparsity.blockMap is None else sparsity.blockMap
    for inner, dimension in enumerate(block_map, start=len(shape)):
        index[dimension] = index[dimension] * size[inner] + position[inner]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(index)] = values
    return dense
