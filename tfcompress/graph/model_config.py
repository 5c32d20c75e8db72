"""What a model's description asks Keras to build, judged before anything is built.

A description comes from a file and may be hostile: Keras builds whatever it names, a Python
function stored as bytes, a class of any module, a TensorFlow operator that writes files. Here
everything that it names must be on a list of what is known to compute and nothing else. Knows the
forms of Keras 2 and 3. Does not read files and builds nothing.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from tfcompress._keras import keras, keras3
from tfcompress.graph import operators, tensorflow_operators
from tfcompress.graph.from_keras3 import CANONICAL
from tfcompress.graph.layer_configs import FAMILY_LAYERS, TEXT_LAYERS, TEXT_REASON
from tfcompress.graph.making import snake_case
from tfcompress.graph.model_files import ModelError, ModelFile

CODE_LAYERS = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
"""Layers that run what lies in, or beside, the file."""

MODELS = ("Functional", "Model", "Sequential")

PLAIN = (
    "__bytes__",
    "__ellipsis__",
    "__keras_tensor__",
    "__numpy__",
    "__slice__",
    "__tensor__",
    "__tuple__",
    "TensorShape",
)
"""Values that JSON has no form for."""

POLICIES = ("DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "Policy", "QuantizedDTypePolicy")

OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda")
"""Keras 2's record of a call of TensorFlow; the operator is named in the layer's config."""

SHAPE_OPERATORS = ("shape", "compat.v1.shape")
"""TensorFlow operators that give a shape, which the normal form replaces by numbers."""

MASK_OPERATORS = ("NotEqual", "Any", "All", "LogicalAnd", "LogicalOr")
"""Operators by which Keras 3 makes masks; layers of tf_keras make theirs by themselves."""

SIZES = ("units", "filters", "input_dim", "output_dim", "key_dim", "value_dim", "num_heads")
"""Settings of which each unit costs at least one weight."""


def refuse_code(
    config: Mapping[str, Any], file: ModelFile, *, custom_objects: Mapping[str, Any]
) -> None:
    """Refuses a description that names more than known layers and operators.

    Args:
      config: what `for_loading` made of it.
      file: where it comes from.
      custom_objects: names that the caller vouches for. Those that the running program has
        registered with Keras are vouched for too.

    Raises:
      ModelError: the message names the layer and what it asks for.
    """
    kind = config.get("class_name")
    if kind not in MODELS and not _is_known_object(config, file, custom_objects):
        raise ModelError(
            f"{file.path} holds the subclassed model {kind!r}: its code, which says how its layers "
            "are connected, is not in the file. Load it where its class is defined and pass the "
            f"live model, or pass the class as custom_objects={{{kind!r}: ...}}."
        )
    for owner, item in _named(config):
        reason = "" if _is_known_object(item, file, custom_objects) else _objection(item, file)
        if reason or _holds_lambda(item):
            reason = reason or f"has a Python lambda as its activation. {_INSTEAD_OF_CODE}"
            raise ModelError(f"{file.path}: the layer {owner!r} {reason}")


def _objection(item: Mapping[str, Any], file: ModelFile) -> str:
    """Why an entry of a description is refused; empty where it is not."""
    name, module = str(item["class_name"]), str(item.get("module") or "")
    if name == "function":
        named = str(item.get("config"))
        known = named in _known_functions(file.keras3) and _module_is_keras(module)
        return "" if known else _unknown_function(named)
    if name in CODE_LAYERS or name == "__lambda__":
        return (
            f"is a {name}, which holds Python code that loading or calling the model would run. "
            + _INSTEAD_OF_CODE
        )
    if name in TEXT_LAYERS:
        return f"is a {name}, which {TEXT_REASON}"
    if name in OPERATOR_LAYERS:
        return _operator_objection(item)
    if not _module_is_keras(module):
        return _unknown(f"the class {name!r} of the module {module!r}", name)
    if ".ops." in f"{module}.":
        canonical = snake_case(name)
        known = operators.is_known(CANONICAL.get(canonical, canonical)) or name in MASK_OPERATORS
        return "" if known else f"calls the operator {name!r}, which has no plain layer."
    return "" if name in _known_classes(file.keras3) else _unknown(f"the class {name!r}", name)


_INSTEAD_OF_CODE = (
    "Write it with Keras layers, or with operators of Keras or TensorFlow called on the tensors "
    "directly, and save the model again. If you trust whoever made the file, pass "
    "allow_code=True: code that consists of known operators is then replaced by layers."
)


def _holds_lambda(item: Mapping[str, Any]) -> bool:
    """Whether a setting is marshalled code, which Keras 3 writes without a class name."""
    settings = item.get("config")
    values = settings.values() if isinstance(settings, Mapping) else ()
    return any(
        isinstance(value, Mapping) and "value" in value and "class_name" not in value
        for value in values
    )


# What Keras 2 writes for `x[...]`; it calls whatever operator stands in its place.
_SLICING = "__operators__.getitem"


def _operator_objection(item: Mapping[str, Any]) -> str:
    operator = str((item.get("config") or {}).get("function"))
    if item["class_name"] == "SlicingOpLambda" and operator == _SLICING:
        return ""
    if operator in SHAPE_OPERATORS or tensorflow_operators.is_known(operator):
        return ""
    return f"calls the TensorFlow operator {operator!r}, which has no plain layer."


def _unknown(what: str, name: str) -> str:
    return (
        f"needs {what}, which Keras does not have. If it is a layer of your own, pass a tf_keras "
        f"layer with the same config and weights as custom_objects={{{name!r}: ...}}."
    )


def _unknown_function(name: str) -> str:
    return (
        f"needs the function {name!r}, which Keras does not have. If it is your own, pass it as "
        f"custom_objects={{{name!r}: ...}}; it must consist of operators of the Keras that wrote "
        "the file, or of TensorFlow for Keras 2."
    )


def _module_is_keras(module: str) -> bool:
    return not module or module.split(".")[0] in ("builtins", "keras", "tf_keras")


def _vouched(item: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> str:
    """The name under which the caller's own objects have what an entry names, or nothing."""
    named = [item.get("config")] if item["class_name"] == "function" else [item["class_name"]]
    full = [str(name) for name in (*named, item.get("registered_name")) if name]
    # A registered class is called `package>Name`.
    short = [name.rpartition(">")[2] for name in full]
    return next((name for name in (*full, *short) if name in custom_objects), "")


