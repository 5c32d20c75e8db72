"""A user's own model file as what a run starts from, instead of a network by name.

Knows what a model must be to become a classifier here, which of its last layers make way, and where
raw pixels may go in. Does not know file formats (`graph.loading` does), data sets or training.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcompress import durable
from tfcompress._keras import keras
from tfcompress.backbones._heads import (
    HEAD_DROPOUT,
    HEADS,
    UNITS,
    set_batch_norm_momentum,
    with_head,
)
from tfcompress.backbones._pixels import PIXELS, pixels
from tfcompress.goals import CLASSIFICATION, Classes, Goal
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import Model

_RESCALING = ("Rescaling", "Normalization")
# Layers that may stand before the rescaling and leave the range of the pixels as it is.
_KEEP_RANGE = ("Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D", "Dropout", "Activation")


@dataclass(frozen=True)
class ModelConfig:
    """A model file as what a run starts from.

    Attributes:
      path: a `.keras` or `.h5` file, or the folder of a SavedModel.
      preprocessing: one of `PIXELS`, what the model expects of an image; empty for a model that
        begins with layers which rescale raw pixels, and needed for any other.
      image_size: height and width in pixels of the model's input; 0 keeps the model's own, which
        must then be fixed.
      dropout: fraction of features dropped before a new head in training, in [0, 1).
      batch_norm_momentum: momentum of every BatchNormalization, in (0, 1), as in
        `BackboneConfig`; changes training only.
      name: what the file is called, in letters that Keras takes.
      sha256: of the file; of a folder, over the names and SHA-256 of its files.

    Raises:
      ValueError: no such file, or a value out of its range.
    """

    path: str
    preprocessing: str = ""
    image_size: int = 0
    dropout: float = 0.0
    batch_norm_momentum: float = 0.9
    name: str = field(init=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        path = Path(self.path).expanduser()
        if not path.exists():
            raise ValueError(
                f"ModelConfig.path names no model. Received: {self.path!r}. "
                "Expected a .keras or .h5 file, or the folder of a SavedModel."
            )
        if self.preprocessing and self.preprocessing not in PIXELS:
            raise ValueError(
                f"ModelConfig.preprocessing must be one of {', '.join(PIXELS)}. "
                f"Received: {self.preprocessing!r}."
            )
        if self.image_size < 0:
            raise ValueError(
                f"ModelConfig.image_size must be at least 0. Received: {self.image_size}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"ModelConfig.dropout must be in [0, 1). Received: {self.dropout}. "
                "For 20% dropout pass 0.2."
            )
        if not 0 < self.batch_norm_momentum < 1:
            raise ValueError(
                "ModelConfig.batch_norm_momentum must be in (0, 1). "
                f"Received: {self.batch_norm_momentum}."
            )
        name = re.sub(r"\W+", "_", path.stem).strip("_") or "model"
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "sha256", sha256_of_path(path))

    @property
    def resolved_weights(self) -> str:
        """In a word: the weights are the file's."""
        return "of the file"


def sha256_of_path(path: Path) -> str:
    """Of a file; of a folder, over the names and SHA-256 of its files."""
    if path.is_file():
        return durable.sha256_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{f.relative_to(path).as_posix()} {durable.sha256_of_file(f)}\n" for f in files]
    return durable.sha256("".join(lines).encode())


