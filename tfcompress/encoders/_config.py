"""What an encoder of the BERT family is: its sizes, and how its published descriptions say them.

Knows the settings that change what is computed, and refuses those that the architecture here does
not have. Does not know layers or weights. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcompress import registry

KINDS = ("bert", "roberta")
ACTIVATIONS = ("gelu", "gelu_new", "relu")

# Hugging Face's names of the sizes, which Google's bert_config.json shares.
_SIZES = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}
# Two names of one function: GELU by its approximation with tanh.
_SAME_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_new"}
# Settings that would change the architecture, and the values with which they do not.
_ONLY = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "pruned_heads": ({}, []),
}
_PADDING = {"bert": 0, "roberta": 1}


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder of the BERT family: post-norm layers over words, positions and token types.

    Attributes:
      kind: `"bert"`, whose positions count all tokens from 0, or `"roberta"`, whose positions count
        those that are no padding, from `padding_id + 1`.
      vocabulary: rows of the table of words.
      width: numbers that stand for a token between layers; a multiple of `heads`.
      layers: attention layers, each with a feed-forward part.
      heads: of each attention.
      feed_forward: numbers within the feed-forward part.
      positions: rows of the table of positions.
      token_types: rows of the table of token types, such as 2 for first and second sentence.
      activation: of the feed-forward part: `"gelu"` (exact, with erf), `"gelu_new"` (approximated
        with tanh) or `"relu"`.
      epsilon: what layer normalization adds to a variance.
      padding_id: the token that fills a sequence up.
      dropout: fraction of numbers dropped in training after the embeddings and each part, in
        [0, 1).
      attention_dropout: fraction of attention probabilities dropped in training, in [0, 1).

    Raises:
      ValueError: a value out of its range, an unknown kind or activation.

    Example:
      >>> config = EncoderConfig(vocabulary=100, width=8, layers=2, heads=2, feed_forward=16)
      >>> config.head_width, config.longest
      (4, 512)
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    kind: str = "bert"
    positions: int = 512
    token_types: int = 2
    activation: str = "gelu"
    epsilon: float = 1e-12
    padding_id: int = 0
    dropout: float = 0.1
    attention_dropout: float = 0.1

    def __post_init__(self) -> None:
        registry.require(self.kind, KINDS, what="kind of encoder")
        registry.require(self.activation, ACTIVATIONS, what="activation of an encoder")
        for name in _SIZES:
            _require_whole(name, getattr(self, name), least=1)
        _require_whole("padding_id", self.padding_id, least=0)
        if self.width % self.heads:
            raise ValueError(
                "EncoderConfig.width must be a multiple of heads. "
                f"Received: {self.width} and {self.heads}."
            )
        if self.padding_id >= self.vocabulary:
            raise ValueError(
                f"EncoderConfig.padding_id must be below the vocabulary's {self.vocabulary}. "
                f"Received: {self.padding_id}."
            )
        if self.longest < 1:
            raise ValueError(
                f"EncoderConfig.positions must be above padding_id + 1, {self.padding_id + 1}, of "
                f"a roberta encoder. Received: {self.positions}."
            )
        _require_between("epsilon", self.epsilon, above=True)
        _require_between("dropout", self.dropout, above=False)
        _require_between("attention_dropout", self.attention_dropout, above=False)

    @property
    def head_width(self) -> int:
        """Numbers that a head has for a token."""
        return self.width // self.heads

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that the table of positions serves."""
        return self.positions - (self.padding_id + 1 if self.kind == "roberta" else 0)

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> EncoderConfig:
        """The encoder that a `config.json` of Hugging Face describes.

        Args:
          config: the file's content; what says nothing of the encoder is passed over.

        Raises:
          ValueError: another model than BERT or RoBERTa, a size that is missing, or a setting that
            this architecture does not have.

        Example:
          >>> sizes = dict(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
          >>> sizes |= dict(intermediate_size=8, max_position_embeddings=6, type_vocab_size=1)
          >>> EncoderConfig.from_huggingface({"model_type": "roberta", **sizes}).padding_id
          1
        """
        kind = config.get("model_type")
        if kind not in KINDS:
            raise ValueError(
                f"config.json must have model_type {' or '.join(KINDS)}. Received: {kind!r}. "
                "Other architectures are not built here."
            )
        missing = [name for name in _SIZES.values() if name not in config]
        if missing:
            raise ValueError(f"config.json of a {kind} encoder lacks {', '.join(missing)}.")
        _require_known_architecture(config)
        activation = config.get("hidden_act", "gelu")
        if not isinstance(activation, str):
            raise ValueError(f"config.json: hidden_act must be a name. Received: {activation!r}.")
        padding = config.get("pad_token_id")
        return cls(
            kind=kind,
            **{ours: config[theirs] for ours, theirs in _SIZES.items()},
            activation=_SAME_ACTIVATIONS.get(activation, activation),
            epsilon=config.get("layer_norm_eps", 1e-12),
            padding_id=_PADDING[kind] if padding is None else padding,
            dropout=config.get("hidden_dropout_prob", 0.1),
            attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
        )


def _require_known_architecture(config: Mapping[str, Any]) -> None:
    only = {**_ONLY, "embedding_size": (config["hidden_size"],)}
    for name, values in only.items():
        if config.get(name) is not None and config[name] not in values:
            raise ValueError(
                f"config.json sets {name}={config[name]!r}, which is not built here. "
                f"Expected: {values[0]!r}, or no such setting."
            )


def _require_whole(name: str, value: Any, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"EncoderConfig.{name} must be an integer of at least {least}. Received: {value!r}."
        )


def _require_between(name: str, value: Any, *, above: bool) -> None:
    """Requires a number from 0 to below 1, with `above` not 0 itself."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1 or (above and value == 0):
        bounds = "(0, 1)" if above else "[0, 1)"
        raise ValueError(f"EncoderConfig.{name} must be in {bounds}. Received: {value!r}.")
