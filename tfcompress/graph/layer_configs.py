"""A layer's description in one Keras, rewritten for the other.

Keras 2 (tf_keras) and Keras 3 name most layers and settings alike. One general rule covers them:
settings that the other constructor takes are passed on; one that it does not take is left out where
it has its default value, and refused where it has not. Below stand the exceptions. Knows no models
and no weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfcompress._keras import keras, keras3
from tfcompress.graph.model_files import ModelError

RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Settings by their Keras 3 names, where Keras 2 has others."""

WITHOUT_EFFECT = (
    "batch_input_shape",
    "implementation",
    "key_shape",
    "query_shape",
    "rng_type",
    "seed",
    "use_cudnn",
    "value_shape",
)
"""Settings that change no output: random numbers are drawn in training only, shapes are known."""

FAMILY_LAYERS = {
    "CustomScaleLayer": "inception_resnet_v2",
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
}
"""Custom layers of keras.applications and the module there, the same in both Kerases."""

TEXT_LAYERS = (
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "StringLookup",
    "TextVectorization",
)
"""Layers that work on words or tables of them, and may name a file to be read."""

TEXT_REASON = (
    "works on text or tables of words, not on numbers. Take it out of the model and apply it to "
    "the data before the model sees them."
)

ROOMS = ("initializers", "regularizers", "constraints")

MEANINGS_DIFFER = ("hard_sigmoid",)
"""Activations of one name: `clip(0.2 x + 0.5, 0, 1)` in Keras 2, `relu6(x + 3) / 6` in Keras 3."""


