"""Takes any Keras model, from a file or live, of Keras 2 or 3, into the normal form.

Knows the order of things: a file is read as data and judged before Keras sees it, then built, then
brought to tf_keras and to the normal form, and the result is held against what the given model
computes. Does not know techniques.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tfcompress._keras import imported, keras, keras3
from tfcompress.graph import agreement, keras2, model_building, model_files
from tfcompress.graph.from_keras3 import Conversion
from tfcompress.graph.model_files import KNOWN
from tfcompress.graph.model_files import ModelError as ModelError
from tfcompress.graph.normal_form import normalize
from tfcompress.graph.same_outputs import (
    require_moderate,
    require_same_outputs,
    run_keras2,
    run_keras3,
)
from tfcompress.graph.wrappers import is_wrapped, plain_copy


def load_model(
    path_or_model: Any,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    allow_code: bool = False,
) -> Any:
    """Takes a model of Keras 2 or Keras 3 into the form that every technique works on.

    The result is a flat functional tf_keras model of plain layers, which computes what the given
    model computes: their outputs on random inputs are compared, and may differ by 1e-4 of the
    largest output of an example (float32 in another order of additions; 1e-2 in float16). What the
    model knows about its training (optimizer, loss, metrics) is left behind. A live model stays as
    it is.

    No code in a file is run: its description is read as data first, and whatever holds code, or
    names a class or an operator that is not known to compute only, is refused.

    Args:
      path_or_model: path of a `.keras` or `.h5` file of either Keras, or of the folder of a
        SavedModel that a Keras 2 `model.save` wrote; or a live model of either Keras. A live
        subclassed model is taken where its `call` can be traced into layers; from one that TF-MOT
        has wrapped for pruning or clustering the wrappers are taken off.
      custom_objects: what the model's own names stand for: class names to tf_keras layers with the
        same config and weights, function names to functions. A layer of a Keras 3 model may also be
        given as the Keras 3 class; it is then opened into the layers that it consists of.
      allow_code: run the code in the file (Lambda layers), which may do anything. What it does to
        tensors must consist of operators that have a layer; these then take its place.

    Returns:
      A tf_keras model with weights of its own.

    Raises:
      ModelError: there is no such file, it is damaged, it holds code or no model, or a layer has no
        counterpart; the message says what to do.

    Example:
      >>> from tfcompress._keras import keras3
      >>> inputs = keras3.Input([8, 8, 3])
      >>> model = keras3.Model(inputs, keras3.ops.silu(keras3.layers.Conv2D(4, 3)(inputs)))
      >>> [type(layer).__name__ for layer in load_model(model).layers]
      ['InputLayer', 'Conv2D', 'Activation']
    """
    names = dict(custom_objects or {})
    model = path_or_model
    try:
        if isinstance(model, str | os.PathLike):
            file = model_files.read(model)
            model = model_building.build(file, custom_objects=names, allow_code=allow_code)
        if imported("keras") and isinstance(model, keras3.Model):
            return _from_keras3(model, names)
        if imported("tf_keras") and isinstance(model, keras.Model):
            return _from_keras2(model)
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(str(error)) from error
    raise ModelError(
        f"load_model takes a path or a Keras model. Received: {type(model).__name__}. Pass "
        f"{KNOWN}, or a live model of Keras 2 or Keras 3."
    )


def _from_keras2(model: Any) -> Any:
    plain = plain_copy(model, technique="load_model") if is_wrapped(model) else model
    traced = keras2.traced(plain)
    require_moderate(traced)
    built = normalize(traced)
    if traced is not model:
        require_same_outputs(
            model.name,
            agreement.random_inputs(built),
            given=lambda inputs: run_keras2(model, inputs, like=traced),
            made=lambda inputs: run_keras2(built, inputs),
            tolerance=agreement.tolerance_for(built),
        )
    return built


def _from_keras3(model: Any, custom_objects: Mapping[str, Any]) -> Any:
    conversion = Conversion(custom_objects)
    converted = conversion.convert(model)
    require_moderate(converted)
    # What follows compares the result with the given model itself.
    built = normalize(converted, check=False)
    inputs = agreement.random_inputs(built)
    require_same_outputs(
        model.name,
        inputs,
        given=lambda inputs: run_keras3(model, inputs, like=conversion.record),
        made=lambda inputs: run_keras2(built, inputs),
        tolerance=agreement.tolerance_for(built),
        first=lambda: conversion.first_difference(inputs, converted),
    )
    return built
