"""What one call costs any TFLite file: multiply-accumulates, parameters and bytes.

    found = file_cost.count(Path("a.tflite").read_bytes(), source="a.tflite")
    found.macs, found.parameters, found.macs_by_arithmetic()

Reads the file's bytes, and has LiteRT find the sizes that they leave open. Knows how often each
operator applies its kernel. Does not know how a file was made, nor how an engine carries it out:
fused, padded or by another algorithm. No TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress import file_graph, flatbuffer

ARITHMETICS = ("float32", "int8")
"""The kinds of multiply-accumulates that are told apart."""

_NARROW = ("INT8", "UINT8", "INT4", "UINT4", "INT2")
_RECURRENT = (
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "LSTM",
    "RNN",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
)
# What they do stands in another subgraph, or in code that the file does not hold.
_UNKNOWN = ("CALL", "CALL_ONCE", "CUSTOM", "DELEGATE", "IF", "WHILE")


@dataclass(frozen=True)
class OperatorCost:
    """One operator of the main graph.

    Attributes:
      name: as in the schema, such as `"CONV_2D"`; the custom code of a custom operator.
      output: name of its first output; `#` and its number where it has none, such as `"#17"`.
      macs: multiply-accumulates of one call; 0 for an operator without a product.
      arithmetic: one of `ARITHMETICS`, by the type of the kernel as the operator reads it: int8
        also stands for narrower kernels, and for int8 kernels under float32 activations, which
        LiteRT brings to int8 first; None where `macs` is 0.
      constant_kernel: whether the file holds the kernel; False for a product of two activations.
      activation_bytes: of the activations that it reads and writes.
      constant_bytes: of the constants that it reads, as stored; one that an earlier operator reads
        too counts there.
    """

    name: str
    output: str
    macs: int
    arithmetic: str | None
    constant_kernel: bool
    activation_bytes: int
    constant_bytes: int


@dataclass(frozen=True)
class FileCost:
    """What one call costs, at the sizes that the file states, or that follow from its inputs'.

    Attributes:
      operators: of the main graph, in file order.
      parameters: constants that stand for real values, each buffer once: kernels, biases, and
        constants of an arithmetic operator. Integers without a scale, such as shapes and axes, are
        none. Batch normalization that the converter folded away has left its parameters.
      batch: images of one call, the first size of the first input; 1 where it is open.
      uncounted: names of operators whose products, if any, are not counted: custom ones, and ones
        that call another subgraph; one entry each.
    """

    operators: tuple[OperatorCost, ...]
    parameters: int
    batch: int
    uncounted: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call, as `graph.cost.macs` counts them of a Keras model."""
        return sum(operator.macs for operator in self.operators)

    @property
    def kernel_macs(self) -> int:
        """Those of constant kernels, without the products of two activations."""
        return sum(operator.macs for operator in self.operators if operator.constant_kernel)

    @property
    def activation_bytes(self) -> int:
        """Bytes of activations, each read by each of its readers once and written once."""
        return sum(operator.activation_bytes for operator in self.operators)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the constants that operators read, as stored."""
        return sum(operator.constant_bytes for operator in self.operators)

    def macs_by_arithmetic(self) -> dict[str, int]:
        """`macs` of each of `ARITHMETICS`."""
        return {
            kind: sum(found.macs for found in self.operators if found.arithmetic == kind)
            for kind in ARITHMETICS
        }

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record, the sums included."""
        return dataclasses.asdict(self) | {
            "macs": self.macs,
            "kernel_macs": self.kernel_macs,
            "macs_by_arithmetic": self.macs_by_arithmetic(),
            "activation_bytes": self.activation_bytes,
            "constant_bytes": self.constant_bytes,
        }


