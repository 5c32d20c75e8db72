"""Builds a model anew, layer by layer, with whatever a caller puts in a layer's place.

Knows how Keras records a functional model: which layer was called on what. Models inside the model
are opened, so that the result is flat. Does not know why a layer is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress._keras import keras, tf


@dataclass(frozen=True)
class Use:
    """One call of a layer in a model that is being built anew.

    Attributes:
      layer: the layer of the given model.
      args: what it is called on, in the new model.
      kwargs: with which keywords.
      inputs: the tensors that it was called on in the given model.
      outputs: what it gave there, a tensor or a structure of them.
      fresh: makes the layer's counterpart in the new model, the same one at each call.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Any, ...]
    outputs: Any
    fresh: Callable[[], Any]

    def again(self) -> Any:
        """Calls the layer's counterpart as the layer was called."""
        return self.fresh()(*self.args, **self.kwargs)


Replace = Callable[[Use], Any]


def rebuild(model: Any, replace: Replace | None = None) -> Any:
    """Builds a flat functional model with new layers, and the given model's weights in them.

    Layers that were called more than once are shared in the new model too. A model inside the
    model that was called with `training=False`, as transfer learning does, passes this on to its
    layers.

    Args:
      model: built functional or sequential model; it stays as it is.
      replace: gives the outputs of one call in the new model; None keeps every layer.

    Returns:
      A model with the same inputs and outputs. A layer keeps its name unless another one has it.

    Raises:
      ValueError: a subclassed model, or one that was never built.
    """
    require_functional(model)
    job = _Rebuild(replace or Use.again)
    inputs = [_input_like(tensor) for tensor in model.inputs]
    job.names.update(tensor.name for tensor in inputs)
    outputs = job.replay(model, inputs, training=None, path="")
    single = len(inputs) == 1 and not isinstance(model._nested_inputs, list | tuple | dict)
    structured = inputs[0] if single else tf.nest.pack_sequence_as(model._nested_inputs, inputs)
    built = keras.Model(structured, outputs, name=model.name)
    job.copy_weights()
    return built


def copied(model: Any) -> Any:
    """A model of the same kind with layers and weights of its own."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def require_functional(model: Any) -> None:
    """Refuses a model whose layers and connections are not on record.

    Raises:
      ValueError: a subclassed model, or one that was never built.
    """
    if not getattr(model, "_is_graph_network", False) and not isinstance(model, keras.Sequential):
        raise ValueError(
            f"{type(model).__name__} is a subclassed model: Keras keeps no record of how its layers "
            "are connected. Build it with the functional API or as Sequential."
        )
    if not model.inputs:
        raise ValueError(
            f"The model {model.name!r} was never built: its input shape is unknown. "
            "Call model.build(shape), or begin it with keras.Input."
        )


def _input_like(tensor: Any) -> Any:
    return keras.Input(
        shape=tensor.shape[1:], batch_size=tensor.shape[0], dtype=tensor.dtype, name=tensor.name
    )


class _Rebuild:
    """What is known while one model is built anew."""

    def __init__(self, replace: Replace) -> None:
        self.names: set[str] = set()
        self._replace = replace
        self._fresh: dict[int, tuple[Any, Any]] = {}

    def replay(self, model: Any, inputs: list[Any], *, training: Any, path: str) -> Any:
        """The outputs that a model gives for `inputs`, in the structure of its own."""
        tensors = {str(id(own)): given for own, given in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                # Keras takes each use of a tensor from a list of its own.
                uses = len(node.keras_inputs)
                known = {key: [tensor] * uses for key, tensor in tensors.items()}
                args, kwargs = node.map_arguments(known)
                outputs = self._call(node, args, dict(kwargs), training=training, path=path)
                flat = tf.nest.flatten(outputs)
                tensors.update(zip(map(str, node.flat_output_ids), flat, strict=True))
        return tf.nest.map_structure(lambda tensor: tensors[str(id(tensor))], model._nested_outputs)

    def _call(self, node: Any, args: Any, kwargs: Any, *, training: Any, path: str) -> Any:
        layer = node.layer
        if isinstance(layer, keras.Model):
            require_functional(layer)
            inner = layer._flatten_to_reference_inputs(args[0])
            own = kwargs.get("training")
            return self.replay(
                layer,
                inner,
                training=training if own is None else own,
                path=f"{path}{layer.name}_",
            )
        if training is not None and layer._expects_training_arg:
            kwargs.setdefault("training", training)
        return self._replace(
            Use(
                layer=layer,
                args=tuple(args),
                kwargs=kwargs,
                inputs=tuple(node.keras_inputs),
                outputs=node.outputs,
                fresh=lambda: self._counterpart(layer, path),
            )
        )

    def _counterpart(self, layer: Any, path: str) -> Any:
        if id(layer) not in self._fresh:
            config = layer.get_config()
            config["name"] = self._free_name(layer.name, path)
            self._fresh[id(layer)] = (layer, type(layer).from_config(config))
        return self._fresh[id(layer)][1]

    def _free_name(self, name: str, path: str) -> str:
        candidates = [name, f"{path}{name}"] if path else [name]
        free = next((item for item in candidates if item not in self.names), None)
        number = 1
        while free is None:
            number += 1
            numbered = f"{candidates[-1]}_{number}"
            free = numbered if numbered not in self.names else None
        self.names.add(free)
        return free

    def copy_weights(self) -> None:
        for layer, fresh in self._fresh.values():
            if layer.weights:
                fresh.set_weights(layer.get_weights())
