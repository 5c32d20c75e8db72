"""LiteRT on a GPU: a compiled model over WebGPU, on Linux over Vulkan. No TensorFlow.

A figure of it appears only where it is proved that the whole graph ran on a hardware GPU: LiteRT
compiled it for the GPU alone, named the adapter, still has no operator of its own after a change of
the batch, and its outputs are those of the processor. What is not proved raises. Does not know how
LiteRT's words are read (`gpu_proof`) nor how a time is taken.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import gpu_proof, litert, native_output, output_difference, registry, vulkan
from tfcompress.gpu_proof import Adapter, ProofError
from tfcompress.random_inputs import random_values
from tfcompress.runtimes import Placement

SUFFIXES = (".tflite",)
PRECISIONS = ("float16", "float32")

_ACCELERATOR = "libLiteRtWebGpuAccelerator.so"
_NOT_WHOLE = "Some ops are not accelerated"


@dataclass(frozen=True)
class Options:
    """What can be asked of LiteRT on a GPU.

    Attributes:
      precision: `"float16"`, in which LiteRT computes on GPUs by default, or `"float32"`.
      software: whether a software rasterizer, with which the processor plays the GPU, will do. Its
        times mean nothing.
      partial: whether operators may stay on the processor.

    Raises:
      ValueError: an unknown precision.
    """

    precision: str = "float16"
    software: bool = False
    partial: bool = False

    def __post_init__(self) -> None:
        registry.require(self.precision, PRECISIONS, what="value of litert_gpu's precision")


@dataclass(frozen=True)
class _Compiled:
    """A model as LiteRT compiled it.

    Attributes:
      model: LiteRT's `CompiledModel`.
      adapter: what it runs on.
      left_over: operators that stay on the processor.
    """

    model: Any
    adapter: Adapter
    left_over: tuple[str, ...] = ()


class GpuSession:
    """A TFLite file on a GPU, for batches of one size; see `tfcompress.runtimes.Session`.

    Args:
      path: the file.
      compiled: the file as LiteRT compiled it.
      described: the file on the processor: inputs and outputs at the batch.
      batch: examples in one call.
      threads: for the processor's part, and for the outputs that it is held against.
      options: those that it was compiled with.

    Raises:
      ProofError: LiteRT takes operators back from the GPU for this batch, or builds another graph.
      ValueError: a batch that it cannot be given.
    """

    def __init__(
        self,
        path: Path,
        compiled: _Compiled,
        *,
        described: litert.GraphSession,
        batch: int,
        threads: int,
        options: Options,
    ) -> None:
        self._path, self._compiled, self._options = path, compiled, options
        self._batch, self._threads = batch, threads
        # Of the first run, which the proof is made with.
        self._given: tuple[np.ndarray, ...] | None = None
        self.inputs, self.outputs = described.inputs, described.outputs
        self._order_inputs, self._order_outputs = _orders(path, compiled.model)
        said: list[str] = []
        try:
            with native_output.held(said):
                self._allocate()
        except RuntimeError as error:
            shapes = " and ".join(str(list(one.shape)) for one in self.inputs)
            raise ValueError(
                f"{path} cannot be given inputs of {shapes} on the GPU: {error}. Pass the batch "
                f"that it was exported with. {gpu_proof.quote(said[-1])}"
            ) from error
        gpu_proof.refuse_misbuilt(said[-1], source=str(path))
        # After a change of the batch LiteRT plans the graph anew, and says so again.
        self._left_over = compiled.left_over
        if compiled.left_over:
            self._left_over = gpu_proof.left_over(said[-1], _operators(path)) or self._left_over
        # True of the graph as it stands now. It counts XNNPACK's part as accelerated, but LiteRT
        # has no XNNPACK where it compiled for the GPU alone.
        elif not compiled.model.is_fully_accelerated():
            raise ProofError(
                f"LiteRT took operators of {path} back from the GPU for batch {batch}. "
                f"{gpu_proof.quote(said[-1])}"
            )
        self._expected = [(one.shape, one.dtype) for one in self.inputs]
        self._reads = [(math.prod(one.shape), one.dtype, one.shape) for one in self.outputs]

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Copies one batch to the GPU, runs it and copies the outputs back, which waits for them.

        LiteRT's own call to run may return while the GPU still works.

        Raises:
          ValueError: another count, shape or dtype than `inputs`. LiteRT's buffers would take any
            array of as many bytes.
          ProofError: the GPU failed.
        """
        self._check(inputs)
        if self._given is not None:
            return self._run(inputs)
        said: list[str] = []
        try:
            with native_output.held(said):
                outputs = self._run(inputs)
        except RuntimeError as error:
            raise ProofError(
                f"{self._path} was compiled for the GPU but did not run on it: {error}. "
                f"{gpu_proof.quote(said[-1])}"
            ) from error
        gpu_proof.refuse_misbuilt(said[-1], source=str(self._path))
        self._given = tuple(inputs)
        return outputs

    # Found when it is asked for, so that no time and no memory that is measured has it in it.
    @cached_property
    def placement(self) -> Placement:
        """The GPU, once its outputs are those of the processor on the same inputs.

        It runs the file once on both, on the inputs of the first run, or on random ones where there
        was none; ask after the measurement, not before. The keys of `details`: `backend`,
        `architecture`, `vendor`, `adapter_type`, `precision`, `difference` (see
        `output_difference.fraction`) and `tolerance`, both as text.

        Raises:
          ProofError: other outputs, or an output without a finite value, which proves nothing, so
            that nothing may be said of their time.
        """
        tolerance = gpu_proof.TOLERANCES[self._options.precision, _is_quantized(self._path)]
        apart = self._difference()
        adapter = self._compiled.adapter
        if apart == math.inf:
            raise ProofError(
                f"On {adapter.name} {self._path} gives outputs that prove nothing: one has no "
                "finite value, or other values that are NaN or infinite than on the processor. "
                "Give inputs of which its outputs are finite, or try precision=float32."
            )
        if not apart <= tolerance:
            raise ProofError(
                f"On {adapter.name} {self._path} gives other outputs than on the processor: they "
                f"differ by {apart:.3g} of their spread, with {self._options.precision} arithmetic "
                f"at most {tolerance:g} is expected. A time of wrong outputs means nothing. Try "
                "precision=float32, or a file of another format."
            )
        return Placement(
            "gpu",
            device_name=adapter.name,
            software=not adapter.hardware,
            left_over=self._left_over,
            details={
                "backend": adapter.backend,
                "architecture": adapter.architecture,
                "vendor": adapter.vendor,
                "adapter_type": adapter.type,
                "precision": self._options.precision,
                "difference": f"{apart:.2g}",
                "tolerance": f"{tolerance:g}",
            },
        )

    def _allocate(self) -> None:
        model = self._compiled.model
        current = [list(shape) for shape in _input_shapes(model)]
        for index, position in enumerate(self._order_inputs):
            wanted = list(self.inputs[position].shape)
            if current[index] != wanted:
                model.resize_input_tensor(index, wanted, strict=False)
        ins, outs = model.create_input_buffers(0), model.create_output_buffers(0)
        self._in = [ins[self._order_inputs.index(place)] for place in range(len(ins))]
        self._out = [outs[self._order_outputs.index(place)] for place in range(len(outs))]
        self._signature = ins, outs

    def _check(self, inputs: Sequence[np.ndarray]) -> None:
        # This call is timed: `check_inputs`, which takes longer, writes the message.
        try:
            fits = [(array.shape, array.dtype) for array in inputs] == self._expected
        except AttributeError:
            fits = False
        if not fits:
            litert.check_inputs(inputs, self.inputs)

    def _run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        for buffer, array in zip(self._in, inputs, strict=True):
            buffer.write(array)
        self._compiled.model.run_by_index(0, *self._signature)
        pairs = zip(self._out, self._reads, strict=True)
        return tuple(
            [buffer.read(size, dtype).reshape(shape) for buffer, (size, dtype, shape) in pairs]
        )

    def _difference(self) -> float:
        processor = litert.GraphSession(self._path, threads=self._threads, batch=self._batch)
        inputs = self._given or [random_values(one.dtype, one.shape) for one in self.inputs]
        return output_difference.fraction(self.run(inputs), processor.run(inputs), self.outputs)


