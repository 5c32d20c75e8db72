"""Where a model is trained and in which number format: distribution strategies and precisions.

Knows TensorFlow's strategies and Keras' dtype policies by name, how a model comes under them, and
how several processes come to know the same. Does not know how the training goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from tfcompress import workers
from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import leaf_layers, plain_layer
from tfcompress.graph.rebuild import require_functional

STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")
"""All but `none` keep a copy of the model on each device and give each its share of a batch.

`mirrored` is for the devices of one process, `multi_worker` for those of all processes that
`TF_CONFIG` names, `tpu` for the cores of a TPU."""

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
"""The mixed ones compute in half precision and keep their weights in float32."""


# A process has one strategy of a kind: models of two that are alike cannot meet.
_MADE: dict[str, Any] = {}

# Words that are added up in one message: 1 KiB or 1 MiB.
_PIECES = (2**8, 2**18)


class WorkerLost(RuntimeError):
    """Another process of the training ended, or cannot be reached any more."""


@contextmanager
def scope(strategy: str) -> Iterator[Any]:
    """Lets what is built within it be trained under a strategy.

    Args:
      strategy: one of `STRATEGIES`; with `"none"` nothing changes.

    Yields:
      The `tf.distribute.Strategy`, the same one each time.
    """
    if strategy == "none":
        yield tf.distribute.get_strategy()
        return
    found = _made(strategy)
    with found.scope():
        yield found


def _made(strategy: str) -> Any:
    make = {"mirrored": _mirrored, "multi_worker": _multi_worker, "tpu": _tpu}[strategy]
    if strategy not in _MADE:
        _MADE[strategy] = make()
    return _MADE[strategy]


def _mirrored() -> Any:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> Any:
    cluster = workers.read(os.environ)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise RuntimeError(
            f"{cluster.name} cannot join the others: {error} Call placement.start before anything "
            "else computes with TensorFlow."
        ) from error


def _tpu() -> Any:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, OSError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"No TPU in reach: {error} Run on a machine with one, or name it in TPU_NAME "
            "('local' where the machine itself holds it). Otherwise use strategy none, mirrored or "
            "multi_worker."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def start(
    strategy: str,
    *,
    wait_seconds: float = workers.WAIT_SECONDS,
    told: Callable[[str], None] = lambda text: None,
) -> None:
    """Reaches what a strategy needs, before any work; to be called before TensorFlow computes.

    Args:
      strategy: one of `STRATEGIES`.
      wait_seconds: for the other processes of `multi_worker`.
      told: hears whom this process waits for.

    Raises:
      ClusterError: `TF_CONFIG` is wrong, this process's port is taken, or another process does not
        answer.
      ValueError: there is no TPU.
      RuntimeError: TensorFlow has computed before, where it joins other processes.
    """
    if strategy == "multi_worker" and strategy not in _MADE:
        workers.meet(workers.read(os.environ), wait_seconds=wait_seconds, told=told)
    with scope(strategy):
        pass


def is_chief(strategy: str) -> bool:
    """Whether this process is the one that writes: all but some of `multi_worker` are."""
    return strategy != "multi_worker" or workers.read(os.environ).is_chief


def from_chief(strategy: str, make: Callable[[], bytes]) -> bytes:
    """Bytes that the chief makes and every process gets. All must call it, in the same order.

    Args:
      strategy: one of `STRATEGIES`.
      make: gives them; called by the chief alone.
    """
    if strategy != "multi_worker":
        return make()
    data = make() if is_chief(strategy) else b""
    # As words of 32 bits, which every device adds up exactly.
    size = total(strategy, len(data))
    words = np.zeros(-(-size // 4), np.int32)
    words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    return _totals(strategy, words).tobytes()[:size]


def total(strategy: str, own: int) -> int:
    """The sum of what each process of `multi_worker` has. All must call it, in the same order.

    Args:
      strategy: `"multi_worker"`.
      own: of this process; the sum is below 2**31.
    """
    return int(_totals(strategy, np.array([own], np.int32))[0])


def _totals(strategy: str, own: np.ndarray) -> np.ndarray:
    """The sums of int32 [n], n the same in each process."""
    # Of two sizes, so that the sum is traced twice and no more.
    size = _PIECES[own.size > _PIECES[0]]
    pieces = [np.zeros(0, np.int32)]
    for start in range(0, own.size, size):
        piece = own[start : start + size]
        sums = _added(strategy, np.pad(piece, (0, size - piece.size)))
        pieces.append(sums[: piece.size])
    return np.concatenate(pieces)


def _added(strategy: str, own: np.ndarray) -> np.ndarray:
    with together(strategy):
        results = _adder(strategy)(tf.constant(own))
        values: np.ndarray = _made(strategy).experimental_local_results(results)[0].numpy()
    return values


@cache
def _adder(strategy: str) -> Any:
    found = _made(strategy)
    devices = len(found.extended.worker_devices)

    def of_replica(values: Any) -> Any:
        context = tf.distribute.get_replica_context()
        # Of the devices of a process the first one speaks.
        speaks = tf.equal(context.replica_id_in_sync_group % devices, 0)
        own = tf.where(speaks, values, tf.zeros_like(values))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    return tf.function(lambda values: found.run(of_replica, args=(values,)))


@contextmanager
def together(strategy: str) -> Iterator[None]:
    """Says in a sentence that another process of `multi_worker` is gone.

    Args:
      strategy: one of `STRATEGIES`; with others nothing changes.

    Raises:
      WorkerLost: a computation of all processes failed since one is gone.
    """
    if strategy != "multi_worker":
        yield
        return
    errors = tf.errors
    lost = (errors.UnavailableError, errors.AbortedError, errors.CancelledError)
    try:
        yield
    except lost as error:
        raise WorkerLost(
            f"{workers.read(os.environ).name} has lost another one, without which it cannot train. "
            "The chief's run folder has every epoch that was finished: see what that worker said, "
            "then give all of them the same command again to go on."
        ) from error


def replicas(strategy: str) -> int:
    """How many devices share a batch: the GPUs, or the logical processors where there is none."""
    with scope(strategy) as found:
        return int(found.num_replicas_in_sync)


def is_plain(*, strategy: str, precision: str) -> bool:
    """Whether a model is trained as it is, with no copy of it placed anywhere."""
    return strategy == "none" and precision == "float32"


def placed(model: Any, *, strategy: str, precision: str) -> Any:
    """A copy that is trained under a strategy and in a precision.

    In a mixed precision the layers that give the model's outputs still compute in float32, as a
    loss asks for; so do layers of another type than float32. The weights are the same float32
    numbers in the same order: given back with `set_weights`, they are those of the plain model.

    Args:
      model: functional or sequential model, models within it included; it stays as it is.
      strategy: one of `STRATEGIES`.
      precision: one of `PRECISIONS`; with `"float32"` every layer keeps its own.

    Raises:
      ValueError: a subclassed model, or one that was never built.
    """
    require_functional(model)
    with scope(strategy):
        copy = _cloned(model, precision, outputs=_output_layers(model))
        copy.set_weights(model.get_weights())
    mixed = precision != "float32"
    # By its own policy a model's optimizer scales the loss.
    copy._set_dtype_policy(precision if mixed else model.dtype_policy)
    return copy


def _output_layers(model: Any) -> set[int]:
    """The layers that give a model's outputs, in models within it too."""
    layers = [tensor._keras_history.layer for tensor in model.outputs]
    inner = [_output_layers(layer) for layer in layers if isinstance(layer, keras.Model)]
    return {id(layer) for layer in layers}.union(*inner)


