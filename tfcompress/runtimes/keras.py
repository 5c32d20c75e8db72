"""A Keras model in TensorFlow, on the processor or a GPU.

Knows the three ways in which TensorFlow runs a model (operator by operator, as a traced function,
compiled by XLA), and how to prove on which device its operators stand. It is what an exported file
is held against.

The count of threads is a setting of the whole process, made before TensorFlow does its first work;
a measurement therefore runs in a process of its own. It holds in all three modes (seen with
TensorFlow 2.21), but for one: `eager` with two threads or more keeps one more busy, the one that
calls.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import registry
from tfcompress._keras import keras, tf
from tfcompress.litert import TensorDetails, check_counts, check_inputs
from tfcompress.runtimes import Placement

SUFFIXES = (".keras", ".h5")
MODES = ("function", "eager", "xla")
DEVICES = ("cpu", "gpu")
# They compute nothing: TensorFlow places them where their values are. A variable's own device is
# looked at instead.
_FOLLOWING = ("NoOp", "Placeholder", "Identity", "Const", "ReadVariableOp")


@dataclass(frozen=True)
class Options:
    """What can be asked of TensorFlow.

    Attributes:
      mode: `"function"` (traced once, then run as a graph), `"eager"` (operator by operator) or
        `"xla"` (compiled for the device in the first call).
      device: `"cpu"` or `"gpu"`, the first one that TensorFlow sees.

    Raises:
      ValueError: an unknown name.
    """

    mode: str = "function"
    device: str = "cpu"

    def __post_init__(self) -> None:
        registry.require(self.mode, MODES, what="value of keras's mode")
        registry.require(self.device, DEVICES, what="value of keras's device")


class KerasSession:
    """A Keras model in inference mode, for batches of one size.

    Args:
      model: inputs of fixed sizes but for the first axis.
      batch: examples in one call.
      options: how and where it runs.

    Raises:
      ValueError: an input with a size that is open or another batch, or one of text.
    """

    def __init__(self, model: keras.Model, *, batch: int, options: Options) -> None:
        self._options = options
        self.inputs = _inputs(model, batch)
        structure = model.input

        def call(*arrays: Any) -> list[Any]:
            with _on(options.device):
                nested = tf.nest.pack_sequence_as(structure, arrays)
                return tf.nest.flatten(model(nested, training=False))

        signature = [tf.TensorSpec(one.shape, tf.as_dtype(one.dtype)) for one in self.inputs]
        self._function = tf.function(call, signature, jit_compile=options.mode == "xla")
        self._call = call if options.mode == "eager" else self._function
        self._outputs: list[Any] = []

    @cached_property
    def placement(self) -> Placement:
        """Where the outputs of the last run lie, and the operators that stand elsewhere.

        It runs once, on zeros, where nothing has run so far; ask after the cold call, not before.

        Raises:
          RuntimeError: an output that does not lie on the device that was asked for.
        """
        if not self._outputs:
            self.run([np.zeros(one.shape, one.dtype) for one in self.inputs])
        device = self._options.device
        found = sorted({output.device for output in self._outputs})
        if any(not name.endswith(f"device:{device.upper()}:0") for name in found):
            raise RuntimeError(
                f"The outputs were asked for on the {device}. TensorFlow put them on {found}."
            )
        return Placement(
            device,
            device_name=_gpu_name() if device == "gpu" else None,
            left_over=elsewhere(self._function.get_concrete_function().graph, device),
            details={"mode": self._options.mode, "outputs_on": ", ".join(found)},
        )

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch, and copies the outputs to host memory, which waits for them.

        Raises:
          ValueError: another count, shape or dtype than `inputs`.
          RuntimeError: TensorFlow cannot run the model so, such as one that XLA cannot compile.
        """
        check_inputs(inputs, self.inputs)
        try:
            self._outputs = self._call(*map(tf.constant, inputs))
            return tuple([output.numpy() for output in self._outputs])
        except tf.errors.OpError as error:
            raise RuntimeError(
                f"TensorFlow cannot run the model with mode={self._options.mode} on the "
                f"{self._options.device}: {error.message}"
            ) from error