def translated(
    class_name: str, config: Mapping[str, Any], *, target: Any, custom_objects: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a layer for the same layer of the other Keras.

    Args:
      class_name: the layer's class, which `target` or `custom_objects` has.
      config: as `keras.layers.serialize` gives it.
      target: `keras` (Keras 2) or `keras3`.
      custom_objects: layers by class name, which take `config` as it is.

    Raises:
      ModelError: a setting has no counterpart.
    """
    policy = policy_name(config.get("dtype"), config)
    if class_name in custom_objects:
        plain = {key: _plain_value(value) for key, value in config.items()}
        return {**plain, "dtype": policy}
    to_keras2 = target is keras
    source = getattr((keras3 if to_keras2 else keras).layers, class_name)
    accepted = parameters(getattr(target.layers, class_name))
    usual = parameters(source)
    renames = RENAMED.get(class_name, {})
    names = renames if to_keras2 else {new: old for old, new in renames.items()}
    settings: dict[str, Any] = {}
    for key, value in config.items():
        name = names.get(key, key)
        if name in accepted:
            kept = _value(name, value, config, target=target, custom_objects=custom_objects)
            if kept is not inspect.Parameter.empty:
                settings[name] = kept
        elif not _may_be_left_out(key, value, usual.get(key)):
            raise ModelError(
                f"The layer {config.get('name')!r} ({class_name}) sets {key}={value!r}, which "
                f"{class_name} of Keras {'2' if to_keras2 else '3'} does not have. Build the layer "
                "without it."
            )
    return _adjusted(class_name, settings, to_keras2=to_keras2)


def _adjusted(class_name: str, settings: dict[str, Any], *, to_keras2: bool) -> dict[str, Any]:
    """What is of another form, not only of another name."""
    axis = settings.get("axis")
    if class_name == "BatchNormalization" and not to_keras2 and isinstance(axis, list | tuple):
        (settings["axis"],) = axis
    if class_name == "MultiHeadAttention" and to_keras2:
        # Its from_config asks for them; None leaves them to the first call.
        settings.update(query_shape=None, key_shape=None, value_shape=None)
    if class_name == "Normalization":
        # Given as numbers they are settings; else the layer learnt them, and they are weights.
        for key in ("mean", "variance"):
            if settings.get(key) is not None:
                settings[key] = np.asarray(settings[key], np.float32)
    return settings


def family_layer(name: str, *, package: Any) -> Any:
    """A custom layer of keras.applications, which is under none of Keras' public names.

    Args:
      name: one of `FAMILY_LAYERS`.
      package: `keras` (Keras 2) or `keras3`.
    """
    return getattr(getattr(package.src.applications, FAMILY_LAYERS[name]), name)


def parameters(layer_class: Any) -> dict[str, Any]:
    """What a layer's constructor takes, with the defaults, those of its base classes included."""
    found: dict[str, Any] = {"name": None, "trainable": True, "dtype": None}
    for cls in layer_class.__mro__:
        if "__init__" not in vars(cls):
            continue
        listed = inspect.signature(cls.__init__).parameters.values()
        kinds = {parameter.kind for parameter in listed}
        for parameter in listed:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    if "unroll" in found:
        # Recurrent layers of Keras 2 take it among **kwargs.
        found.setdefault("zero_output_for_mask", False)
    return found


def _value(
    key: str, value: Any, config: Mapping[str, Any], *, target: Any, custom_objects: Any
) -> Any:
    """A setting in the other Keras' form; `Parameter.empty` to leave it to the default."""
    if key == "dtype":
        return policy_name(value, config)
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        given = {"target": target, "custom_objects": custom_objects}
        return [_value(key, item, config, **given) for item in value]
    if not isinstance(value, Mapping) or "class_name" not in value:
        return _activation(key, value, config, target)
    name = value["class_name"]
    inner: Any = value.get("config")
    if name == "function":
        return _activation(key, inner, config, target, custom_objects)
    if name in ("__numpy__", "__tensor__"):
        return _plain_value(value)
    if name in ("Functional", "Model", "Sequential"):
        raise ModelError(
            f"The layer {config.get('name')!r} wraps a whole model. Wrap the layers of that model "
            "one by one."
        )
    if hasattr(target.layers, name) or name in custom_objects:
        settings = translated(name, inner, target=target, custom_objects=custom_objects)
        nested = {"class_name": name, "config": settings}
        # Keras 3 looks a class up in its module.
        return nested if target is keras else {"module": "keras.layers", **nested}
    for room in ROOMS:
        cls = getattr(getattr(target, room), name, None)
        if cls is not None:
            accepted = parameters(cls)
            return cls(**{k: _plain_value(v) for k, v in inner.items() if k in accepted})
    if key.endswith("initializer"):
        # The weights are given: an initializer would only matter to someone who draws new ones.
        return inspect.Parameter.empty
    raise ModelError(
        f"The layer {config.get('name')!r} has {key}={name}, which the other Keras does not have. "
        "Build the layer without it."
    )


def _activation(
    key: str, value: Any, config: Mapping[str, Any], target: Any, custom_objects: Any = ()
) -> Any:
    """Lets a function pass by its name where both Kerases mean the same by it."""
    if not key.endswith("activation") or not isinstance(value, str) or value in custom_objects:
        return _plain_value(value)
    if not has_activation(value, target=target):
        raise ModelError(
            f"The layer {config.get('name')!r} has {key}={value!r}, which the other Keras does not "
            "have, and uses it within. Build the layer with another one."
        )
    return value


def has_activation(name: str, *, target: Any) -> bool:
    """Whether a Keras has an activation function that the other one calls by the same name."""
    if name in MEANINGS_DIFFER:
        return False
    try:
        target.activations.get(name)
    except ValueError:
        return False
    return True


def policy_name(value: Any, config: Mapping[str, Any]) -> str:
    """The type policy of a layer, such as `"mixed_float16"`, from any of its forms.

    Raises:
      ModelError: a policy for weights that Keras 3 has quantized.
    """
    inner = value.get("config", {}) if isinstance(value, Mapping) else {"name": value}
    if "mode" in inner or "_from_" in str(inner.get("name")):
        raise ModelError(
            f"The layer {config.get('name')!r} has the type policy {inner}: Keras 3 has quantized "
            "its weights. Load the model as it was before model.quantize."
        )
    return str(inner.get("name") or "float32")


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping) and value.get("class_name") in ("__numpy__", "__tensor__"):
        inner = value["config"]
        return np.asarray(inner["value"], inner.get("dtype"))
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _may_be_left_out(key: str, value: Any, default: Any) -> bool:
    """Whether a setting has its default value or changes no output."""
    # The weights are given, and what draws new ones is not needed.
    if key in WITHOUT_EFFECT or key.endswith("initializer"):
        return True
    if key == "data_format" and default is None:
        return bool(value in (None, "channels_last"))
    if default is None or default is inspect.Parameter.empty:
        # A switch that the constructor takes among **kwargs counts as off by default.
        return value is None or value is False
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    return bool(value == default)
