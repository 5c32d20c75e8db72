"""Trains small models on one device and on two, and writes down how far they end apart.

A program of its own, since the processor must be split in two before TensorFlow starts:
`python tests/two_devices.py RESULTS.json`. Started and judged by test_placement.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from small_trainings import blobs

from tfcompress import checkpoint, compose, placement, training
from tfcompress._keras import keras, tf
from tfcompress.goals import Classes
from tfcompress.recipe import parse
from tfcompress.training import Batches, TrainingConfig

EPOCHS = 2
RECIPES = {
    "prune": "prune(0.5)",
    "cluster": "cluster(4)",
    "distill+prune": "distill(features=1, attention=1)+prune(0.5)",
    "qat": "qat",
}


def network(*, dropout: float = 0.0, normalized: bool = False) -> Any:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input([8, 8, 1])
    x = layers.Conv2D(8, 3, activation="relu", name="conv1")(inputs)
    if normalized:
        x = layers.BatchNormalization(momentum=0.8, name="bn1")(x)
    decay = keras.regularizers.L2(1e-3)
    x = layers.Conv2D(8, 3, activation="relu", kernel_regularizer=decay, name="conv2")(x)
    x = layers.Flatten()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def batches(size: int = 16) -> Batches:
    data = tf.data.Dataset.from_tensor_slices(blobs(96)).batch(size, drop_remainder=True)
    examples = placement.shared_batch_size(33, at_most=32, devices=2)
    validation = tf.data.Dataset.from_tensor_slices(blobs(33, seed=9)).batch(examples)
    return Batches(lambda first: data.repeat(), validation, 96 // size, Classes.numbered(4))


def config(strategy: str, **options: Any) -> TrainingConfig:
    settings = {"optimizer": "sgd", "learning_rate": 0.05, **options}
    return TrainingConfig(epochs=EPOCHS, batch_size=16, strategy=strategy, **settings)


class Stop(Exception):
    """An interruption."""


def wrapped(stages: Any, model: Any) -> Any:
    supplied = {"teacher": network(), "calibration": blobs(32, seed=3)[0]}
    return compose.wrap(stages, model, supplied=supplied, steps_per_epoch=6, epochs=EPOCHS)


def trained(
    recipe: str,
    settings: TrainingConfig,
    *,
    dropout: float = 0.0,
    normalized: bool = False,
    interrupted: bool = False,
    start: list[np.ndarray] | None = None,
) -> tuple[Any, list[np.ndarray], Any]:
    """The stripped model, the weights that the training began with, and what it reports."""
    stages = compose.plan(parse(recipe)).stages
    with placement.scope(settings.strategy):
        plain = network(dropout=dropout, normalized=normalized)
        model = wrapped(
            stages,
            placement.placed(plain, strategy=settings.strategy, precision=settings.precision),
        )
    if start:
        model.set_weights(start)
    start = model.get_weights()

    def stop(epoch: int, metrics: Any) -> None:
        if interrupted and epoch == 0:
            raise Stop

    with tempfile.TemporaryDirectory() as folder:
        while True:
            try:
                found = training.fit(
                    model,
                    batches(),
                    config=settings,
                    state_dir=folder,
                    callbacks=compose.callbacks(stages),
                    first_eligible_epoch=EPOCHS - 1,
                    on_epoch=stop,
                )
                break
            except Stop:
                interrupted = False
    model = compose.strip(stages, model)
    compose.verify(stages, model, before=plain)
    return model, start, found


def compared(recipe: str, *, strategy: str, normalized: bool = False) -> dict[str, Any]:
    """One device against two."""
    one, start, alone = trained(recipe, config("none"), normalized=normalized)
    two, _, shared = trained(recipe, config(strategy), start=start, normalized=normalized)
    pairs = list(zip(one.get_weights(), two.get_weights(), strict=True))
    images = blobs(8, seed=4)[0]
    # What a run exports: the plain model, wrapped as it was and given the weights.
    stages = compose.plan(parse(recipe)).stages
    plain = compose.strip(stages, wrapped(stages, network(normalized=normalized)))
    plain.set_weights(two.get_weights())
    metrics = alone.history[-1].keys() - {"seconds", "peak_memory_bytes", "energy_joules"}
    copies = [[copy.numpy() for copy in weight.values] for weight in two.weights]
    # Of several processes each holds one copy, and all would have to predict.
    alike = apart(two.predict(images, verbose=0), plain(images).numpy()) if copies[0][1:] else None
    return {
        "sha256": checkpoint.weights_sha256(two),
        "history": [*map(dict, shared.history)],
        "moved": max(apart(a, b) for a, b in zip(two.get_weights(), start, strict=False)),
        "apart": max(apart(a, b) for a, b in pairs),
        "same_zeros": all(np.array_equal(a == 0, b == 0) for a, b in pairs),
        "same_groups": all(np.array_equal(groups(a), groups(b)) for a, b in pairs),
        "metrics_apart": max(abs(alone.history[-1][m] - shared.history[-1][m]) for m in metrics),
        "copies_apart": max(apart(found[0], found[-1]) for found in copies),
        "predictions_apart": alike,
    }


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


def groups(values: np.ndarray) -> np.ndarray:
    """For each weight the number of its value, counted from the smallest."""
    return np.unique(values, return_inverse=True)[1]


def resumed(recipe: str, **options: Any) -> dict[str, Any]:
    """Without a break against with one."""
    settings = config("mirrored", **options)
    whole, start, _ = trained(recipe, settings, dropout=0.3)
    broken, _, _ = trained(recipe, settings, dropout=0.3, interrupted=True, start=start)
    return {"same": checkpoint.weights_sha256(whole) == checkpoint.weights_sha256(broken)}


def refused() -> dict[str, str]:
    """What is not possible, with the message."""
    said = {}
    placed = placement.placed(network(), strategy="mirrored", precision="float32")
    for name, model, data in (
        ("another place", network(), batches()),
        ("unequal shares", placed, batches(15)),
    ):
        try:
            with tempfile.TemporaryDirectory() as folder:
                training.fit(model, data, config=config("mirrored"), state_dir=folder)
        except ValueError as error:
            said[name] = str(error)
    return said


def main(path: str) -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    found = {
        "devices": placement.replicas("mirrored"),
        "compared": {
            name: compared(recipe, strategy="mirrored") for name, recipe in RECIPES.items()
        },
        "normalized": compared("prune(0.5)", strategy="mirrored", normalized=True),
        "resumed": resumed("prune(0.5)", precision="mixed_float16"),
        "refused": refused(),
    }
    Path(path).write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
