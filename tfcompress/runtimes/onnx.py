"""ONNX Runtime on the processor or an NVIDIA GPU, for ONNX files and what tf2onnx makes of others.

Knows how to have a TFLite file or a Keras model converted, in a process of its own, so that the one
that measures holds no TensorFlow; and that ONNX Runtime took the whole graph to the device that was
asked for. An int8 file keeps its integers; one with dynamic ranges computes in float, since ONNX
gets no such arithmetic from tf2onnx. Needs the extra `onnx`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import own_process, registry
from tfcompress.litert import TensorDetails, check_counts, check_inputs
from tfcompress.runtimes import Placement

SUFFIXES = (".onnx", ".tflite", ".keras", ".h5")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_EXTRA = "pip install tfcompress[onnx]"
_CONVERTER = "tfcompress.runtimes._to_onnx"
# Most of it is the import of TensorFlow; a conversion of large networks takes a minute.
_CONVERSION_SECONDS = 240
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

# What `prepare` converted, by the file's path, size and time of change.
_converted: dict[tuple[str, int, int], bytes] = {}


@dataclass(frozen=True)
class Options:
    """What can be asked of ONNX Runtime.

    Attributes:
      provider: `"cpu"`, or `"cuda"` for an NVIDIA GPU, which the package onnxruntime-gpu serves.

    Raises:
      ValueError: an unknown name.
    """

    provider: str = "cpu"

    def __post_init__(self) -> None:
        registry.require(self.provider, tuple(_PROVIDERS), what="value of onnx's provider")


class OnnxSession:
    """An ONNX graph; see `tfcompress.runtimes.Session`.

    Args:
      session: ONNX Runtime's.
      batch: examples in one call.
      name: of the file, for messages.

    Raises:
      ValueError: an input with a size that is open or another batch, or of a type that is no
        number.
    """

    def __init__(self, session: Any, *, batch: int, name: str) -> None:
        self._session = session
        inputs = session.get_inputs()
        self.inputs = tuple(_details(one, batch, name) for one in inputs)
        self._names = tuple(one.name for one in inputs)

    @property
    def placement(self) -> Placement:
        """The device whose provider ONNX Runtime gave the whole graph.

        ONNX Runtime names no GPU.
        """
        # A session on the GPU has the processor's provider too, which was kept from taking a part.
        provider = self._session.get_providers()[0]
        device = "gpu" if provider == _PROVIDERS["cuda"] else "cpu"
        return Placement(device, details={"provider": provider})

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch, the outputs in host memory.

        Raises:
          ValueError: another count, shape or dtype than `inputs`.
          RuntimeError: ONNX Runtime cannot run the graph so.
        """
        check_inputs(inputs, self.inputs)
        feeds = dict(zip(self._names, inputs, strict=True))
        try:
            return tuple(self._session.run(None, feeds))
        except Exception as error:  # ONNX Runtime's errors have no other class in common.
            raise RuntimeError(f"ONNX Runtime cannot run the graph: {error}") from error


def device(options: Options) -> str:
    """That of the provider."""
    return "cpu" if options.provider == "cpu" else "gpu"


def unavailable(options: Options) -> str | None:
    """Why this runtime cannot work here; None where it can.

    A file other than `.onnx` needs tf2onnx as well, which `prepare` looks for.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return f"The package onnxruntime is not installed: {_EXTRA}."
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if _PROVIDERS[options.provider] not in available:
        return (
            f"This onnxruntime has no {_PROVIDERS[options.provider]}. It has: "
            f"{', '.join(available)}. For an NVIDIA GPU: pip install onnxruntime-gpu."
        )
    return None


def prepare(path: str | os.PathLike[str], options: Options) -> None:
    """Imports the engine, and converts a file that is no ONNX file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file that cannot be converted.
    """
    importlib.import_module("onnxruntime")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No model file at {path}.")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"The onnx runtime takes {', '.join(SUFFIXES)} files. Received: {path}.")
    if path.suffix != ".onnx" and _key(path) not in _converted:
        _converted[_key(path)] = _convert(path)


def open(
    path: str | os.PathLike[str], *, threads: int, batch: int, options: Options
) -> OnnxSession:
    """Loads a file, converted by `prepare` or now, for batches of one size.

    Args:
      path: an ONNX, TFLite or Keras file.
      threads: processor threads.
      batch: examples in one call.
      options: where it runs.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count below 1, a file that cannot be converted or that ONNX Runtime refuses,
        such as one with an operator that does not run where it was asked for, or what `OnnxSession`
        does not take.
    """
    check_counts(threads=threads, batch=batch)
    prepare(path, options)
    import onnxruntime

    path = Path(path)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # What is wrong is raised as well.
    provider = _PROVIDERS[options.provider]
    if options.provider != "cpu":
        # Otherwise it runs on the processor, in silence, what has no kernel for the GPU.
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    source = str(path) if path.suffix == ".onnx" else _converted[_key(path)]
    try:
        session = onnxruntime.InferenceSession(source, settings, providers=[provider])
    except Exception as error:  # ONNX Runtime's errors have no other class in common.
        raise ValueError(f"{path} cannot be loaded by ONNX Runtime: {error}") from error
    # Nor does it start again on the processor where a call fails.
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        raise ValueError(
            f"{path} was asked for on {provider}. ONNX Runtime took {session.get_providers()}."
        )
    return OnnxSession(session, batch=batch, name=str(path))


def _key(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _convert(path: Path) -> bytes:
    """The ONNX file of a TFLite or Keras file, made in another process."""
    missing = [name for name in ("tf2onnx", "tensorflow") if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(
            f"{path} must be converted to ONNX first. Not installed: {', '.join(missing)}. "
            f"Expected: {_EXTRA}, or an .onnx file."
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        try:
            done = own_process.run_module(
                _CONVERTER, str(path), str(target), timeout_seconds=_CONVERSION_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"{path} was not converted to ONNX within {_CONVERSION_SECONDS} s."
            ) from None
        if done.returncode != 0 or not target.is_file():
            reason = "\n  ".join(done.stderr.strip().splitlines()[-3:])
            raise ValueError(f"{path} cannot be converted to ONNX by tf2onnx:\n  {reason}")
        return target.read_bytes()


def _details(one: Any, batch: int, name: str) -> TensorDetails:
    """What an input takes; a size that is open is a word or None there."""
    if one.type not in _DTYPES:
        raise ValueError(
            f"{name} has an input {one.name!r} of {one.type}. Expected: {', '.join(_DTYPES)}."
        )
    first, sizes = one.shape[:1], one.shape[1:]
    is_open = not all(isinstance(size, int) for size in sizes)
    if is_open or (first and isinstance(first[0], int) and first[0] != batch):
        raise ValueError(
            f"{name} has an input {one.name!r} of sizes {one.shape}. Expected fixed sizes but for "
            f"the first axis, which must be open or the batch, {batch}."
        )
    if not first and batch != 1:
        raise ValueError(
            f"{name} has a scalar input, {one.name!r}, which has no first axis for batch {batch}. "
            "Pass a batch of 1."
        )
    return TensorDetails((batch, *sizes) if first else (), np.dtype(_DTYPES[one.type]))
