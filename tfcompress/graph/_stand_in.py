"""A Keras 3 layer that stands, in a file of Keras 3, for a tf_keras layer of the user's.

Keras 3 needs a class of its own to read a custom layer's config and weights from a file. Importing
this module imports Keras 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress._keras import keras, keras3
from tfcompress.graph.keras3_calls import weight_values


def stand_in(layer_class: Any, *, name: str) -> Any:
    """Makes a Keras 3 layer class with the config and the weights of a tf_keras layer.

    It computes what the tf_keras layer computes, on any backend of Keras 3, without gradients. It
    takes one tensor, or one structure of them.

    Args:
      layer_class: tf_keras layer class with `get_config` and `from_config`.
      name: of the class in the file; Keras 3 stores weights under it.
    """
    return type(name, (_StandIn,), {"stands_for": layer_class})


class _StandIn(keras3.layers.Layer):
    stands_for: Any = None

    def __init__(self, **config: Any) -> None:
        known = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
        super().__init__(**known)
        self._config = config
        # A tuple, lest Keras 3 tracks the other Keras' layer as a layer of its own.
        self._twin: tuple[Any, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """What the file says."""
        return {**self._config, **super().get_config()}

    def build(self, input_shape: Any) -> None:
        """Creates weights like those of the tf_keras layer."""
        config = {**self._config, "dtype": self.dtype_policy.name}
        twin = self.stands_for.from_config(config)
        inputs = keras3.tree.map_shape_structure(
            lambda shape: keras.Input(batch_shape=shape), input_shape
        )
        twin(inputs)
        for weight in twin.weights:
            self.add_weight(
                shape=tuple(weight.shape), dtype=weight.dtype.name, trainable=weight.trainable
            )
        self._twin = (twin,)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """The shape that the tf_keras layer gives."""
        given = keras3.tree.map_structure(
            lambda x: keras.Input(batch_shape=x.shape, dtype=str(x.dtype)), inputs
        )
        outputs = self._twin[0](given)
        return keras3.tree.map_structure(
            lambda y: keras3.KerasTensor(tuple(y.shape), dtype=y.dtype.name), outputs
        )

    def call(self, inputs: Any) -> Any:
        """Computes with the tf_keras layer."""
        twin = self._twin[0]
        twin.set_weights(weight_values(self))
        given = keras3.tree.map_structure(keras3.ops.convert_to_numpy, inputs)
        outputs = keras3.tree.map_structure(np.asarray, twin(given))
        return keras3.tree.map_structure(keras3.ops.convert_to_tensor, outputs)
