"""The head of a model: attaching one, splitting it off, and which layers a transfer trains.

Knows one form: a flat functional model that ends in a Dense layer, of a regression with the units
of its values behind it. Does not know where the features come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfcompress import registry
from tfcompress._keras import keras
from tfcompress.goals import Goal, Values

if TYPE_CHECKING:
    from tf_keras import Model
    from tf_keras.layers import Layer

HEAD = "logits"
"""The last layer of a classifier."""
VALUES_HEAD = "standardized"
"""The last Dense layer of a regression, in standard deviations from the mean."""
UNITS = "values"
"""Behind it, the layer that brings its outputs to their units."""
HEADS = (HEAD, VALUES_HEAD)
HEAD_DROPOUT = "logits_dropout"
TRANSFER_MODES = ("linear_probe", "fine_tune", "full")


def with_head(inputs: Any, features: Any, *, goal: Goal, dropout: float, name: str) -> Model:
    """A model with a new head on features.

    A Dense layer of one output for each class or value. That of values gives standard deviations
    from the mean, so that it trains alike whatever their unit; a Rescaling with constants brings
    them to their units. The converter computes both in one operator: the scale becomes that of the
    weights, the offset goes into the bias, and an int8 file has the integers that it would have
    without.

    Args:
      inputs: the input tensor of the features' model.
      features: its output tensor [batch, features].
      goal: classes, at least 2, or values.
      dropout: fraction of the features dropped in training, in [0, 1).
      name: of the model.

    Raises:
      ValueError: fewer than two classes.
    """
    count, is_regression = len(goal.names), isinstance(goal, Values)
    if count < 2 and not is_regression:
        raise ValueError(f"A classifier needs at least 2 classes. Received: {count}.")
    if dropout > 0:
        features = keras.layers.Dropout(dropout, name=HEAD_DROPOUT)(features)
    head = VALUES_HEAD if is_regression else HEAD
    outputs = keras.layers.Dense(count, name=head, dtype="float32")(features)
    if isinstance(goal, Values):
        units = keras.layers.Rescaling(list(goal.std), list(goal.mean), name=UNITS, dtype="float32")
        outputs = units(outputs)
    return keras.Model(inputs, outputs, name=name)


def set_batch_norm_momentum(model: Model, momentum: float) -> None:
    """Sets the momentum of every BatchNormalization; outputs in inference stay as they are."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def split_head(model: Model) -> tuple[Model, Model]:
    """Splits a model in two that share its layers: features, and head.

    Encode a data set once with the first, train the second on the codes, and the model is trained.

    Args:
      model: one of `build_classifier` or `build_model`.

    Returns:
      The features model (images to float32 [batch, features]) and the head model (features to
      logits or values).

    Raises:
      ValueError: the model does not end in a head.
    """
    layers = list(model.layers[-1:])
    if layers[0].name == UNITS:
        layers.insert(0, model.layers[-2])
    head = layers[0]
    if head.name not in HEADS or not isinstance(head, keras.layers.Dense):
        raise ValueError(
            f"split_head takes a classifier whose last layer is a Dense called {HEAD!r}, as "
            f"build_classifier makes it. Received: {type(head).__name__} called {head.name!r}."
        )
    before = model.layers[-len(layers) - 1]
    if before.name == HEAD_DROPOUT:
        layers.insert(0, before)
    features = keras.Model(model.input, layers[0].input, name=f"{model.name}_features")
    inputs = keras.Input(features.output_shape[1:], name="features")
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return features, keras.Model(inputs, outputs, name=f"{model.name}_head")


def set_transfer_mode(model: Model, mode: str, *, last_layers: int = 0) -> None:
    """Freezes and unfreezes a classifier's layers. Compile the model after it, not before.

    A frozen BatchNormalization also keeps its moving statistics and runs as in inference (Keras
    does so).

    Args:
      model: its head is the layer called `"logits"` or `"standardized"`, else the last layer with
        weights.
      mode: `"linear_probe"` trains the head alone, `"fine_tune"` the head and the last layers
        before it, `"full"` everything.
      last_layers: for `"fine_tune"`, how many layers before the head are trained, counted over the
        layers that have weights; at least 1.

    Raises:
      UnknownNameError: no such mode.
      ValueError: `last_layers` is out of range or given to another mode, or the model has no layer
        to train.
    """
    registry.require(mode, TRANSFER_MODES, what="transfer mode")
    weighted = [layer for layer in model.layers if layer.weights]
    if not weighted:
        raise ValueError(
            f"The model {model.name!r} has no trainable layer: none of its {len(model.layers)} "
            "layers has weights. Pass a model that ends in a Dense or convolution layer."
        )
    head = _head(weighted)
    before = [layer for layer in weighted if layer is not head]
    _check_last_layers(mode, last_layers, len(before))
    trained = {"linear_probe": [], "fine_tune": before[len(before) - last_layers :], "full": before}
    model.trainable = True
    for layer in before:
        layer.trainable = any(layer is other for other in trained[mode])
    require_trainable(model)


def require_trainable(model: Model) -> None:
    """Raises ValueError when no layer of the model would be trained by `fit`."""
    if not model.trainable_weights:
        raise ValueError(
            f"The model {model.name!r} has no trainable layer: all {len(model.layers)} of its "
            "layers are frozen or have no weights. Set layer.trainable = True on those to be "
            f"trained, or choose a transfer mode: {', '.join(TRANSFER_MODES)}."
        )


def _check_last_layers(mode: str, last_layers: int, available: int) -> None:
    if mode != "fine_tune":
        if last_layers != 0:
            raise ValueError(
                "last_layers belongs to the transfer mode fine_tune. "
                f"Received: {last_layers} with {mode}."
            )
    elif not 1 <= last_layers <= available:
        raise ValueError(
            f"last_layers must be in [1, {available}] for fine_tune: this backbone has {available} "
            f"layers with weights. Received: {last_layers}. To train all of them choose full."
        )


def _head(weighted: list[Layer]) -> Layer:
    return next((layer for layer in weighted if layer.name in HEADS), weighted[-1])
