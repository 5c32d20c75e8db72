"""Builds small TFLite files in memory, operator by operator.

    builder = FileBuilder()
    given = builder.tensor([1, 4])
    kernel = builder.constant(np.ones([2, 4], np.float32))
    result = builder.tensor([1, 2])
    builder.operator("FULLY_CONNECTED", [given, kernel, -1], [result])
    data = builder.build([given], [result])

Serves files whose cost is known by hand, such as those that measure what a device can do. Knows the
schema through `flatbuffer`; whether an engine takes the file is the caller's matter. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.flatbuffer import pack

_TYPES = {
    np.dtype(np.float16): "FLOAT16",
    np.dtype(np.float32): "FLOAT32",
    np.dtype(np.int8): "INT8",
    np.dtype(np.int32): "INT32",
}
# The first version of an operator that takes int8; the others are taken by it as well.
_INT8_VERSIONS = {"CONV_2D": 3, "FULLY_CONNECTED": 4, "MAX_POOL_2D": 2, "ADD": 2}
_DEFAULT_OPTIONS = {
    "ADD": "AddOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONV_2D": "Conv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "RESHAPE": "ReshapeOptions",
}


class FileBuilder:
    """A file of one graph, as it grows."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        # The first buffer is empty by convention; tensors without elements refer to it.
        self._buffers: list[Any] = [schema.BufferT()]
        self._codes: list[str] = []
        self._operators: list[Any] = []

    def tensor(
        self, shape: Sequence[int], *, type: str = "FLOAT32", scale: float | None = None
    ) -> int:
        """Adds an activation and returns its number.

        Args:
          shape: of fixed sizes.
          type: of the elements, as in the schema.
          scale: real value of one step, where the tensor is quantized; its zero point is 0.
        """
        return self._add(list(shape), type, scale, buffer=0)

    def constant(self, values: np.ndarray, *, scale: float | None = None) -> int:
        """Adds a constant and returns its number."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        kind = _TYPES[values.dtype]
        return self._add(list(values.shape), kind, scale, buffer=len(self._buffers) - 1)

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any
    ) -> None:
        """Adds an operator, which comes after those added before.

        Args:
          name: as in the schema.
          inputs: numbers of tensors; -1 for an optional one that is left out.
          outputs: numbers of tensors.
          **options: fields of the schema's options of that operator, such as `strideH=1`.

        Raises:
          ValueError: an operator that the schema does not have, or options of one whose options
            are not known here.
        """
        if not hasattr(schema.BuiltinOperator, name):
            raise ValueError(f"The schema of TFLite has no operator {name!r}.")
        if options and name not in _DEFAULT_OPTIONS:
            raise ValueError(
                f"The options of {name} are not known. Known: {', '.join(_DEFAULT_OPTIONS)}."
            )
        if name not in self._codes:
            self._codes.append(name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(name)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if name in _DEFAULT_OPTIONS:
            kind = _DEFAULT_OPTIONS[name]
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            for field, value in options.items():
                setattr(operator.builtinOptions, field, value)
        self._operators.append(operator)

    def build(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The bytes of the file, with these tensors as the graph's inputs and outputs."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = [_code(name) for name in self._codes]
        return pack(model)

    def _add(self, shape: list[int], kind: str, scale: float | None, *, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type = shape, getattr(schema.TensorType, kind)
        tensor.name, tensor.buffer = f"t{len(self._tensors)}", buffer
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _code(name: str) -> Any:
    number = getattr(schema.BuiltinOperator, name)
    code = schema.OperatorCodeT()
    # LiteRT reads the greater of both fields; the older one ends at 127.
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    code.version = _INT8_VERSIONS.get(name, 1)
    return code