def _is_known_object(
    item: Mapping[str, Any], file: ModelFile, custom_objects: Mapping[str, Any]
) -> bool:
    """Whether the caller passed what an entry names, or the running program has registered it."""
    name = str(item.get("registered_name") or item["class_name"])
    registry = (keras3 if file.keras3 else keras).saving
    return bool(_vouched(item, custom_objects)) or (
        ">" in name and registry.get_registered_object(name) is not None
    )


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry that names a class, with the layer that it stands in."""
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        owner, item = pending.pop()
        if isinstance(item, list | tuple):
            pending.extend((owner, part) for part in item)
        elif isinstance(item, Mapping):
            inner = item.get("config")
            own = item.get("name") or (isinstance(inner, Mapping) and inner.get("name"))
            owner = own if "class_name" in item and isinstance(own, str) else owner
            if "class_name" in item:
                yield owner, item
            pending.extend((owner, part) for part in item.values())


@cache
def _known_classes(of_keras3: bool) -> frozenset[str]:
    """Names of the classes that a description of Keras 3, or of Keras 2, may hold."""
    package = keras3 if of_keras3 else keras
    names = {*FAMILY_LAYERS, *MODELS, *PLAIN, *POLICIES}
    rooms = (package.layers, package.initializers, package.regularizers, package.constraints)
    for room in rooms:
        names |= {name for name in dir(room) if inspect.isclass(getattr(room, name))}
    return frozenset(names - {*CODE_LAYERS, *TEXT_LAYERS})


@cache
def _known_functions(of_keras3: bool) -> frozenset[str]:
    """Names of the activation functions of Keras 3, or of Keras 2."""
    room = (keras3 if of_keras3 else keras).activations
    names = {name for name in dir(room) if callable(getattr(room, name))}
    return frozenset(names - {"get", "serialize", "deserialize"})


def refuse_huge(file: ModelFile) -> None:
    """Refuses a description of layers far larger than the weights stored with it.

    Raises:
      ModelError: the message names the layer.
    """
    most = 100 * file.weights_bytes + 10**6
    for owner, item in _named(file.config):
        settings = item.get("config")
        claims = settings if isinstance(settings, Mapping) else {}
        for key in SIZES:
            claim = claims.get(key)
            if isinstance(claim, int | float) and claim > most:
                raise ModelError(
                    f"{file.path}: the layer {owner!r} claims {key}={claim:,}, and the "
                    f"file holds {file.weights_bytes:,} bytes of weights. It is damaged."
                )


def for_loading(file: ModelFile, *, custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """The description without what only a training needs, in the terms of today's Keras.

    Losses, optimizers and metrics are left out, of nested models too. Classes that the caller
    vouches for go by their plain names. Where a file does not say which module a class is from, or
    names one of an older Keras, it is today's.
    """
    config = copy.deepcopy(dict(file.config))
    for _, item in _named(config):
        assert isinstance(item, dict)
        item.pop("compile_config", None)
        if _is_known_object(item, file, custom_objects):
            own = _vouched(item, custom_objects)
            named = "config" if item["class_name"] == "function" else "class_name"
            item.update({named: own, "registered_name": own} if own else {})
            # Keras 2 would import it.
            item["module"] = None
        elif file.keras3:
            _name_module(item)
        elif item.get("module"):
            item["module"] = _of_tf_keras(item["module"])
    return config


def _of_tf_keras(module: str) -> str:
    """Keras 2.13 to 2.15 named its own modules `keras.src...`, older ones `keras.engine...`."""
    if not module.startswith("keras."):
        return module
    inner = module.removeprefix("keras.").removeprefix("src.")
    public = hasattr(keras, inner.split(".")[0]) and "." not in inner
    return module if public else f"tf_keras.src.{inner}"


def _name_module(item: dict[str, Any]) -> None:
    """Says which module a class of Keras 3 is from; its `.h5` files do not.

    Without this Keras 3 itself takes the operators in such a file for layers, and refuses it.
    """
    name = item["class_name"]
    if "module" in item or not isinstance(item.get("config"), Mapping) or name in PLAIN:
        return
    if name in MODELS:
        item["module"] = "keras" if name == "Sequential" else "keras.src.models.functional"
        item["class_name"] = name if name == "Sequential" else "Functional"
        item["registered_name"] = None
    elif "inbound_nodes" in item and "dtype" not in item["config"]:
        item.update(module=_operator_module(name), registered_name=name)
    elif name in FAMILY_LAYERS:
        module = f"keras.src.applications.{FAMILY_LAYERS[name]}"
        item.update(module=module, registered_name=name)
    elif hasattr(keras3.layers, name):
        item.update(module="keras.layers", registered_name=None)


def _operator_module(name: str) -> str:
    rooms = ("numpy", "nn", "core", "math", "image", "linalg", "einops")
    found = [room for room in rooms if hasattr(getattr(keras3.src.ops, room, None), name)]
    return f"keras.src.ops.{found[0]}" if found else "keras.ops"
