"""A Keras 3 model as a tf_keras model: the same layers, connections and weights.

Walks the record that Keras 3 keeps of a functional model's calls and makes each call again in
tf_keras. A layer whose class only Keras 3 has, or the user wrote, is opened: its `call` is traced
into the layers and operators that it consists of. Knows any backend of Keras 3, since only settings
and NumPy weights are read. Does not know files, and does not bring a model to the normal form.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress._keras import keras, keras3
from tfcompress.graph import agreement, operators
from tfcompress.graph.keras3_calls import (
    as_functional,
    input_name,
    is_built_in,
    is_recorded,
    needed_calls,
    operator_settings,
    own_kwargs,
    traced_function,
    weight_values,
)
from tfcompress.graph.layer_configs import (
    FAMILY_LAYERS,
    TEXT_LAYERS,
    TEXT_REASON,
    family_layer,
    has_activation,
    policy_name,
    translated,
)
from tfcompress.graph.making import Naming, is_tensor, snake_case
from tfcompress.graph.model_files import ModelError, first_line
from tfcompress.graph.same_outputs import run_keras2, run_keras3

CANONICAL = {
    "absolute": "abs",
    "get_item": "getitem",
    "hard_silu": "hard_swish",
    "true_divide": "divide",
}
"""Keras 3's operators that `operators` calls otherwise."""


class Conversion:
    """Builds the tf_keras model that computes what a Keras 3 model computes.

    Args:
      custom_objects: tf_keras layers by the class name of the Keras 3 layers that they stand for;
        they take the same config and weights. Anything else in it is passed over.

    Attributes:
      record: the functional Keras 3 model that was walked, after `convert`.
    """

    def __init__(self, custom_objects: Mapping[str, Any]) -> None:
        self._custom = {
            name: value
            for name, value in custom_objects.items()
            if isinstance(value, type) and issubclass(value, keras.layers.Layer)
        }
        # The Keras 3 layer is kept too, lest another one gets its id.
        self._made: dict[int, tuple[Any, Any]] = {}
        self.record: Any = None
        self._tensors: list[tuple[Any, Any, Any]] = []

    def convert(self, model: Any) -> Any:
        """Converts a live Keras 3 model, which stays as it is.

        Args:
          model: functional or Sequential, or a subclassed one that was called (its `call` is then
            traced, in inference mode).

        Returns:
          A tf_keras model with weights of its own. Models within the model stay so; layers that
          were shared are shared.

        Raises:
          ModelError: a layer or operator has no counterpart, or the model was never built.
        """
        self.record = as_functional(model)
        built, scope = self._model(self.record, name=model.name)
        self._tensors = scope.made
        return built

    def first_difference(self, inputs: Sequence[np.ndarray], built: Any) -> str:
        """Names the first layer whose outputs differ between the given model and its counterpart.

        Args:
          inputs: an array for each input.
          built: what `convert` returned.
        """
        _, given, made = zip(*self._tensors, strict=True)
        tolerance = agreement.tolerance_for(built)
        expected = run_keras3(keras3.Model(self.record.inputs, list(given)), inputs)
        received = run_keras2(keras.Model(built.inputs, list(made)), inputs)
        for (name, _, _), a, b in zip(self._tensors, expected, received, strict=True):
            if agreement.difference(a, b) > tolerance:
                return repr(name)
        return ""

    def _model(self, record: Any, *, name: str) -> tuple[Any, _Scope]:
        scope = _Scope(self)
        for tensor in record.inputs:
            if tensor.sparse or getattr(tensor, "ragged", False):
                raise ModelError(
                    f"The input {input_name(tensor)!r} is sparse or ragged. Only dense tensors are "
                    "taken. Do this preprocessing outside the model."
                )
            scope.tensors[id(tensor)] = keras.Input(
                batch_shape=tuple(tensor.shape),
                dtype=str(tensor.dtype),
                name=scope.free_name(input_name(tensor)),
            )
        inputs = scope.fill(record._inputs_struct)
        scope.replay(record)
        outputs = scope.fill(record._outputs_struct)
        return keras.Model(inputs, outputs, name=_legal(name)), scope

    def nested(self, model: Any) -> Any:
        """The counterpart of a model within the model, the same one at each call."""
        if id(model) not in self._made:
            built, _ = self._model(as_functional(model), name=model.name)
            self._made[id(model)] = (model, built)
        return self._made[id(model)][1]

    def layer(self, layer: Any, name: Callable[[str], str], *, linear: bool) -> Any:
        """The counterpart of a layer, the same one at each call, its weights yet to be copied.

        Args:
          layer: Keras 3 layer that has one.
          name: gives a name that is free in the model.
          linear: without its activation.
        """
        if id(layer) not in self._made:
            settings = {**self._settings(layer, linear=linear), "name": name(layer.name)}
            with keras.utils.custom_object_scope(self._custom):
                made = self.counterpart(layer).from_config(settings)
            self._made[id(layer)] = (layer, made)
        return self._made[id(layer)][1]

    def counterpart(self, layer: Any) -> Any:
        """The tf_keras class for a layer; None where there is none."""
        name, module = type(layer).__name__, type(layer).__module__
        if module.startswith("keras.src.") and name in TEXT_LAYERS:
            raise ModelError(f"The layer {layer.name!r} is a {name}, which {TEXT_REASON}")
        stands_for = getattr(layer, "stands_for", None) or self._custom.get(name)
        if stands_for is not None:
            return stands_for
        if module.startswith("keras.src.applications.") and name in FAMILY_LAYERS:
            return family_layer(name, package=keras)
        if module.startswith("keras.src.layers.") and name != "Lambda":
            return getattr(keras.layers, name, None)
        return None

    def _settings(self, layer: Any, *, linear: bool) -> dict[str, Any]:
        with warnings.catch_warnings():
            # A lambda as an activation; what it computes is traced instead.
            warnings.simplefilter("ignore", UserWarning)
            config = dict(keras3.layers.serialize(layer)["config"])
        if linear:
            config["activation"] = "linear"
        name = type(layer).__name__
        if self.counterpart(layer) is not getattr(keras.layers, name, None):
            return {**config, "dtype": policy_name(config.get("dtype"), config)}
        return translated(name, config, target=keras, custom_objects=self._custom)