def count(data: bytes, *, source: str, length: int | None = None) -> FileCost:
    """Counts the cost of one call of a file's main graph.

    A convolution costs its kernel's elements times its output positions (a transposed one: input
    positions), a fully connected layer its kernel's elements times the rows that it is applied to,
    a recurrent one its kernels' elements times the steps, a product of two activations its
    output's elements times the length of the sums. Additions, pooling and activations are not
    counted.

    Args:
      data: the file's bytes.
      source: what to call the file in a message.
      length: of a file that takes texts of several lengths, the tokens of each.

    Raises:
      ValueError: `data` is no TFLite file or a damaged one, its signatures run several graphs, the
        size of an input, apart from the batch, is open, or LiteRT cannot tell the sizes of a graph
        that computes some.
    """
    model = flatbuffer.parse(data, source=source)
    graph = file_graph.sized_graph(model, data, source=source, length=length)
    constants = file_graph.constant_tensors(model, graph)
    seen: set[int] = set()
    try:
        operators = tuple(
            _operator_cost(model, graph, name, operator, constants, seen)
            for name, operator in flatbuffer.named_operators(model, graph)
        )
    except LookupError as error:
        raise ValueError(
            f"{source} is damaged: an operator lacks an input or a size ({error}). Export it again."
        ) from error
    known = vars(schema.BuiltinOperator)
    unknown = tuple(
        found.name
        for found in operators
        if found.name in _UNKNOWN or found.name.startswith("STABLEHLO") or found.name not in known
    )
    return FileCost(operators, _parameters(model), file_graph.batch(graph), unknown)


def _operator_cost(
    model: Any,
    graph: Any,
    name: str,
    operator: Any,
    constants: frozenset[int],
    seen: set[int],
) -> OperatorCost:
    inputs = [int(index) for index in operator.inputs if index >= 0]
    outputs = [int(index) for index in operator.outputs if index >= 0]
    macs, kernel = _macs(graph, name, operator, constants)
    moved = [index for index in {*inputs, *outputs} if index not in constants]
    stored = 0
    for index in inputs:
        tensor = graph.tensors[index]
        if file_graph.is_constant(model, tensor) and tensor.buffer not in seen:
            seen.add(tensor.buffer)
            stored += flatbuffer.stored_bytes(model, tensor)
    narrow = kernel is not None and file_graph.type_name(graph.tensors[kernel]) in _NARROW
    first = outputs[0] if outputs else -1
    return OperatorCost(
        name=name,
        output=(flatbuffer.text(graph.tensors[first].name) if outputs else "") or f"#{first}",
        macs=macs,
        arithmetic=None if macs == 0 else "int8" if narrow else "float32",
        constant_kernel=kernel in constants,
        activation_bytes=sum(file_graph.dense_bytes(graph.tensors[index]) for index in moved),
        constant_bytes=stored,
    )


def _macs(
    graph: Any, name: str, operator: Any, constants: frozenset[int]
) -> tuple[int, int | None]:
    """The multiply-accumulates of an operator and the number of its kernel, if it has one."""

    def shape(index: int) -> tuple[int, ...]:
        return file_graph.shape(graph.tensors[index])

    inputs = [int(index) for index in operator.inputs]
    output = shape(operator.outputs[0]) if len(operator.outputs) else ()
    if name in _RECURRENT:
        # Each step of each sequence is multiplied with every kernel, which are the constant
        # matrices: biases and peepholes are vectors, states are no constants.
        matrices = [index for index in inputs if index in constants and len(shape(index)) == 2]
        elements = sum(math.prod(shape(index)) for index in matrices)
        return math.prod(shape(inputs[0])[:-1]) * elements, next(iter(matrices), None)
    if name == "BATCH_MATMUL":
        # A file may hold options of another operator's; LiteRT then takes the defaults.
        transposed = getattr(operator.builtinOptions, "adjX", False)
        length = shape(inputs[0])[-2 if transposed else -1]
        return math.prod(output) * length, inputs[1]
    if name not in flatbuffer.KERNELS:
        return 0, None
    kernel = inputs[flatbuffer.KERNELS[name][0]]
    if name in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
        positions = math.prod(shape(inputs[2])[:-1])
    elif name == "FULLY_CONNECTED":
        positions = math.prod(output) // max(1, shape(kernel)[0])
    else:
        positions = math.prod(output[:-1])
    return math.prod(shape(kernel)) * positions, kernel


def _parameters(model: Any) -> int:
    counted: dict[int, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if file_graph.is_constant(model, tensor) and _is_real(tensor):
                counted[tensor.buffer] = math.prod(file_graph.shape(tensor))
    return sum(counted.values())


def _is_real(tensor: Any) -> bool:
    if file_graph.type_name(tensor) in ("FLOAT16", "BFLOAT16", "FLOAT32", "FLOAT64"):
        return True
    quantization = tensor.quantization
    scale = None if quantization is None else quantization.scale
    return scale is not None and len(scale) > 0