def _cloned(model: Any, precision: str, *, outputs: set[int]) -> Any:
    def made(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return _cloned(layer, precision, outputs=outputs)
        config = layer.get_config()
        if precision != "float32" and id(layer) not in outputs:
            config = _in_precision(config, precision)
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=made)


def _in_precision(config: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """A layer's config with another policy, in the layers and cells that it holds too."""
    changed = {name: _held(value, precision) for name, value in config.items()}
    if changed.get("dtype") == "float32":
        changed["dtype"] = precision
    return changed


def _held(value: Any, precision: str) -> Any:
    if isinstance(value, list):
        return [_held(item, precision) for item in value]
    if isinstance(value, dict) and "trainable" in (value.get("config") or {}):
        return {**value, "config": _in_precision(value["config"], precision)}
    return value


def normalize_together(model: Any, strategy: str) -> None:
    """Lets batch normalizations take their statistics from a whole batch, not a device's share.

    As `synchronized=True` of Keras does, which is not part of a layer's config. Keras' faster
    kernel knows one device only; beside it, the moving variance lacks Bessel's correction, a factor
    of 1 - 1/n, with n the positions that one batch has of a channel.

    Args:
      model: built within `scope(strategy)`, changed in place before it is compiled.
      strategy: one of `STRATEGIES`; on one device nothing changes.
    """
    if replicas(strategy) == 1:
        return
    for layer in map(plain_layer, leaf_layers(model)):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized, layer.fused = True, False


def require_placed(model: Any, strategy: str) -> None:
    """Refuses a model that was built for other devices than it is to be trained on.

    Raises:
      ValueError: it was not built, or wrapped, within `scope(strategy)`.
    """
    with scope(strategy) as expected:
        pass
    if strategy != "none" and model.distribute_strategy is not expected:
        raise ValueError(
            f"The model {model.name!r} was not built for strategy {strategy!r}. Give it to "
            "placement.placed first, and wrap it for a technique within placement.scope."
        )


def require_shares(batches: Any, strategy: str) -> None:
    """Refuses batches of which the devices would have unequal shares.

    The mean of the shares' losses would not be that of the batch, and a model trained on two
    devices would not be the one trained on one.

    Args:
      batches: tf.data.Dataset; batches of unknown size are taken for divisible.
      strategy: one of `STRATEGIES`.

    Raises:
      ValueError: the batch size is no multiple of the number of devices.
    """
    if strategy == "none":
        return
    size, devices = tf.nest.flatten(batches.element_spec)[0].shape[0], replicas(strategy)
    if size is not None and size % devices:
        raise ValueError(
            f"A batch of {size} cannot be shared equally by the {devices} devices of strategy "
            f"{strategy!r}. Use a batch size that is a multiple of {devices}; a training split "
            "smaller than the batch size is one batch."
        )


def sharded(batches: Any, strategy: str) -> Any:
    """Batches of which each process of `multi_worker` takes its share of every one.

    Each makes all of them, in the same order, so that together they see what one process sees.

    Args:
      batches: tf.data.Dataset.
      strategy: one of `STRATEGIES`; with others they stay as they are.
    """
    if strategy != "multi_worker":
        return batches
    options = tf.data.Options()
    by_data = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = by_data
    return batches.with_options(options)


def shared_batch_size(examples: int, *, at_most: int, devices: int) -> int:
    """The largest size of batches, the last one included, of which each device gets a share.

    A device without one computes on an empty batch, on which TensorFlow's fused convolutions for
    processors fail (seen with 2.21).

    Args:
      examples: to go through once.
      at_most: examples in one batch.
      devices: that share it.

    Returns:
      A size up to `at_most`; with one device it is `at_most`.

    Raises:
      ValueError: too few examples for so many devices.

    Example:
      >>> shared_batch_size(257, at_most=256, devices=2)  # 170 and 87, not 256 and 1.
      170
    """
    if devices == 1:
        return at_most
    for share in range(at_most // devices, 0, -1):
        last = (examples - 1) % (devices * share) + 1
        # TensorFlow fills the shares one after the other.
        if last > (devices - 1) * share:
            return devices * share
    raise ValueError(
        f"{examples} examples cannot be shared by {devices} devices so that none goes without. "
        f"Give at least {(devices - 1) ** 2 + 1}, or use strategy none."
    )
