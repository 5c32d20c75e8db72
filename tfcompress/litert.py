"""Runs a TFLite file on the processor with LiteRT.

Knows LiteRT's interpreter: any inputs and outputs, a fixed batch, the count of threads always set,
the kernels that were chosen; and the one reading of scale and zero point. Does not know images,
labels or what a file means. No TensorFlow here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tfcompress import native_output

Plan: TypeAlias = tuple[tuple[str, int, int], ...]
"""What LiteRT runs: name, count of inputs and of outputs of each operator, see `Session.plan`."""

KERNELS = ("xnnpack", "builtin", "reference")
# How LiteRT calls a part of the graph that something else has taken over.
_TAKEN_OVER = "DELEGATE"
# LiteRT starts as many threads as it is told to, and takes the memory for a whole batch: far beyond
# these it does not fail but ends the process.
MOST_THREADS = 256
_LARGEST = {"threads": MOST_THREADS, "batch": 65_536, "batch_size": 65_536}


@dataclass(frozen=True)
class TensorDetails:
    """An input or output of a model.

    Attributes:
      shape: with the batch first, where the model has one.
      dtype: what the model reads or writes there.
      scale: real value of one quantization step; None where the tensor is not quantized.
      zero_point: the stored value that stands for 0.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float | None = None
    zero_point: int = 0

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Brings float32 values to the tensor's own type.

        The formula is `round(value / scale) + zero_point`, clipped to the type's range.
        """
        if self.scale is None:
            return values.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        steps = np.rint(values * np.float32(1 / self.scale))
        steps += np.float32(self.zero_point)
        return np.clip(steps, limits.min, limits.max, out=steps).astype(self.dtype)

    def dequantize(self, stored: np.ndarray) -> np.ndarray:
        """The inverse of `quantize`, as float32: (stored - zero_point) * scale."""
        if self.scale is None:
            return stored.astype(np.float32, copy=False)
        return (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)


@dataclass(frozen=True)
class Share:
    """How the operators of a graph are shared between XNNPACK and LiteRT's own kernels.

    Attributes:
      operators: how many there are.
      taken: how many XNNPACK runs.
      parts: into how many parts the taken ones fall; each change between the two costs time.
      left: names of the others, one entry each, in the order of the file.
    """

    operators: int
    taken: int
    parts: int
    left: tuple[str, ...]


class GraphSession:
    """A loaded file with any count of inputs and outputs, ready to run on batches of one size.

    Args:
      source: the path of a TFLite file, or its bytes.
      threads: processor threads, 1 to 256.
      batch: examples in one call, 1 to 65,536: the first axis of every input. Where the file
        leaves no first axis open, and its inputs and outputs share none, they have no batch, and
        the file runs as it is with 1.
      length: size of every axis but the first that an input leaves open, such as the tokens of a
        text; None where none is open.
      kernels: one of `KERNELS`: `"xnnpack"` runs the operators that XNNPACK takes with it, as
        LiteRT does by default, `"builtin"` all of them with LiteRT's own optimized kernels,
        `"reference"` with its plain ones.

    Attributes:
      inputs: what `run` takes, in the file's order.
      outputs: what `run` gives, in the file's order.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count out of its range, a file that LiteRT refuses, an input or output that
        holds no real numbers, an input with an axis other than the first that has no size and no
        `length`, or a length where none is open, or a graph that cannot be resized to `batch` or of
        which an output does not follow it.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        threads: int = 1,
        batch: int = 1,
        length: int | None = None,
        kernels: str = "xnnpack",
    ) -> None:
        check_counts(threads=threads, batch=batch, **({} if length is None else {"length": length}))
        self._interpreter, name = _interpreter(source, threads, kernels)
        _check_types(self._interpreter, name)
        _allocate(self._interpreter, name, batch, length)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self.inputs = tuple(map(_details, inputs))
        self.outputs = tuple(map(_details, outputs))
        self._input_indices = tuple(record["index"] for record in inputs)
        self._output_indices = tuple(record["index"] for record in outputs)

    def shapes(self) -> dict[int, tuple[int, ...]]:
        """The sizes that the tensors of the main graph had in the last call, by their numbers.

        Before the first, a tensor whose sizes show only in a call has those that the file states.
        """
        records = self._interpreter.get_tensor_details()
        return {int(each["index"]): tuple(map(int, each["shape"])) for each in records}

    def plan(self) -> Plan:
        """What LiteRT made of the operators: name, count of inputs and of outputs of each.

        The operators of the file come first, then the parts of the graph that XNNPACK took over,
        each as a `DELEGATE`. Two files with the same plan are run by the same engines.
        """
        nodes = self._nodes()
        return tuple((node["op_name"], len(node["inputs"]), len(node["outputs"])) for node in nodes)

    def share(self) -> Share:
        """Which operators of the main graph XNNPACK took, as LiteRT planned it for this session.

        LiteRT says where a part that was taken over begins and ends, not what is in it: what is in
        it are the operators between its inputs and its outputs.
        """
        nodes = self._nodes()
        parts = [node for node in nodes if node["op_name"] == _TAKEN_OVER]
        own = [node for node in nodes if node["op_name"] != _TAKEN_OVER]
        producers = {output: node for node in own for output in node["outputs"]}
        taken = {node["index"] for part in parts for node in _between(part, producers)}
        left = tuple(node["op_name"] for node in own if node["index"] not in taken)
        return Share(operators=len(own), taken=len(taken), parts=len(parts), left=left)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch.

        Args:
          inputs: one array for each of `inputs`, of its shape and dtype.

        Returns:
          the outputs as the file gives them, one for each of `outputs`.

        Raises:
          ValueError: another count, shape or dtype.
        """
        interpreter, indices = self._interpreter, self._input_indices
        if len(inputs) != len(indices):
            check_inputs(inputs, self.inputs)
        # This call is timed, and runs with cold caches after each inference: LiteRT refuses another
        # shape or dtype itself, but for one of another byte order, and every object less counts.
        try:
            for index, array in zip(indices, inputs):  # noqa: B905 - the counts are equal here
                if not array.dtype.isnative:
                    check_inputs(inputs, self.inputs)
                interpreter.set_tensor(index, array)
        except (AttributeError, ValueError):
            check_inputs(inputs, self.inputs)
            raise
        interpreter.invoke()
        return tuple(map(interpreter.get_tensor, self._output_indices))

    def _nodes(self) -> list[dict[str, Any]]:
        # LiteRT's Python interface has no public name for it.
        nodes: list[dict[str, Any]] = self._interpreter._get_ops_details()
        return nodes


class Session:
    """A loaded file with one input, a batch of images, and one output.

    Args:
      source: the path of a TFLite file, or its bytes.
      threads: processor threads, 1 to 256.
      batch: images in one call, 1 to 65,536.
      length: see `GraphSession`.
      kernels: see `GraphSession`.

    Raises:
      ValueError: more than one input or output, or what `GraphSession` refuses.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        threads: int = 1,
        batch: int = 1,
        length: int | None = None,
        kernels: str = "xnnpack",
    ) -> None:
        self._graph = GraphSession(
            source, threads=threads, batch=batch, length=length, kernels=kernels
        )
        counts = len(self._graph.inputs), len(self._graph.outputs)
        if counts != (1, 1):
            raise ValueError(
                f"{_name(source)} has {counts[0]} inputs and {counts[1]} outputs. "
                "Expected one input, a batch of images, and one output."
            )
        (self.input_details,), (self.output_details,) = self._graph.inputs, self._graph.outputs

    def plan(self) -> Plan:
        """What LiteRT made of the operators; see `GraphSession.plan`."""
        return self._graph.plan()

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Runs one batch.

        Args:
          inputs: of `input_details.shape` and `input_details.dtype`.

        Returns:
          the output as the file gives it, of `output_details.shape` and `output_details.dtype`.

        Raises:
          ValueError: another shape or dtype.
        """
        return self._graph.run((inputs,))[0]


def check_inputs(inputs: Sequence[np.ndarray], expected: Sequence[TensorDetails]) -> None:
    """Raises ValueError where arrays are not of the expected count, shapes and dtypes.

    An engine may take another array that has as many bytes, and give the outputs of nonsense.
    """
    if len(inputs) == len(expected):
        pairs = zip(inputs, expected, strict=True)
        if all(
            isinstance(array, np.ndarray)
            and array.shape == details.shape
            and array.dtype == details.dtype
            for array, details in pairs
        ):
            return
    subject = "The input must be" if len(expected) == 1 else f"The {len(expected)} inputs must be"
    received = ", ".join(
        f"{array.dtype} {list(array.shape)}"
        if isinstance(array, np.ndarray)
        else type(array).__name__
        for array in inputs
    )
    raise ValueError(f"{subject} {_written(expected)}. Received: {received or 'nothing'}.")


def check_counts(**counts: int) -> None:
    """Raises ValueError where one of the named counts is no integer of at least 1, or is too large.

    `threads` goes up to 256, `batch` and `batch_size` up to 65,536.
    """
    for name, count in counts.items():
        most = _LARGEST.get(name)
        is_count = isinstance(count, int | np.integer) and not isinstance(count, bool) and count > 0
        if not is_count or (most is not None and count > most):
            limit = "" if most is None else f" and at most {most:,}"
            raise ValueError(
                f"{name} must be an integer of at least 1{limit}. Received: {count!r}."
            )


def _interpreter(
    source: str | os.PathLike[str] | bytes, threads: int, kernels: str
) -> tuple[Any, str]:
    # Here, not above: a program's --help must not wait for it.
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolvers = (
        OpResolverType.AUTO,
        OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        OpResolverType.BUILTIN_REF,
    )
    resolver = resolvers[KERNELS.index(kernels)]
    name = _name(source)
    model: dict[str, str | bytes]
    if isinstance(source, bytes):
        model = {"model_content": source}
    else:
        model = {"model_path": os.fspath(source)}
        if not os.path.isfile(name):
            raise FileNotFoundError(f"No TFLite file at {name}.")
    try:
        with native_output.held([]):
            interpreter = Interpreter(
                **model, num_threads=threads, experimental_op_resolver_type=resolver
            )
            return interpreter, name
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be loaded by LiteRT: {error}. Expected a whole .tflite file."
        ) from error


def _name(source: str | os.PathLike[str] | bytes) -> str:
    return "The TFLite model" if isinstance(source, bytes) else os.fspath(source)


def _check_types(interpreter: Any, name: str) -> None:
    """Raises ValueError where an input or output holds no numbers."""
    for what, records in (
        ("input", interpreter.get_input_details()),
        ("output", interpreter.get_output_details()),
    ):
        for record in records:
            dtype = np.dtype(record["dtype"])
            if dtype.kind not in "biuf":
                kind = "text" if dtype.kind in "SUO" else dtype.name
                raise ValueError(
                    f"{name} has an {what} of {kind}, {record['name']!r}. Expected real numbers: "
                    f"export it without that {what}."
                )


def _allocate(interpreter: Any, name: str, batch: int, length: int | None) -> None:
    """Gives every input that has a batch this one as its first axis, and the graph its memory."""
    records = interpreter.get_input_details()
    own = _written([_details(record) for record in records])
    _check_sizes(records, name, length)
    batched = _batched(interpreter)
    if not batched and batch != 1:
        raise ValueError(
            f"{name} takes {own}, whose first axis is no batch: it is fixed, and not that of every "
            f"input and of an output. Received: batch {batch}. Pass a batch of 1."
        )
    firsts = {int(record["index"]) for record in batched}
    sizes = {
        int(record["index"]): _sizes(record, batch if record["index"] in firsts else None, length)
        for record in records
    }
    resized = [record for record in records if list(record["shape"]) != sizes[record["index"]]]
    # Of the outputs as the file states them, those that must change with the inputs.
    stated = {int(record["shape"][0]) for record in resized}
    following = [
        place
        for place, record in enumerate(interpreter.get_output_details())
        if len(record["shape"]) and int(record["shape"][0]) in stated
    ]
    try:
        for record in resized:
            interpreter.resize_tensor_input(record["index"], sizes[record["index"]])
        with native_output.held([]):
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        advice = (
            f" Its own inputs are {own}: pass that batch, or a smaller one if memory ran short, "
            "which LiteRT does not tell apart."
        )
        raise ValueError(
            f"{name} cannot be run by LiteRT with batch {batch}: {error}{advice if resized else ''}"
        ) from error
    if resized and not _follow(interpreter, batch, following):
        raise ValueError(
            f"{name} takes batch {batch} but does not give every output for it: "
            f"{_written([_details(record) for record in interpreter.get_output_details()])}. "
            f"Its own inputs are {own}: pass that batch."
        )


def _check_sizes(records: Sequence[dict[str, Any]], name: str, length: int | None) -> None:
    """Raises ValueError where an axis is open and has no length, or none is and there is one."""
    signatures = [[int(size) for size in record["shape_signature"]] for record in records]
    unknown = [sizes for sizes in signatures if any(size < 0 for size in sizes[1:])]
    if unknown and length is None:
        raise ValueError(
            f"{name} has an input of sizes {unknown[0]} in which -1 is open. Expected fixed sizes "
            "but for the first axis, the batch. Say the size, as in litert_cpu(length=32), or "
            "export it with one."
        )
    if length is not None and not unknown:
        raise ValueError(
            f"{name} has no input of an open size but the batch: {signatures}. Received: length "
            f"{length}. Leave it out."
        )


def _sizes(record: Mapping[str, Any], batch: int | None, length: int | None) -> list[int]:
    """What an input is resized to: its own sizes, but for the batch and those that are open."""
    own = [int(size) for size in record["shape"]]
    sizes = [
        length if axis and size < 0 and length is not None else own[axis]
        for axis, size in enumerate(map(int, record["shape_signature"]))
    ]
    return sizes if batch is None else [batch, *sizes[1:]]


def _batched(interpreter: Any) -> list[dict[str, Any]]:
    """The inputs whose first axis is the batch.

    They are those that are open there; where none is, all, if they and an output share its size.
    """
    inputs = interpreter.get_input_details()
    is_open = [
        record
        for record in inputs
        if len(record["shape_signature"]) and record["shape_signature"][0] < 0
    ]
    if is_open:
        return is_open
    sizes = {tuple(record["shape"][:1]) for record in inputs}
    outputs = {tuple(record["shape"][:1]) for record in interpreter.get_output_details()}
    return inputs if len(sizes) == 1 and () not in sizes and sizes <= outputs else []


def _follow(interpreter: Any, batch: int, following: Sequence[int]) -> bool:
    """Whether those outputs, and one at least, have the batch as their first axis.

    Where they have it not so far, the graph may find its sizes only as it runs: it runs once, on
    zeros.
    """

    def found() -> bool:
        outputs = interpreter.get_output_details()
        has = [len(record["shape"]) > 0 and record["shape"][0] == batch for record in outputs]
        return any(has) and all(has[place] for place in following)

    if found():
        return True
    for record in interpreter.get_input_details():
        interpreter.set_tensor(record["index"], np.zeros(record["shape"], record["dtype"]))
    try:
        interpreter.invoke()
    except (RuntimeError, ValueError):
        return False
    return found()


def _between(
    part: Mapping[str, Any], producers: Mapping[int, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The operators that lead from the inputs of a part to its outputs."""
    seen = {int(index) for index in part["inputs"]}
    open_ends = [int(index) for index in part["outputs"]]
    while open_ends:
        index = open_ends.pop()
        if index in seen or index not in producers:
            continue
        seen.add(index)
        node = producers[index]
        yield node
        open_ends.extend(int(end) for end in node["inputs"])


def _written(details: Sequence[TensorDetails]) -> str:
    return " and ".join(f"{one.dtype} {list(one.shape)}" for one in details)


def _details(record: dict[str, Any]) -> TensorDetails:
    """Shape, type, scale and zero point of a tensor, read from the file."""
    parameters = record["quantization_parameters"]
    shape = tuple(int(size) for size in record["shape"])
    dtype = np.dtype(record["dtype"])
    if len(parameters["scales"]) == 0:
        return TensorDetails(shape, dtype)
    return TensorDetails(
        shape, dtype, float(parameters["scales"][0]), int(parameters["zero_points"][0])
    )
