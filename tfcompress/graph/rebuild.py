"""Builds a model anew, layer by layer, with whatever a caller puts in a layer's place.

Knows how Keras records a functional model: which layer was called on what. Models inside the model
are opened, so that the result is flat. Does not know why a layer is replaced.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import leaf_layers


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
      instead: puts another layer in its place: called with a function that makes one with the name
        that it is given. It is made once, and gets the weights of the replaced layer if it has any,
        or those that are given as `weights`.
      named: gives a name that no layer of either model has, made from the one that it is given.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Any, ...]
    outputs: Any
    fresh: Callable[[], Any]
    instead: Callable[..., Any]
    named: Callable[[str], str]

    def again(self) -> Any:
        """Calls the layer's counterpart as the layer was called."""
        return self.fresh()(*self.args, **self.kwargs)


Replace = Callable[[Use], Any]


def rebuild(
    model: Any, replace: Replace | None = None, *, inputs: Sequence[Any] | None = None
) -> Any:
    """Builds a flat functional model with new layers, and the given model's weights in them.

    Layers that were called more than once are shared in the new model too. A model inside the
    model that was called with `training=False`, as transfer learning does, passes this on to its
    layers.

    Args:
      model: built functional or sequential model; it stays as it is.
      replace: gives the outputs of one call in the new model; None keeps every layer.
      inputs: those of the new model, such as some of another size; None for the same.

    Returns:
      A model with the same inputs and outputs. A layer keeps its name unless another one has it.

    Raises:
      ValueError: a subclassed model, or one that was never built.
    """
    require_functional(model)
    if inputs is None:
        inputs = [_input_like(tensor) for tensor in model.inputs]
    given_names = {layer.name for layer in leaf_layers(model)}
    job = _Rebuild(replace or Use.again, names={i.name for i in inputs}, given_names=given_names)
    outputs = job.replay(model, inputs, training=None, path="")
    if not all(map(tf.is_tensor, tf.nest.flatten(outputs))):
        raise ValueError(
            f"An output of the model {model.name!r} is a shape (tf.shape), which no layer "
            "computes. Leave it out: the shapes of the other outputs tell it."
        )
    single = len(inputs) == 1 and not isinstance(model._nested_inputs, list | tuple | dict)
    structured = inputs[0] if single else tf.nest.pack_sequence_as(model._nested_inputs, inputs)
    built = keras.Model(structured, outputs, name=model.name)
    job.copy_weights()
    return _with_policy_of(model, built)


