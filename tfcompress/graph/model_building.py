"""Builds the model that a file describes, with the Keras that wrote it.

What is in the file has been read (`model_files`) and judged (`model_config`) before. Does not bring
the model to another form.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcompress._keras import keras, keras3
from tfcompress.graph import model_config, model_files
from tfcompress.graph.layer_configs import FAMILY_LAYERS, family_layer
from tfcompress.graph.model_files import ModelError, ModelFile, first_line


def build(file: ModelFile, *, custom_objects: Mapping[str, Any], allow_code: bool) -> Any:
    """The live model in a file, of Keras 2 or Keras 3, without what a training needs.

    Args:
      file: what the file holds.
      custom_objects: what its own names stand for.
      allow_code: build layers that hold code. Without it, nothing of the file is run.

    Raises:
      ModelError: the file holds code or unknown names, or is damaged.
    """
    # Registers the layers of the normal form, so that a saved one is taken.
    from tfcompress.graph import _layers as _registered  # noqa: F401

    if file.keras3:
        _require_keras3(file)
    try:
        config = model_config.for_loading(file, custom_objects=custom_objects)
    except RecursionError as error:
        raise ModelError(
            f"{file.path}: its configuration is nested too deep to be a model's. It is damaged."
        ) from error
    if not allow_code:
        model_config.refuse_code(config, file, custom_objects=custom_objects)
    model_config.refuse_huge(file)
    try:
        with warnings.catch_warnings():
            # What Keras thinks of old formats, and of optimizers that are left behind.
            warnings.simplefilter("ignore")
            return _built(file, config, dict(custom_objects), allow_code=allow_code)
    except ModelError:
        raise
    except Exception as error:  # whatever a damaged description makes Keras raise
        raise ModelError(
            f"{file.path} cannot be built by Keras {'3' if file.keras3 else '2'}: "
            f"{first_line(error)} The file may be damaged, or need another version of "
            f"Keras (it says {file.version or 'none'})."
        ) from error


def _require_keras3(file: ModelFile) -> None:
    try:
        keras3.backend.backend()
    except ImportError as error:
        raise ModelError(
            f"{file.path} was written by Keras 3, which cannot be imported with the backend that "
            f"KERAS_BACKEND or keras.json names: {error}. Install that backend, or set "
            "KERAS_BACKEND=tensorflow."
        ) from error


def _built(
    file: ModelFile, config: dict[str, Any], custom_objects: dict[str, Any], *, allow_code: bool
) -> Any:
    build = _keras3_model if file.keras3 else _keras2_model
    model = build(config, custom_objects, allow_code=allow_code)
    if not model.built:
        raise ModelError(
            f"{file.path} holds the model {model.name!r}, which was never built: its input shape "
            "is unknown. Begin it with keras.Input, or call it once, and save it again."
        )
    with tempfile.TemporaryDirectory() as folder:
        _load_weights(model, file, Path(folder))
    return model


def _keras2_model(
    config: dict[str, Any], custom_objects: dict[str, Any], *, allow_code: bool
) -> Any:
    # Keras 2 finds no class that is under none of its public names.
    families = {name: family_layer(name, package=keras) for name in FAMILY_LAYERS}
    known = {**families, **custom_objects}
    with keras.src.saving.serialization_lib.SafeModeScope(not allow_code):
        if "module" in config:
            return keras.saving.deserialize_keras_object(
                config, custom_objects=known, safe_mode=not allow_code
            )
        return keras.models.model_from_json(json.dumps(config), custom_objects=known)


def _keras3_model(
    config: dict[str, Any], custom_objects: dict[str, Any], *, allow_code: bool
) -> Any:
    from tfcompress.graph._stand_in import stand_in

    known = {
        name: stand_in(value, name=name)
        if isinstance(value, type) and issubclass(value, keras.layers.Layer)
        else value
        for name, value in custom_objects.items()
    }
    with keras3.src.saving.serialization_lib.SafeModeScope(not allow_code):
        return keras3.saving.deserialize_keras_object(
            config, custom_objects=known, safe_mode=not allow_code
        )


def _load_weights(model: Any, file: ModelFile, folder: Path) -> None:
    if file.form == "saved_model":
        status = model.load_weights(str(file.path / "variables" / "variables"))
        status.assert_existing_objects_matched().expect_partial()
        return
    if file.form == "keras":
        weights = model_files.extract_weights(file, folder)
    else:
        model_files.check_arrays(file.path, shown=file.path)
        # Keras takes the form of a weight file from its name.
        weights = folder / "model.h5"
        weights.symlink_to(file.path.resolve())
    model.load_weights(str(weights))