def device(options: Options) -> str:
    """The GPU."""
    return "gpu"


def unavailable(options: Options) -> str | None:
    """Why this runtime cannot work here as asked; None where nothing speaks against it.

    It asks Vulkan for its devices in a process of its own and starts no context on a GPU. Whether a
    graph runs there is found out by `open`.
    """
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None:
        return "The package ai-edge-litert is not installed: pip install ai-edge-litert."
    if importlib.util.find_spec("ml_dtypes") is None:
        return (
            "The package ml_dtypes, which LiteRT's buffers need, is not installed: pip install it."
        )
    folders = found.submodule_search_locations or []
    if not any((Path(folder) / _ACCELERATOR).is_file() for folder in folders):
        return (
            f"The installed ai-edge-litert has no {_ACCELERATOR}. Its wheels for Linux on x86-64 "
            "have it since 2.1."
        )
    try:
        devices = vulkan.devices()
    except vulkan.VulkanError as error:
        return str(error)
    if options.software or not all(device.software for device in devices):
        return None
    names = ", ".join(f"{device.name!r} ({device.type})" for device in devices)
    return (
        f"Vulkan has no hardware GPU here, only {names}. Install the GPU's Vulkan driver, or pass "
        "software=true to try it out: its times mean nothing."
    )


def prepare(path: str | os.PathLike[str], options: Options) -> None:
    """Imports the engine."""
    importlib.import_module("ai_edge_litert.compiled_model")
    importlib.import_module("ai_edge_litert.interpreter")