def elsewhere(graph: Any, device: str) -> tuple[str, ...]:
    """Names of the operators of a traced function that are not set on a device, one entry each.

    A variable that lies elsewhere is a `VARIABLE`.

    Args:
      graph: of the function.
      device: `"cpu"` or `"gpu"`.
    """
    nodes = [node for node in graph.as_graph_def().node if node.op not in _FOLLOWING]
    places = [(node.op, node.device) for node in nodes]
    places += [("VARIABLE", variable.device) for variable in graph.variables]
    wanted = f"device:{device}:0"
    return tuple(name for name, place in places if not place.lower().endswith(wanted))


def _on(device: str) -> AbstractContextManager[Any]:
    return tf.device(f"/device:{device.upper()}:0")


def _gpu_name() -> str | None:
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return details.get("device_name")


def _inputs(model: keras.Model, batch: int) -> tuple[TensorDetails, ...]:
    if not model.inputs:
        raise ValueError(
            f"The model {model.name!r} has no fixed inputs. Expected a functional model or a "
            "Sequential one that was built."
        )
    found = []
    for tensor in model.inputs:
        first, *sizes = tensor.shape
        if None in sizes or first not in (None, batch):
            raise ValueError(
                f"The model {model.name!r} has an input of sizes {[first, *sizes]}. Expected fixed "
                f"sizes but for the first axis, which must be open or the batch, {batch}."
            )
        dtype = np.dtype(tensor.dtype.as_numpy_dtype)
        if dtype.kind == "O":
            raise ValueError(
                f"The model {model.name!r} has an input of text. Expected numbers: give the model "
                "that follows its preprocessing."
            )
        found.append(TensorDetails((batch, *map(int, sizes)), dtype))
    return tuple(found)


def device(options: Options) -> str:
    """The one that was asked for."""
    return options.device


def unavailable(options: Options) -> str | None:
    """Why this runtime cannot work here; None where it can.

    For a GPU it imports TensorFlow, which alone knows.
    """
    missing = [name for name in ("tensorflow", "tf_keras") if not importlib.util.find_spec(name)]
    if missing:
        return f"Not installed: {', '.join(missing)}."
    if options.device == "gpu" and not tf.config.list_physical_devices("GPU"):
        if not tf.sysconfig.get_build_info().get("is_cuda_build"):
            return "This TensorFlow is built for the processor only: no GPU support is in it."
        return (
            "TensorFlow sees no GPU. It needs an NVIDIA GPU with its driver, and CUDA's libraries: "
            "pip install tfcompress[gpu]."
        )
    return None


def prepare(path: str | os.PathLike[str], options: Options) -> None:
    """Imports the engine, and leaves its settings open."""
    # The first attribute makes the import.
    _ = tf.config, keras.models


def open(
    path: str | os.PathLike[str] | keras.Model, *, threads: int, batch: int, options: Options
) -> KerasSession:
    """Loads a Keras model file, or takes a live model, for batches of one size.

    Args:
      path: a `.keras` or `.h5` file, or a model.
      threads: processor threads, of the whole process.
      batch: examples in one call.
      options: how and where it runs. On a GPU an operator that cannot run there is an error, in
        the whole process.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count below 1, a file that is no Keras model, a model that `KerasSession` does
        not take, or a count of threads other than the one that TensorFlow already works with in
        this process.
    """
    check_counts(threads=threads, batch=batch)
    if isinstance(path, str | os.PathLike):
        _check_file(Path(path))
        _set_threads(threads)
        # Registers the layers of the normal form, which a file may hold.
        from tfcompress.graph import _layers as _registered  # noqa: F401

        try:
            with _on(options.device):
                model = keras.models.load_model(path, compile=False)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"{path} cannot be loaded as a model of Keras 2: {error}. One of Keras 3 is "
                "brought there by tfcompress.load_model(path).save(other_path)."
            ) from error
    else:
        _set_threads(threads)
        model = path
    if options.device == "gpu":
        # Otherwise TensorFlow runs on the processor, in silence, what has no kernel for the GPU.
        tf.config.set_soft_device_placement(False)
    return KerasSession(model, batch=batch, options=options)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"No Keras model at {path}.")
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"The keras runtime takes {' or '.join(SUFFIXES)} files. Received: {path}."
        )


def _set_threads(threads: int) -> None:
    settings = tf.config.threading
    try:
        settings.set_intra_op_parallelism_threads(threads)
        settings.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        current = settings.get_intra_op_parallelism_threads()
        if current != threads:
            raise ValueError(
                f"TensorFlow already works with {current or 'its own count of'} threads in this "
                f"process. Received: {threads}. Measure in a new process, as benchmark does."
            ) from None
