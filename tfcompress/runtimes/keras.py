"""A Keras model on the processor, as a traced TensorFlow function.

It is what an exported file is held against. The count of threads is a setting of the whole process,
made before TensorFlow does its first work; a measurement therefore runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.litert import TensorDetails, check_counts
from tfcompress.runtimes import Placement

SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class Options:
    """Nothing can be asked of it."""


class KerasSession:
    """A Keras model in inference mode, for batches of one size.

    Args:
      model: one image input of a fixed size, one output.
      batch: images in one call.
    """

    placement = Placement("cpu")

    def __init__(self, model: keras.Model, *, batch: int) -> None:
        shape = (batch, *(int(size) for size in model.inputs[0].shape[1:]))
        self.inputs = (TensorDetails(shape, np.dtype(np.float32)),)
        signature = [tf.TensorSpec(shape, tf.float32)]
        self._call = tf.function(lambda images: model(images, training=False), signature)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Runs one batch of preprocessed float32 images.

        Raises:
          ValueError: another shape or dtype than `inputs`.
        """
        (images,), (details,) = inputs, self.inputs
        if images.shape != details.shape or images.dtype != details.dtype:
            raise ValueError(
                f"The input must be {details.dtype} {list(details.shape)}. "
                f"Received: {images.dtype} {list(images.shape)}."
            )
        return (self._call(tf.constant(images)).numpy(),)


def unavailable(options: Options) -> str | None:
    """Why this runtime cannot work here; None where it can."""
    missing = [name for name in ("tensorflow", "tf_keras") if not importlib.util.find_spec(name)]
    return f"Not installed: {', '.join(missing)}." if missing else None


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
      batch: images in one call.
      options: none.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a count below 1, a file that is no Keras model, or a count of threads other than
        the one that TensorFlow already works with in this process.
    """
    check_counts(threads=threads, batch=batch)
    if isinstance(path, str | os.PathLike):
        _check_file(Path(path))
        _set_threads(threads)
        # Registers the layers of the normal form, which a file may hold.
        from tfcompress.graph import _layers as _registered  # noqa: F401

        try:
            model = keras.models.load_model(path, compile=False)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} cannot be loaded as a Keras model: {error}") from error
    else:
        _set_threads(threads)
        model = path
    return KerasSession(model, batch=batch)


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