def open(path: str | os.PathLike[str], *, threads: int, batch: int, options: Options) -> GpuSession:
    """Loads a TFLite file for batches of one size and compiles it for the GPU.

    Args:
      path: a `.tflite` file with one signature at most.
      threads: of the processor's part, where `partial` lets it have one.
      batch: examples in one call.
      options: what is asked of the GPU.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count below 1, a file that LiteRT cannot run with this batch, or one of which
        operators would stay on the processor though `partial` is false.
      ProofError: no GPU, none of the kind that was asked for, or a doubt whether the graph runs
        there. It is a RuntimeError.
    """
    # Plain kernels: it is read for its inputs and outputs only, and checks the file and the counts.
    described = litert.GraphSession(path, threads=threads, batch=batch, kernels="builtin")
    path = Path(path)
    compiled = _compile(path, threads=threads, options=options)
    return GpuSession(
        path, compiled, described=described, batch=batch, threads=threads, options=options
    )


def _compile(path: Path, *, threads: int, options: Options) -> _Compiled:
    """For the GPU alone; where that leaves operators over and may, for both."""
    said: list[str] = []
    try:
        model = _from_file(path, said, processor_threads=None, options=options)
        left: tuple[str, ...] = ()
    except RuntimeError as error:
        absent = gpu_proof.no_device(error, said[-1])
        if absent is not None:
            raise absent from error
        # A device that was not asked for is the first thing to say, whatever else went wrong.
        gpu_proof.require_adapter(said[-1], software=options.software)
        left = _left_over(path, error, said[-1], options)
        model = _from_file(path, said, processor_threads=threads, options=options)
    adapter = gpu_proof.require_adapter(said[-1], software=options.software)
    gpu_proof.refuse_misbuilt(said[-1], source=str(path))
    if model.get_num_signatures() > 1:
        raise ValueError(
            f"{path} has {model.get_num_signatures()} signatures. Expected one: export the one "
            "that is to be measured alone."
        )
    return _Compiled(model, adapter, left)