class _Scope:
    """The tensors and names of one model while it is built."""

    def __init__(self, job: Conversion) -> None:
        self._job = job
        self._names: set[str] = set()
        self.tensors: dict[int, Any] = {}
        self.made: list[tuple[str, Any, Any]] = []

    def free_name(self, wanted: str) -> str:
        """A legal name that no other layer of the model has."""
        base = name = _legal(wanted)
        number = 1
        while name in self._names:
            name = f"{base}_{number}"
            number += 1
        self._names.add(name)
        return name

    def fill(self, structure: Any) -> Any:
        """A structure of Keras 3 tensors and constants with this model's tensors in it."""

        def filled(item: Any) -> Any:
            return self.tensors[id(item)] if isinstance(item, keras3.KerasTensor) else item

        return keras3.tree.map_structure(filled, structure)

    def replay(self, record: Any) -> None:
        """Makes every call that leads to the outputs of a model or function again."""
        for node in needed_calls(record):
            outputs = self._call(node)
            for tensor, made in zip(node.outputs, keras3.tree.flatten(outputs), strict=True):
                self.tensors[id(tensor)] = made
                self.made.append((node.operation.name, tensor, made))

    def _call(self, node: Any) -> Any:
        operation = node.operation
        args, kwargs = self.fill((node.arguments.args, own_kwargs(node)))
        try:
            if not isinstance(operation, keras3.layers.Layer):
                return self._operator(operation, args, kwargs)
            if isinstance(operation, keras3.Model) and is_recorded(operation):
                return self._job.nested(operation)(*args, **kwargs)
            if self._job.counterpart(operation) is None:
                return self._opened(operation, args, kwargs)
            return self._layer(operation, args, kwargs)
        except operators.UnsupportedOperator as error:
            raise ModelError(f"{operation.name!r}: {error}") from error

    def _operator(self, operation: Any, args: Any, kwargs: Any) -> Any:
        name = snake_case(type(operation).__name__)
        settings = {**operator_settings(operation), **kwargs}
        return operators.call(CANONICAL.get(name, name), *args, naming=self.free_name, **settings)

    def _layer(self, layer: Any, args: Any, kwargs: Any) -> Any:
        function = getattr(layer, "activation", None)
        apart = callable(function) and _comes_last(layer) and not _is_shared(function)
        if apart and type(layer) is keras3.layers.Activation:
            # The operator's layer takes the place of this one, with its name.
            own_name = lambda name: self.free_name(layer.name)  # noqa: E731
            return self._activated(function, *args, owner=layer.name, naming=own_name)
        made = self._job.layer(layer, self.free_name, linear=apart)
        accepted = made._call_spec.arg_names
        outputs = made(*args, **{key: kwargs[key] for key in kwargs if key in accepted})
        # Built by its first call; each later one gives it the same weights again.
        _copy_weights(layer, made)
        return self._activated(function, outputs, owner=layer.name) if apart else outputs

    def _activated(
        self, function: Any, tensor: Any, *, owner: str, naming: Naming | None = None
    ) -> Any:
        if is_built_in(function):
            name = CANONICAL.get(function.__name__, function.__name__)
            return operators.call(name, tensor, naming=naming or self.free_name)
        return self._traced(function, [tensor], {}, owner=owner)

    def _opened(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """The outputs of a layer that tf_keras lacks, from what its `call` consists of."""
        kind = type(layer).__name__
        if _only_augments(layer, args):
            warnings.warn(
                f"The layer {layer.name!r} ({kind}) augments images in training, for which "
                "tf_keras has no layer. It is left out; augment the data instead.",
                stacklevel=2,
            )
            return args[0]
        if layer._trainable_variables or layer._non_trainable_variables:
            raise ModelError(
                f"The layer {layer.name!r} is a {kind}, which tf_keras does not have, and it has "
                "weights of its own. Pass a tf_keras layer with the same config and weights as "
                f"custom_objects={{{kind!r}: ...}}."
            )
        try:
            return self._traced(layer.call, args, kwargs, owner=layer.name)
        except ModelError:
            if kind != "Lambda":
                raise
        # Keras 3's operators were not it: TensorFlow's may be.
        return _tensorflow_lambda(layer, args)

    def _traced(self, function: Any, args: Any, kwargs: Any, *, owner: str) -> Any:
        """The outputs of a Python function on tensors, from the operators that it calls."""

        def symbolic(item: Any) -> Any:
            if not is_tensor(item):
                return item
            like = keras3.KerasTensor(tuple(item.shape), dtype=item.dtype.name)
            self.tensors[id(like)] = item
            return like

        args, kwargs = keras3.tree.map_structure(symbolic, (list(args), dict(kwargs)))
        record, outputs = traced_function(function, args, kwargs, owner=owner)
        self.replay(record)
        return self.fill(outputs)


def _tensorflow_lambda(layer: Any, args: Any) -> Any:
    try:
        return layer.function(*args, **(layer.arguments or {}))
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(
            f"The Lambda layer {layer.name!r} could not be traced into operators of Keras or "
            f"TensorFlow: {first_line(error)} Replace it by layers, or by operators called on the "
            "tensors directly."
        ) from error


def _only_augments(layer: Any, args: Any) -> bool:
    """Whether a layer of Keras 3 for images passes them on unchanged in inference."""
    if not type(layer).__module__.startswith("keras.src.layers.preprocessing.image_preprocessing."):
        return False
    shape = [size or 16 for size in args[0].shape]
    images = np.random.default_rng(0).uniform(0, 1, shape).astype("float32")
    passed = keras3.ops.convert_to_numpy(layer(images, training=False))
    return np.array_equal(np.asarray(passed), images)


def _comes_last(layer: Any) -> bool:
    """Whether a layer applies its activation to its output, so that it can stand apart."""
    return not hasattr(layer, "recurrent_activation") and not hasattr(layer, "cell")


def _is_shared(function: Any) -> bool:
    """Whether tf_keras has an activation function under the same name."""
    return is_built_in(function) and has_activation(function.__name__, target=keras)


def _copy_weights(layer: Any, made: Any) -> None:
    values = weight_values(layer)
    given, expected = [v.shape for v in values], [tuple(w.shape) for w in made.weights]
    if sorted(given) != sorted(expected):
        raise ModelError(
            f"The layer {layer.name!r} ({type(layer).__name__}) has weights of the shapes {given}, "
            f"and its counterpart in tf_keras has {expected}."
        )
    # Where the order differs (in SpectralNormalization), the shapes tell which is which. Were they
    # mistaken for each other, the outputs would differ.
    if given != expected:
        values = [values[given.index(shape)] for shape in expected]
    made.set_weights(values)
    # A Normalization computes with what it makes of its weights.
    made.finalize_state()


def _legal(name: str) -> str:
    """A name that TensorFlow takes for a scope."""
    legal = re.sub(r"[^A-Za-z0-9_.\\/-]", "_", name)
    return legal if re.match(r"[A-Za-z0-9.]", legal) else f"layer{legal}"
