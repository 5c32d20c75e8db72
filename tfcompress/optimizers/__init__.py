"""Optimizers and learning-rate schedules by the names that Keras has for them.

Knows how each is made. Does not know what is trained with it. Importing this module imports no
TensorFlow.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tfcompress._keras import keras

OPTIMIZERS = (
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lion",
    "nadam",
    "rmsprop",
    "sgd",
)
SCHEDULES = (
    "constant",
    "cosine_decay",
    "exponential_decay",
    "inverse_time_decay",
    "polynomial_decay",
)


def build_optimizer(name: str, rate: Any, *, weight_decay: float = 0.0) -> Any:
    """A Keras optimizer.

    Args:
      name: one of `OPTIMIZERS`; `sgd` gets Nesterov momentum 0.9.
      rate: learning rate, a number or a Keras schedule.
      weight_decay: decoupled, 0 for none.
    """
    options: dict[str, Any] = {"learning_rate": rate}
    if name == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    if weight_decay:
        options["weight_decay"] = weight_decay
    # Not keras.optimizers.get, which knows only some of Keras' optimizers.
    kinds = {known.lower(): known for known in dir(keras.optimizers)}
    kind = getattr(keras.optimizers, kinds[name])
    if not weight_decay and "weight_decay" in inspect.signature(kind.__init__).parameters:
        options["weight_decay"] = 0.0 if name == "adamw" else None
    return kind(**options)


def build_schedule(name: str, peak: float, *, steps: int, warmup: float = 0.0) -> Any:
    """A learning rate over the steps of a training, as a number or a Keras schedule.

    Args:
      name: one of `SCHEDULES`.
      peak: the highest one, above 0.
      steps: of the training, at least 1.
      warmup: fraction of the steps in [0, 1) over which the rate first rises from 0.
    """
    from tfcompress.optimizers._schedules import Warmup

    rising = round(warmup * steps)
    rest = max(steps - rising, 1)
    schedules = keras.optimizers.schedules
    made: dict[str, Callable[[], Any]] = {
        "constant": lambda: peak,
        "cosine_decay": lambda: schedules.CosineDecay(peak, rest),
        # A hundredth of the peak at the end, as is usual for step-wise decay.
        "exponential_decay": lambda: schedules.ExponentialDecay(peak, rest, 0.01),
        "inverse_time_decay": lambda: schedules.InverseTimeDecay(peak, rest, 99.0),
        "polynomial_decay": lambda: schedules.PolynomialDecay(peak, rest, peak / 100),
    }
    return Warmup(peak, rising, made[name]()) if rising else made[name]()