def _from_file(
    path: Path, said: list[str], *, processor_threads: int | None, options: Options
) -> Any:
    """Compiles for the GPU alone, or with the processor where it is given threads."""
    from ai_edge_litert import compiled_model as litert_api

    hardware = litert_api.HardwareAccelerator.GPU
    if processor_threads is not None:
        hardware |= litert_api.HardwareAccelerator.CPU
    with native_output.held(said):
        return litert_api.CompiledModel.from_file(
            os.fspath(path),
            options=litert_api.Options(
                hardware_accelerators=hardware,
                cpu_options=litert_api.CpuOptions(num_threads=processor_threads or 1),
                gpu_options=litert_api.GpuOptions(
                    enforce_f32=options.precision == "float32",
                    # The run itself waits too, not only the reading of the outputs after it. The
                    # two together take as long either way.
                    benchmark_mode=True,
                ),
            ),
        )


def _left_over(path: Path, error: RuntimeError, said: str, options: Options) -> tuple[str, ...]:
    """What stays on the processor, where that is why it could not be compiled and it may."""
    if _NOT_WHOLE not in str(error):
        raise ValueError(
            f"{path} cannot be compiled for the GPU: {error}. {gpu_proof.quote(said)}"
        ) from error
    operators = _operators(path)
    left = gpu_proof.left_over(said, operators)
    if len(left) >= len(operators):
        raise ValueError(
            f"{path} has no operator that would run on the GPU: {', '.join(left)}. Run it on "
            f"litert_cpu. {gpu_proof.quote(said)}"
        ) from error
    if not options.partial:
        names = ", ".join(left) or "LiteRT does not say which"
        raise ValueError(
            f"{path} does not run whole on the GPU. On the processor would stay {len(left) or ''} "
            f"operators: {names}. Pass partial=true to run it on both, which is then reported. "
            f"{gpu_proof.quote(said)}"
        ) from error
    if not left:
        raise ProofError(
            f"{path} does not run whole on the GPU, and LiteRT does not say which operators stay "
            f"on the processor. {gpu_proof.quote(said)}"
        ) from error
    return left


def _parsed(path: Path) -> Any:
    # Here, not above: it imports ai_edge_litert, and `unavailable` says where that is absent.
    from tfcompress import flatbuffer

    return flatbuffer.parse(path.read_bytes(), source=str(path))


def _operators(path: Path) -> list[str]:
    from tfcompress import flatbuffer

    model = _parsed(path)
    return [name for name, _ in flatbuffer.named_operators(model, model.subgraphs[0])]


def _is_quantized(path: Path) -> bool:
    """Whether a tensor of the file stands for other values than it stores."""
    graphs = _parsed(path).subgraphs
    quantizations = [tensor.quantization for graph in graphs for tensor in graph.tensors]
    return any(
        one is not None and one.scale is not None and len(one.scale) > 0 for one in quantizations
    )


def _orders(path: Path, model: Any) -> tuple[list[int], list[int]]:
    """For each input and output of the signature, its place among those of the file."""
    key = next(iter(model.get_signature_list()))
    inputs = [one["index"] for one in model.get_input_tensor_details(key).values()]
    outputs = [one["index"] for one in model.get_output_tensor_details(key).values()]
    if len(inputs) == 1 and len(outputs) == 1:
        return [0], [0]
    graph = _parsed(path).subgraphs[0]
    of_file = list(map(int, graph.inputs)), list(map(int, graph.outputs))
    if sorted(inputs) != sorted(of_file[0]) or sorted(outputs) != sorted(of_file[1]):
        raise ValueError(
            f"The signature {key!r} of {path} leaves out inputs or outputs of the graph, or names "
            "one twice. Export it with each once."
        )
    return [of_file[0].index(one) for one in inputs], [of_file[1].index(one) for one in outputs]


def _input_shapes(model: Any) -> list[list[int]]:
    key = next(iter(model.get_signature_list()))
    return [one["shape"] for one in model.get_input_tensor_details(key).values()]
