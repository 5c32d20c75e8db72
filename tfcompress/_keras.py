"""The one door to TensorFlow, tf_keras, TF-MOT and Keras 3.

Knows which Keras the package speaks (Keras 2, as `tf_keras`, the only one that TF-MOT takes) and
how to load the heavy packages late: importing `tfcompress` costs no TensorFlow import, so `--help`
and a bad flag answer at once. Keras 3 is there to read and write its models; it computes with the
backend that KERAS_BACKEND names. Does not know any technique or model.

    from tfcompress._keras import keras, tf

binds names that import their package at the first attribute access. A module that defines a
subclass of a Keras class needs the package at import time; such modules are imported inside the
functions that use them.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from tfcompress import native_output


class _Lazy:
    """A stand-in for a module that imports it when an attribute is first asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, attribute: str) -> Any:
        if self._module not in sys.modules:
            _load(self._module)
        return getattr(sys.modules[self._module], attribute)


def _load(module: str) -> None:
    """Imports a package without its banners; what it wrote is shown where the import fails."""
    # Without this TF-MOT would pick Keras 3 where both are installed.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # The C++ side prints what a machine without a GPU lacks at every level below this one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    said: list[str] = []
    try:
        with native_output.held(said):
            importlib.import_module(module)
    except ImportError:
        sys.stderr.write("".join(said))
        raise


def imported(module: str) -> bool:
    """Whether a heavy package is loaded already, such as `"keras"`, which is Keras 3.

    No object of a package can exist before it is.
    """
    return module in sys.modules


if TYPE_CHECKING:
    import keras as keras3
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras
else:
    tf = _Lazy("tensorflow")
    keras = _Lazy("tf_keras")
    keras3 = _Lazy("keras")
    tfmot = _Lazy("tensorflow_model_optimization")


def sparse_clustering(model: Any, **options: Any) -> Any:
    """TF-MOT's `cluster_weights` that can keep zeros, which it has under no public name.

    Args:
      model: to be wrapped.
      options: of TF-MOT's function.
    """
    package = "tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster"
    if package not in sys.modules:
        _load(package)
    return sys.modules[package].cluster_weights(model, **options)