@dataclass(frozen=True)
class OwnModel:
    """A loaded model of a user, checked to fit a task on images.

    Attributes:
      config: which file, and how it is used.
      model: the normal form of the file's model, for images of one size; of a classifier without a
        softmax at its end.
      removed: names of what was taken off the file's model at its end.
    """

    config: ModelConfig
    model: Any
    removed: tuple[str, ...]

    def preprocessing(self, shape: tuple[int, ...]) -> Preprocessing:
        """What is done to raw images before the model sees them.

        Args:
          shape: (height, width, channels) of the raw images; any.
        """
        del shape
        return pixels(self.config.preprocessing or "raw", tuple(self.model.input_shape[1:]))

    def build_model(
        self, *, goal: Goal, image_shape: tuple[int, ...], seed: int, keep_head: bool
    ) -> Model:
        """A model with the own head of the file's, or with a new one in its place.

        Args:
          goal: what it is to say of an image.
          image_shape: not needed; the model has its own.
          seed: of the new head's random weights.
          keep_head: whether the model's own head stays.

        Raises:
          ValueError: the own head has another number of outputs, or none can be put in its place.
        """
        del image_shape
        keras.utils.set_random_seed(seed)
        model = _copied(self.model)
        if keep_head:
            self._require_outputs(goal)
            # Under a name of its own: files and reports are named by the run.
            model = keras.Model(model.input, model.output, name=self.config.name)
        else:
            model = self._with_new_head(model, goal)
        set_batch_norm_momentum(model, self.config.batch_norm_momentum)
        model.trainable = True
        for layer in model.layers:
            layer.trainable = True
        return model

    def record(self, *, keep_head: bool) -> dict[str, Any]:
        """What a run's record should say about where the classifier comes from."""
        removed = list(self.removed)
        last = _last_layer(_without_units(self.model))
        if not keep_head and isinstance(last, keras.layers.Dense):
            removed.insert(0, last.name)
        return {
            "weights": f"file {self.config.path}, SHA-256 {self.config.sha256}",
            "head": "the model's own" if keep_head else "new",
            "removed": removed,
        }

    def _require_outputs(self, goal: Goal) -> None:
        own, wanted = self.model.output_shape[-1], len(goal.names)
        if own != wanted:
            does, what = (
                (f"tells {own} classes apart", "classes")
                if isinstance(goal, Classes)
                else (f"gives {own} values", "values")
            )
            raise ValueError(
                f"{self.config.path} {does}, the data set has {wanted}. "
                "With --transfer=none the model's own head is kept, so that they must be the same "
                f"{what} in the same order. Give the model a new head with --transfer=full, "
                "fine_tune or linear_probe."
            )

    def _with_new_head(self, model: Any, goal: Goal) -> Model:
        model = _without_units(model)
        last, features = _last_layer(model), model.output
        if isinstance(last, keras.layers.Dense):
            features = last.input
        elif self.removed:
            raise ValueError(
                f"{self.config.path} makes its classes with {last.name!r} ({type(last).__name__}), "
                "not with a Dense layer, so that no new head can be put in its place. Save the "
                "model without its head, or keep the head with --transfer=none."
            )
        if len(features.shape) != 2:
            raise ValueError(
                f"{self.config.path} ends in features of shape {list(features.shape[1:])}. A new "
                "head takes a row of numbers for each image: end the model in "
                "GlobalAveragePooling2D or Flatten."
            )
        for layer in model.layers:
            if layer is not last and layer.name in (*HEADS, UNITS, HEAD_DROPOUT):
                raise ValueError(
                    f"{self.config.path} has a layer called {layer.name!r}, the name of the new "
                    "head. Rename it."
                )
        return with_head(
            model.input,
            features,
            goal=goal,
            dropout=self.config.dropout,
            name=self.config.name,
        )


def opened(config: ModelConfig, *, task: str = CLASSIFICATION) -> OwnModel:
    """Loads a model file and checks what can be checked without data.

    Args:
      config: names the file.
      task: that the model is for, a key of `goals.GOALS`.

    Raises:
      ValueError: the file cannot be loaded, or its model is not of images of one size or not for
        the task: the message says what was found, what is expected and what to do.
    """
    from tfcompress.graph import loading

    model = loading.load_model(os.path.expanduser(config.path))
    _require_one_image_in(config, model)
    model = _of_size(config, model)
    _require_known_range(config, model)
    if task == CLASSIFICATION:
        return OwnModel(config, *_without_softmax(config, model))
    _require_values(config, model)
    return OwnModel(config, model, ())


def _require_one_image_in(config: ModelConfig, model: Any) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"{config.path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs. "
            "Expected one image in and one row of class scores, or of values, out."
        )
    given = model.inputs[0]
    if len(given.shape) != 4 or given.shape[-1] not in (1, 3) or not given.dtype.is_floating:
        raise ValueError(
            f"{config.path} takes {given.dtype.name} {list(given.shape[1:])}. Expected images: "
            "float32 [height, width, channels] with 1 or 3 channels, channels last."
        )


def _of_size(config: ModelConfig, model: Any) -> Any:
    """The model for images of the size asked for, with an open batch."""
    batch, height, width, channels = model.inputs[0].shape
    size = (config.image_size,) * 2 if config.image_size else (height, width)
    if None in size:
        raise ValueError(
            f"{config.path} takes images of any size ({height or 'any'} by {width or 'any'} "
            "pixels). A TFLite file is made for one: say which with --image_size."
        )
    if size == (height, width) and batch is None:
        return model
    image = keras.Input((*size, channels), name=model.inputs[0].name)
    try:
        resized = keras.models.clone_model(model, input_tensors=image)
        resized.set_weights(model.get_weights())
        for layer in resized.layers:
            # A Normalization computes with what it made of its weights when they were set.
            layer.finalize_state()
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{config.path} cannot be built for images of {size[0]}x{size[1]} pixels; its own size "
            f"is {height}x{width}: {str(error).splitlines()[0]} Leave --image_size out, or save "
            "the model with GlobalAveragePooling2D in place of Flatten."
        ) from error
    return resized