def copied(model: Any) -> Any:
    """A model of the same kind with layers and weights of its own."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return _with_policy_of(model, copy)


def _with_policy_of(model: Any, copy: Any) -> Any:
    # Else the process-wide policy decides whether the copy's optimizer scales its loss.
    copy._set_dtype_policy(model.dtype_policy)
    return copy


def in_float32(model: Any) -> Any:
    """The model itself, or one that computes in float32 where it computed in half precision."""
    if all(layer.dtype_policy.name == "float32" for layer in model.layers):
        return model

    def replace(use: Use) -> Any:
        config = {**use.layer.get_config(), "dtype": "float32"}
        layer = use.instead(lambda name: type(use.layer).from_config({**config, "name": name}))
        return layer(*use.args, **use.kwargs)

    return rebuild(model, replace)


def require_functional(model: Any) -> None:
    """Refuses a model whose layers and connections are not on record.

    Raises:
      ValueError: a subclassed model, one that was never built, or one with inputs other than dense
        tensors.
    """
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__.split('.')[0]}.{type(model).__name__}"
        raise ValueError(
            f"A tf_keras model is needed. Received: {kind}. tfcompress.load_model makes one of a "
            "Keras 3 model or a file."
        )
    if not isinstance(model, keras.Sequential):
        _require_recorded(model)
    if not model.inputs:
        raise ValueError(
            f"The model {model.name!r} was never built: its input shape is unknown. "
            "Call model.build(shape), or begin it with keras.Input."
        )
    for tensor in model.inputs:
        if not isinstance(tensor.type_spec, tf.TensorSpec) or tensor.dtype == tf.string:
            raise ValueError(
                f"The input {tensor.name!r} of {model.name!r} is a {tensor.type_spec}. Only dense "
                "tensors of numbers are taken. Do this preprocessing outside the model."
            )


def _require_recorded(model: Any) -> None:
    defines_call = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    if not getattr(model, "_is_graph_network", False) or not _is_of_keras(defines_call):
        raise ValueError(
            f"The model {model.name!r} is a subclassed model ({type(model).__name__}): Keras keeps "
            "no record of what its call does. Build it with the functional API or as Sequential."
        )


def _is_of_keras(kind: Any) -> bool:
    return kind.__module__.split(".")[0] == "tf_keras"


def _input_like(tensor: Any) -> Any:
    return keras.Input(
        shape=tensor.shape[1:], batch_size=tensor.shape[0], dtype=tensor.dtype, name=tensor.name
    )


class _Rebuild:
    """What is known while one model is built anew."""

    def __init__(self, replace: Replace, *, names: set[str], given_names: set[str]) -> None:
        self._replace = replace
        self._names = names
        self._given_names = given_names
        self._fresh: dict[int, tuple[Any, Any]] = {}
        self._weights: dict[int, Sequence[np.ndarray]] = {}

    def replay(self, model: Any, inputs: Sequence[Any], *, training: Any, path: str) -> Any:
        """The outputs that a model gives for `inputs`, in the structure of its own."""
        tensors = {str(id(own)): given for own, given in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                # Keras takes each use of a tensor from a list of its own.
                taken = node.flat_input_ids
                known = {key: [tensors[key]] * len(taken) for key in taken}
                args, kwargs = node.map_arguments(known)
                outputs = self._call(node, args, dict(kwargs), training=training, path=path)
                flat = tf.nest.flatten(outputs)
                tensors.update(zip(map(str, node.flat_output_ids), flat, strict=True))
        return tf.nest.map_structure(lambda tensor: tensors[str(id(tensor))], model._nested_outputs)

    def _call(self, node: Any, args: Any, kwargs: Any, *, training: Any, path: str) -> Any:
        layer = node.layer
        if isinstance(layer, keras.Model):
            require_functional(layer)
            if kwargs.get("mask") is not None:
                raise ValueError(
                    f"The model {layer.name!r} inside the model was called with a mask, which its "
                    "layers cannot be given one by one. Call it without."
                )
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
                instead=lambda make, weights=None: self._counterpart(layer, path, make, weights),
                named=self._new_name,
            )
        )

    def _counterpart(
        self,
        layer: Any,
        path: str,
        make: Callable[[str], Any] | None = None,
        weights: Sequence[np.ndarray] | None = None,
    ) -> Any:
        if id(layer) not in self._fresh:
            name = self._free_name(layer.name, path)
            fresh = make(name) if make else _like(layer, name)
            self._fresh[id(layer)] = (layer, fresh)
            if weights is not None:
                self._weights[id(layer)] = weights
        return self._fresh[id(layer)][1]

    def _free_name(self, name: str, path: str) -> str:
        """The layer's own name, or where that is taken one that says which model it comes from."""
        outer = f"{path}{name}"
        numbered = (f"{outer}_{number}" for number in itertools.count(2))
        candidates = itertools.chain([name, outer], numbered)
        free = next(item for item in candidates if item not in self._names)
        self._names.add(free)
        return free

    def _new_name(self, name: str) -> str:
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        candidates = itertools.chain([name], numbered)
        taken = self._names | self._given_names
        free = next(item for item in candidates if item not in taken)
        self._names.add(free)
        return free

    def copy_weights(self) -> None:
        for layer, fresh in self._fresh.values():
            if fresh.weights:
                given = self._weights.get(id(layer))
                fresh.set_weights(layer.get_weights() if given is None else given)


def _like(layer: Any, name: str) -> Any:
    """A layer of the same class and settings."""
    try:
        return type(layer).from_config({**layer.get_config(), "name": name})
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"The layer {layer.name!r} cannot be made again from its own description: "
            f"{type(layer).__name__}.from_config(layer.get_config()) raises {error!r}. Give the "
            "class a get_config that returns every argument of its __init__."
        ) from error
