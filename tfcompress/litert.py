"""Runs a TFLite file on the processor with LiteRT.

Knows LiteRT's interpreter: one input, one output, a fixed batch, the count of threads always set;
and the one reading of scale and zero point. Does not know images, labels or what a file means. No
TensorFlow here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tfcompress import native_output

Plan: TypeAlias = tuple[tuple[str, int, int], ...]
"""What LiteRT runs: name, count of inputs and of outputs of each operator, see `Session.plan`."""

KERNELS = ("xnnpack", "builtin", "reference")
# LiteRT starts as many threads as it is told to, and takes the memory for a whole batch: far beyond
# these it does not fail but ends the process.
MOST_THREADS = 256
_LARGEST = {"threads": MOST_THREADS, "batch": 65_536, "batch_size": 65_536}


@dataclass(frozen=True)
class TensorDetails:
    """An input or output of a model.

    Attributes:
      shape: with the batch first.
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


class Session:
    """A loaded file, ready to run on batches of one size.

    Args:
      source: the path of a TFLite file, or its bytes.
      threads: processor threads, 1 to 256.
      batch: images in one call, 1 to 65,536.
      kernels: one of `KERNELS`: `"xnnpack"` runs the operators that XNNPACK takes with it, as
        LiteRT does by default, `"builtin"` all of them with LiteRT's own optimized kernels,
        `"reference"` with its plain ones.

    Raises:
      ValueError: a count out of its range, a file that LiteRT refuses, more than one input or
        output, or a graph that cannot be resized to `batch`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        threads: int = 1,
        batch: int = 1,
        kernels: str = "xnnpack",
    ) -> None:
        check_counts(threads=threads, batch=batch)
        self._interpreter, source_name = _interpreter(source, threads, kernels)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"{source_name} has {len(inputs)} inputs and {len(outputs)} outputs. "
                "Expected one input, a batch of images, and one output."
            )
        try:
            if inputs[0]["shape"][0] != batch:
                shape = [batch, *inputs[0]["shape"][1:]]
                self._interpreter.resize_tensor_input(inputs[0]["index"], shape)
            with native_output.held([]):
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{source_name} cannot run with batch {batch}: {error}. "
                "Pass a batch of 1 where the file was exported for single images."
            ) from error
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self.input_details = _details(self._interpreter.get_input_details()[0])
        self.output_details = _details(self._interpreter.get_output_details()[0])

    def plan(self) -> Plan:
        """What LiteRT made of the operators: name, count of inputs and of outputs of each.

        The operators of the file come first, then the parts of the graph that XNNPACK took over,
        each as a `DELEGATE`. Two files with the same plan are run by the same engines.
        """
        # LiteRT's Python interface has no public name for it.
        nodes = self._interpreter._get_ops_details()
        return tuple((node["op_name"], len(node["inputs"]), len(node["outputs"])) for node in nodes)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Runs one batch.

        Args:
          inputs: of `input_details.shape` and `input_details.dtype`.

        Returns:
          the output as the file gives it, of `output_details.shape` and `output_details.dtype`.

        Raises:
          ValueError: another shape or dtype.
        """
        details = self.input_details
        if inputs.shape != details.shape or inputs.dtype != details.dtype:
            raise ValueError(
                f"The input must be {details.dtype} {list(details.shape)}. "
                f"Received: {inputs.dtype} {list(inputs.shape)}."
            )
        self._interpreter.set_tensor(self._input_index, inputs)
        self._interpreter.invoke()
        output: np.ndarray = self._interpreter.get_tensor(self._output_index)
        return output


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
    model: dict[str, str | bytes]
    if isinstance(source, bytes):
        name, model = "The TFLite model", {"model_content": source}
    else:
        name, model = str(source), {"model_path": os.fspath(source)}
        if not os.path.isfile(name):
            raise FileNotFoundError(f"No TFLite file at {name}.")
    try:
        with native_output.held([]):
            interpreter = Interpreter(
                **model, num_threads=threads, experimental_op_resolver_type=resolver
            )
            return interpreter, name
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name} cannot be loaded by LiteRT: {error}") from error


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