def _require_known_range(config: ModelConfig, model: Any) -> None:
    if config.preprocessing:
        pixels(config.preprocessing, tuple(model.input_shape[1:]))
    elif not _rescales(model):
        names = "\n  ".join(f"{name}: {meaning}" for name, meaning in PIXELS.items())
        raise ValueError(
            f"{config.path} does not begin with a layer that rescales pixels, so that it cannot be "
            "told what its pixels must be. Say it with --model_preprocessing, one of\n  " + names
        )


def _rescales(model: Any) -> bool:
    """Whether a model's first layers bring raw pixels to the range that it was trained on."""
    for layer in _first_layers(model):
        kind = type(layer).__name__
        if kind in _RESCALING:
            return True
        if kind not in _KEEP_RANGE and not kind.startswith("Random"):
            return False
    return False


def _first_layers(model: Any) -> Iterator[Any]:
    """The layers from the input on, as long as each alone takes what the one before gives."""
    layer = model.inputs[0]._keras_history.layer
    inside = {id(other) for other in model.layers}
    while True:
        following = [node.layer for node in layer._outbound_nodes if id(node.layer) in inside]
        if len(following) != 1:
            return
        (layer,) = following
        yield layer


def _last_layer(model: Any) -> Any:
    return model.outputs[0]._keras_history.layer


def _require_values(config: ModelConfig, model: Any) -> None:
    """Refuses a model whose outputs are classes, or no row of numbers, for a regression."""
    from tfcompress.graph.outputs import final_activation

    shape, activation = model.output_shape, final_activation(model)
    if activation == "softmax":
        raise ValueError(
            f"{config.path} ends in a softmax: it gives the probabilities of {shape[-1]} classes. "
            "Expected values, as the data set is a regression. End the model in a Dense layer "
            "with no activation, or say --task=classification if the labels are classes."
        )
    if len(shape) != 2:
        raise ValueError(
            f"{config.path} gives {list(shape[1:])} for each image. Expected a row of values: end "
            "the model in a Dense layer behind GlobalAveragePooling2D or Flatten."
        )


def _without_units(model: Any) -> Any:
    """The model up to a Rescaling at its end, which brings its outputs to their units."""
    last = _last_layer(model)
    if type(last).__name__ != "Rescaling" or len(model.layers) < 3:
        return model
    return _copied(keras.Model(model.input, last.input, name=model.name))


def _without_softmax(config: ModelConfig, model: Any) -> tuple[Any, tuple[str, ...]]:
    """The model up to its logits, and what was taken off."""
    shape = model.output_shape
    if len(shape) == 2 and shape[-1] is not None and shape[-1] < 2:
        raise ValueError(
            f"{config.path} has one output: a regression, or two classes told by a threshold. "
            "Expected a score for each class, as the data set has classes. For two classes give it "
            "a Dense layer of two outputs; for values say --task=regression."
        )
    removed: list[str] = []
    output, last = model.outputs[0], _last_layer(model)
    while (kind := _output_function(last)) in ("softmax", "linear") and _only_that(last):
        if kind == "softmax":
            removed.append(last.name)
        output = last.input
        last = output._keras_history.layer
    if kind not in ("", "softmax", "linear"):
        raise ValueError(
            f"{config.path} ends in {last.name!r} with the activation {kind}. Expected logits or "
            "a softmax: classes of which each image has one."
        )
    if output is not model.outputs[0]:
        model = _copied(keras.Model(model.input, output, name=model.name))
    if kind == "softmax":
        removed.append(f"softmax of {last.name}")
        model = _linear(model, last.name)
    return model, tuple(removed)


def _output_function(layer: Any) -> str:
    """The name of what a layer does last, `""` where it has no activation."""
    if type(layer).__name__ in ("Softmax", "ReLU", "LeakyReLU", "PReLU", "ELU"):
        return type(layer).__name__.lower()
    return getattr(getattr(layer, "activation", None), "__name__", "")


def _only_that(layer: Any) -> bool:
    return type(layer).__name__ in ("Softmax", "Activation")


def _linear(model: Any, name: str) -> Any:
    """The model with one layer's activation left out."""
    from tfcompress.graph.rebuild import Use, rebuild

    def replaced(use: Use) -> Any:
        if use.layer.name != name:
            return use.again()
        settings = {**use.layer.get_config(), "activation": "linear"}
        kind = type(use.layer)
        layer = use.instead(lambda own: kind.from_config({**settings, "name": own}))
        return layer(*use.args, **use.kwargs)

    return rebuild(model, replaced)


def _copied(model: Any) -> Any:
    from tfcompress.graph.rebuild import copied

    return copied(model)
