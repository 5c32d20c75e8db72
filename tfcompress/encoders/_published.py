"""Weights of a published encoder: checked against its description, and put into a model.

Knows Hugging Face's names and shapes of the tensors, and which layer each belongs to. Does not know
how files are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfcompress.encoders._config import EncoderConfig
from tfcompress.packaged_files import WeightsError

if TYPE_CHECKING:
    from tf_keras import Model

# Numbers that some versions saved beside the weights; the model counts for itself.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_POOLER = "pooler/dense"
_LISTED = 12


@dataclass(frozen=True)
class Pretrained:
    """An encoder's description and its weights.

    Attributes:
      config: the description.
      tensors: float32 by Hugging Face's names without a prefix, matrices [outputs, inputs].
      origin: in words, where they come from.
      left_out: names of the tensors in the file that belong to no encoder, such as those of a head.
    """

    config: EncoderConfig
    tensors: Mapping[str, np.ndarray]
    origin: str
    left_out: tuple[str, ...] = ()

    @property
    def has_pooler(self) -> bool:
        """Whether the file brought the pooler's weights along."""
        return f"{_tensor_owner(_POOLER)}.weight" in self.tensors


def checked(
    config: EncoderConfig, tensors: Mapping[str, np.ndarray], *, origin: str, source: str
) -> Pretrained:
    """Holds tensors against a description.

    Args:
      config: the description.
      tensors: by Hugging Face's names, which may have the prefix `bert.` or `roberta.`; then those
        without it belong to heads.
      origin: as of `Pretrained`.
      source: how messages call the file.

    Raises:
      WeightsError: lists the tensors that are missing, unknown, of another shape or not finite.
    """
    prefix = f"{config.kind}."
    if any(name.startswith(prefix) for name in tensors):
        own = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    else:
        own = {name: name for name in tensors}
    own = {name: full for name, full in own.items() if name not in _BUFFERS}
    found = {name: tensors[full] for name, full in own.items()}
    _require_fit(config, found, source=source)
    return Pretrained(
        config=config,
        tensors={name: np.asarray(tensor, np.float32) for name, tensor in found.items()},
        origin=origin,
        left_out=tuple(name for name in tensors if name not in own.values()),
    )


def assign(model: Model, pretrained: Pretrained) -> None:
    """Puts published weights into a model of `build_encoder`.

    Args:
      model: of the same description; changed in place.
      pretrained: the weights.

    Raises:
      WeightsError: the model has a pooler for which there are no weights.
    """
    tensors = pretrained.tensors
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    if _POOLER in layers and not pretrained.has_pooler:
        raise WeightsError(
            f"{pretrained.origin} holds no weights of a pooler. Build the encoder with "
            "pooler=False and put a layer of your own on its first token, or on the mean of all."
        )
    for name, layer in layers.items():
        arrays = [tensors[tensor] for tensor, _ in _tensors_of(name, pretrained.config)]
        if name == "embeddings/positions" and "embeddings/token_types" not in layers:
            # All tokens are of type 0, which adds its row at every position.
            arrays = [arrays[0] + tensors[f"{_TABLES['embeddings/token_types']}.weight"][0]]
        is_dense = len(arrays) == 2 and arrays[0].ndim == 2
        layer.set_weights([arrays[0].T, arrays[1]] if is_dense else arrays)


def _require_fit(config: EncoderConfig, found: Mapping[str, np.ndarray], *, source: str) -> None:
    expected = dict(_expected(config))
    pooler = dict(_tensors_of(_POOLER, config))
    if not pooler.keys() & found.keys():
        expected = {name: shape for name, shape in expected.items() if name not in pooler}
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    differing = [
        f"{name} expects {list(shape)}, received {list(found[name].shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    if missing or unknown or differing:
        raise WeightsError(
            f"The tensors of {source} are not those of a {config.kind} encoder of {config.layers} "
            f"layers, width {config.width}, feed-forward width {config.feed_forward} and "
            f"{config.vocabulary} words, as its description says. Missing: {_some(missing)}. "
            f"Unknown: {_some(unknown)}. Of another shape: {_some(differing)}. Pass the "
            "description that was published with the weights."
        )
    broken = [name for name in expected if not np.isfinite(found[name]).all()]
    if broken:
        raise WeightsError(
            f"Tensors of {source} hold NaN or infinite numbers: {_some(broken)}. A training that "
            "broke down leaves such weights: take an earlier checkpoint, or fetch the file again."
        )


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more if names else "nothing"


_TABLES = {
    "embeddings/words": "embeddings.word_embeddings",
    "embeddings/positions": "embeddings.position_embeddings",
    "embeddings/token_types": "embeddings.token_type_embeddings",
}
_OF_A_LAYER = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention/normalization": "attention.output.LayerNorm",
    "feed_forward/inner": "intermediate.dense",
    "feed_forward/outer": "output.dense",
    "feed_forward/normalization": "output.LayerNorm",
}


def _expected(config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every tensor, the pooler's last."""
    names = [*_TABLES, "embeddings/normalization"]
    names += [f"layer_{layer}/{part}" for layer in range(config.layers) for part in _OF_A_LAYER]
    for name in (*names, _POOLER):
        yield from _tensors_of(name, config)


def _tensors_of(name: str, config: EncoderConfig) -> list[tuple[str, tuple[int, ...]]]:
    """The name and shape of each tensor of a layer, in Keras' order."""
    owner = _tensor_owner(name)
    rows = {
        "embeddings/words": config.vocabulary,
        "embeddings/positions": config.positions,
        "embeddings/token_types": config.token_types,
    }
    if name in rows:
        return [(f"{owner}.weight", (rows[name], config.width))]
    part = name.rpartition("/")[2]
    outputs = config.feed_forward if part == "inner" else config.width
    inputs = config.feed_forward if part == "outer" else config.width
    shape = (outputs,) if part == "normalization" else (outputs, inputs)
    return [(f"{owner}.weight", shape), (f"{owner}.bias", (outputs,))]


def _tensor_owner(name: str) -> str:
    """What the names of a layer's tensors begin with.

    Example:
      >>> _tensor_owner("layer_3/feed_forward/outer")
      'encoder.layer.3.output.dense'
    """
    if name.startswith("layer_"):
        layer, _, part = name.removeprefix("layer_").partition("/")
        return f"encoder.layer.{layer}.{_OF_A_LAYER[part]}"
    others = {"embeddings/normalization": "embeddings.LayerNorm", _POOLER: "pooler.dense"}
    return {**_TABLES, **others}[name]
