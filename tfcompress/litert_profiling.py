"""One call of a TFLite file on the processor, operator by operator, through LiteRT's C interface.

    with ProfiledModel("a.tflite", threads=1, batch=1, kernels="xnnpack") as model:
        model.call()
        events = model.record()

LiteRT's Python package has no profiler, but the library that it carries has one. Knows the
functions and the structures of that library, checked against the versions in `TESTED`; another
version is refused, since a structure of another layout would give numbers that look right. A wrong
layout can end the process: use it in a process of its own, as `benchmark.profiling` does. Does not
know what the times mean. No TensorFlow.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import file_graph, flatbuffer, native_output, registry
from tfcompress.litert import check_counts
from tfcompress.random_inputs import random_values

TESTED = ("2.3.0",)
"""Versions of ai-edge-litert whose structures are those below."""

KERNELS = ("xnnpack", "builtin")
"""Those of `litert.KERNELS` that can be profiled. LiteRT's compiled models, which the profiler
belongs to, run the builtin kernels where the reference ones are asked for (seen with 2.3.0)."""

# LiteRtProfilerEventType of litert/c/litert_profiler_event.h, the kinds that carry an operator.
OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED_OPERATOR = 2, 4, 8
_KNOWN_TYPES = frozenset(1 << bit for bit in range(9))
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_MODES = {"xnnpack": "delegate", "builtin": "builtin"}
# LiteRtElementType, which is not numbered as the types of a file are.
_DTYPES = {
    1: np.float32,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    9: np.int8,
    10: np.float16,
}


@dataclass(frozen=True)
class Event:
    """Something that LiteRT timed.

    Attributes:
      tag: the operator's name as its engine gives it.
      type: of LiteRT's numbers, such as `OPERATOR`.
      elapsed_us: whole microseconds.
      index: of the operator, in the file for `OPERATOR`, within the delegate for the others.
    """

    tag: str
    type: int
    elapsed_us: int
    index: int


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("total", "in_use", "private_footprint")]


class _Event(ctypes.Structure):
    """ProfiledEventData of litert/c/litert_profiler_event.h."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("begin_memory", _Memory),
        ("end_memory", _Memory),
        ("index", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class _Layout(ctypes.Structure):
    """LiteRtLayout of litert/c/litert_layout.h; `bits` holds the rank in the lowest seven."""

    _fields_ = [
        ("bits", ctypes.c_uint),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    ]

    def shape(self) -> list[int]:
        """The sizes; -1 for an open one."""
        return list(self.dimensions)[: self.bits & 127]


class _TensorType(ctypes.Structure):
    """LiteRtRankedTensorType of litert/c/litert_model_types.h."""

    _fields_ = [("element", ctypes.c_int), ("layout", _Layout)]


def unavailable() -> str | None:
    """Why there is no profile on this machine; None where there is."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return "A profile by operator is known for 64-bit Linux only."
    try:
        version = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError:
        return "The package ai-edge-litert is not installed: pip install ai-edge-litert."
    if version not in TESTED:
        return (
            "A profile by operator reads structures of LiteRT's library that are known for "
            f"ai-edge-litert {', '.join(TESTED)}. Received: {version}."
        )
    if not _library_path().is_file():
        return f"The package ai-edge-litert has no {_library_path().name}. Install it again."
    return None


def _library_path() -> Path:
    found = importlib.util.find_spec("ai_edge_litert")
    origin = "" if found is None else found.origin or ""
    return Path(origin).parent / "libLiteRt.so"


class _Refused(ValueError):
    """LiteRT's library answered with an error."""


def _checked(event: Any) -> Event:
    """An event of the library, whose fields hold what they can only hold in the known layout."""
    try:
        tag = (event.tag or b"").decode("utf-8")
    except UnicodeDecodeError:
        tag = ""
    if not tag or event.type not in _KNOWN_TYPES or event.source not in (0, 1, 2):
        raise RuntimeError(
            f"LiteRT's profiler gave an event that is none: tag {event.tag!r}, type {event.type}, "
            f"source {event.source}. Expected the layout of ai-edge-litert {', '.join(TESTED)}."
        )
    return Event(tag, int(event.type), int(event.elapsed_us), int(event.index))


class ProfiledModel:
    """A file loaded with LiteRT's profiler, its inputs filled with random values, called once.

    Args:
      path: of a TFLite file.
      threads: processor threads, 1 to 256.
      batch: images in one call; the first size of each input.
      kernels: one of `KERNELS`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count out of its range, an unknown name, a file whose signatures run several
        graphs, or one that LiteRT refuses.
      RuntimeError: there is no profile on this machine; see `unavailable`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int, batch: int, kernels: str
    ) -> None:
        check_counts(threads=threads, batch=batch)
        registry.require(kernels, KERNELS, what="kind of kernels with a profile")
        reason = unavailable()
        if reason is not None:
            raise RuntimeError(reason)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"No TFLite file at {os.fspath(path)}.")
        # LiteRT's library ends the process over a truncated file.
        parsed = flatbuffer.parse(Path(path).read_bytes(), source=os.fspath(path))
        # The calls below ask for the first signature; the operators' names are the first graph's.
        graph = file_graph.main_graph(parsed, source=os.fspath(path))
        file_graph.require_sizes(graph, source=os.fspath(path))
        self._library = ctypes.CDLL(str(_library_path()))
        self._kept: list[Any] = []
        self._release: list[tuple[str, ctypes.c_void_p]] = []
        said: list[str] = []
        try:
            with native_output.held(said):
                self._load(os.fspath(path), threads, kernels)
                self._inputs = self._buffers("Input", batch)
                self._outputs = self._buffers("Output", batch)
                # The cold first call, here where LiteRT's words are kept for the message.
                self.call()
        except _Refused as error:
            self.close()
            lines = [line for line in "".join(said).splitlines() if "ERROR" in line]
            stated = file_graph.batch(graph)
            raise ValueError(
                f"{os.fspath(path)} cannot be profiled with batch {batch} and {kernels} kernels: "
                f"{error}. {'; '.join(lines).rstrip('.') or 'LiteRT gives no reason'}."
                + ("" if stated == batch else f" The file states a batch of {stated}: pass that.")
            ) from None

    def __enter__(self) -> ProfiledModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees what the library holds."""
        with native_output.held([]):
            while self._release:
                function, handle = self._release.pop()
                getattr(self._library, function)(handle)

    def call(self) -> None:
        """Runs the model once and returns when the outputs are there."""
        self._ask(
            "LiteRtRunCompiledModel",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(self._inputs)),
            self._inputs,
            ctypes.c_size_t(len(self._outputs)),
            self._outputs,
        )

    def record(self) -> tuple[Event, ...]:
        """Runs the model once and returns what LiteRT timed, in its order.

        Raises:
          RuntimeError: events that are not of the known layout.
        """
        self._ask("LiteRtStartProfiler", self._profiler)
        try:
            self.call()
        finally:
            self._ask("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._ask("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(1, count.value))()
        if count.value:
            self._ask("LiteRtGetProfilerEvents", self._profiler, count, events)
        found = tuple(map(_checked, events[: count.value]))
        self._ask("LiteRtResetProfiler", self._profiler)
        return found

    def _load(self, path: str, threads: int, kernels: str) -> None:
        environment = self._made("Environment", ctypes.c_int(0), None)
        model = self._made("ModelFromFile", environment, path.encode(), release="Model")
        options = self._made("Options")
        self._ask("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        modes = f'kernel_mode = "{_MODES[kernels]}"\nnum_threads = {threads}\n'
        # The options of the processor go by this name, whatever the kernels.
        self._add(options, "xnnpack", modes)
        self._environment = environment
        self._model = self._made("CompiledModel", environment, model, options)
        self._profiler = ctypes.c_void_p()
        self._ask("LiteRtCompiledModelGetProfiler", self._model, ctypes.byref(self._profiler))
        self._signature = ctypes.c_void_p()
        self._ask(
            "LiteRtGetModelSignature", model, ctypes.c_size_t(0), ctypes.byref(self._signature)
        )

    def _add(self, options: ctypes.c_void_p, name: str, text: str) -> None:
        payload = ctypes.create_string_buffer(text.encode())
        # The payload is Python's: the library calls this where it would free it.
        leave = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        self._kept += [payload, leave]
        made = ctypes.c_void_p()
        self._ask(
            "LiteRtCreateOpaqueOptions",
            name.encode(),
            ctypes.cast(payload, ctypes.c_void_p),
            leave,
            ctypes.byref(made),
        )
        self._ask("LiteRtAddOpaqueOptions", options, made)

    def _buffers(self, kind: str, batch: int) -> Any:
        count = ctypes.c_size_t()
        self._ask(f"LiteRtGetNumSignature{kind}s", self._signature, ctypes.byref(count))
        layouts = (_Layout * count.value)()
        types = [self._tensor_type(kind, index) for index in range(count.value)]
        if kind == "Input":
            for index, found in enumerate(types):
                self._resize(index, found, batch)
        else:
            self._ask(
                "LiteRtGetCompiledModelOutputTensorLayouts",
                self._model,
                ctypes.c_size_t(0),
                count,
                layouts,
                ctypes.c_bool(True),
            )
            for found, layout in zip(types, layouts, strict=True):
                found.layout = layout
        buffers = (ctypes.c_void_p * count.value)()
        for index, found in enumerate(types):
            buffers[index] = self._buffer(kind, index, found)
            if kind == "Input":
                self._fill(ctypes.c_void_p(buffers[index]), found)
        return buffers

    def _tensor_type(self, kind: str, index: int) -> _TensorType:
        tensor, found = ctypes.c_void_p(), _TensorType()
        self._ask(
            f"LiteRtGetSignature{kind}TensorByIndex",
            self._signature,
            ctypes.c_size_t(index),
            ctypes.byref(tensor),
        )
        self._ask("LiteRtGetRankedTensorType", tensor, ctypes.byref(found))
        return found

    def _resize(self, index: int, found: _TensorType, batch: int) -> None:
        stated = found.layout.shape()
        if any(size < 0 for size in stated[1:]):
            raise _Refused(f"input {index} has an open size other than the batch: {stated}")
        sizes = [batch, *stated[1:]] if stated else []
        if sizes != stated:
            self._ask(
                "LiteRtCompiledModelResizeInputTensorNonStrict",
                self._model,
                ctypes.c_size_t(0),
                ctypes.c_size_t(index),
                (ctypes.c_int * len(sizes))(*sizes),
                ctypes.c_size_t(len(sizes)),
            )
        self._ask(
            "LiteRtGetCompiledModelInputTensorLayout",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(index),
            ctypes.byref(found.layout),
        )

    def _buffer(self, kind: str, index: int, found: _TensorType) -> int:
        needs = ctypes.c_void_p()
        self._ask(
            f"LiteRtGetCompiledModel{kind}BufferRequirements",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(index),
            ctypes.byref(needs),
        )
        made = self._made(
            "ManagedTensorBufferFromRequirements",
            self._environment,
            ctypes.byref(found),
            needs,
            release="TensorBuffer",
        )
        return int(made.value or 0)

    def _fill(self, buffer: ctypes.c_void_p, found: _TensorType) -> None:
        """Writes random values, so that no kernel meets numbers that are slow or not numbers."""
        if found.element not in _DTYPES:
            raise _Refused(
                f"an input has LiteRT's element type {found.element}, which is not known"
            )
        values = random_values(np.dtype(_DTYPES[found.element]), tuple(found.layout.shape()))
        address = ctypes.c_void_p()
        mode = ctypes.c_int(_WRITE)
        self._ask("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), mode)
        try:
            ctypes.memmove(address, values.ctypes.data, values.nbytes)
        finally:
            self._ask("LiteRtUnlockTensorBuffer", buffer)

    def _made(self, kind: str, *arguments: Any, release: str | None = None) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self._ask(f"LiteRtCreate{kind}", *arguments, ctypes.byref(made))
        self._release.append((f"LiteRtDestroy{release or kind}", made))
        return made

    def _ask(self, function: str, *arguments: Any) -> None:
        asked = getattr(self._library, function, None)
        if asked is None:
            raise RuntimeError(
                f"LiteRT's library has no {function}. Expected that of ai-edge-litert "
                f"{', '.join(TESTED)}: install it again."
            )
        status = asked(*arguments)
        if status != 0:
            raise _Refused(f"{function} answers {status}")
