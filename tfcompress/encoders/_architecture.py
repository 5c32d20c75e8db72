"""Builds an encoder of the BERT family: one flat functional model of plain layers.

Knows the layers, their names and their order. Every product with a matrix of weights is a Dense
layer of its own, so that techniques meet them as they meet those of any network. Does not know
where weights come from.

The names stay: with `layer_0` for the first layer, `layer_0/attention/query`, `key`, `value` and
`output` are its attention's Dense layers, `layer_0/attention/probabilities` what its heads attend
to, `layer_0/feed_forward/inner` and `outer` the other two, and `layer_0/feed_forward/normalization`
gives what the layer hands on.

Reference: Devlin et al. 2019, "BERT: Pre-training of deep bidirectional transformers for language
understanding"; Liu et al. 2019, "RoBERTa: A robustly optimized BERT pretraining approach".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfcompress._keras import keras
from tfcompress.encoders._config import EncoderConfig
from tfcompress.graph.kernels import named_layers

if TYPE_CHECKING:
    from tf_keras import KerasTensor, Model

TOKEN_IDS, MASK, TOKEN_TYPES = "token_ids", "mask", "token_types"
"""The names of the inputs, int32 [batch, length]."""

MASKED_SCORE = -10_000.0
"""Added to the score of a token that is not attended to, as in Google's BERT.

Its exponential is 0 in float32, and the number itself is one of float16's, too.
"""
EMBEDDED = "embeddings/normalization"
"""The layer that gives the embeddings, the first hidden states."""
HIDDEN_STATES = "layer_{}/feed_forward/normalization"
"""The layer that gives what a layer of a number hands on."""
SCORES = "layer_{}/attention/masked_scores"
"""The layer that gives the scores of its attention, which the softmax makes probabilities of."""
MASK_OF_TOKENS = "mask/wide"
"""The layer that gives 1 for tokens and 0 for padding, [batch, 1, 1, length]."""
_DEVIATION = 0.02


def hidden_state_names(config: EncoderConfig) -> tuple[str, ...]:
    """The layers that give the hidden states, [batch, length, width]: embeddings, then each layer.

    Example:
      >>> config = EncoderConfig(vocabulary=9, width=4, layers=1, heads=1, feed_forward=8)
      >>> hidden_state_names(config)
      ('embeddings/normalization', 'layer_0/feed_forward/normalization')
    """
    return (EMBEDDED, *map(HIDDEN_STATES.format, range(config.layers)))


def attention_names(config: EncoderConfig) -> tuple[str, ...]:
    """The layers that give attention probabilities, [batch, heads, length, length]."""
    return tuple(f"layer_{layer}/attention/probabilities" for layer in range(config.layers))


def layers_of(model: Model) -> int:
    """How many of an encoder's layers a model has, by their names; 0 of any other model.

    Args:
      model: functional model.
    """
    names = set(named_layers(model))
    counted = map(HIDDEN_STATES.format, itertools.count())
    return sum(1 for _ in itertools.takewhile(names.__contains__, counted))


def with_outputs(model: Model, names: Sequence[str]) -> Model:
    """A model that shares a model's layers and gives what those of some names give.

    Args:
      model: of `build_encoder`, or one that keeps its layers' names, such as a classifier on it.
      names: of layers, such as `hidden_state_names` and `attention_names`.

    Raises:
      ValueError: no name, or one that the model does not have.
    """
    known = {layer.name: layer for layer in model.layers}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"with_outputs takes names of layers of {model.name!r}. Received: "
            f"{', '.join(unknown) or 'none'}. Known: {', '.join(known)}."
        )
    return keras.Model(model.inputs, [known[name].output for name in names], name=model.name)


def build_encoder(
    config: EncoderConfig,
    *,
    length: int,
    token_types: bool = False,
    pooler: bool = False,
    masked_score: float = MASKED_SCORE,
    mask_input: bool = True,
) -> Model:
    """Builds an encoder with random weights.

    Args:
      config: what to build.
      length: tokens of every sequence, padding included. It is fixed, as an exported file needs it;
        models of other lengths have the same weights in the same order.
      token_types: whether the model has a third input. Without it all tokens are of type 0, as in
        single sentences: the one row of the table that is used then adds the same numbers at
        every position, so the model has no such table, and loading adds the row to the table of
        positions.
      pooler: end in BERT's pooler, a Dense layer with tanh on the first token, [batch, width].
      masked_score: what is added to the scores of padding, below 0. Integers of 8 bits have 255
        steps for it and the true scores together, and with -10,000 none is left for these. -64
        leaves them steps of a quarter, and changes no output in float32 as long as the scores of a
        query lie within some 40 of each other.
      mask_input: whether the mask is an input. Without it the tokens of `padding_id` are padding,
        and all others are attended to.

    Returns:
      A model from `token_ids` and, with `mask_input`, `mask` (1 for tokens that are attended to, 0
      for padding), int32 [batch, length], and with `token_types` a third such input, to the last
      hidden states, float32 [batch, length, width], or what the pooler makes of them.

    Raises:
      ValueError: a length for which the table of positions has no rows, or a `masked_score` of 0
        or above.
    """
    if not masked_score < 0:
        raise ValueError(f"masked_score must be below 0. Received: {masked_score}.")
    if not 1 <= length <= config.longest:
        raise ValueError(
            f"length must be from 1 to {config.longest} tokens for this encoder, whose table has "
            f"{config.positions} positions. Received: {length}."
        )
    names = [TOKEN_IDS, *[MASK] * mask_input, *[TOKEN_TYPES] * token_types]
    inputs = {name: keras.Input([length], dtype="int32", name=name) for name in names}
    hidden = _embeddings(config, inputs[TOKEN_IDS], inputs.get(TOKEN_TYPES))
    mask = inputs[MASK] if mask_input else _own_mask(config, inputs[TOKEN_IDS])
    bias = _mask_bias(mask, masked_score)
    for layer in range(config.layers):
        hidden = _attention(config, hidden, bias, name=f"layer_{layer}/attention")
        hidden = _feed_forward(config, hidden, name=f"layer_{layer}/feed_forward")
    if pooler:
        hidden = _pooled(config, hidden)
    return keras.Model(list(inputs.values()), hidden, name=config.kind)


def _embeddings(
    config: EncoderConfig, tokens: KerasTensor, token_types: KerasTensor | None
) -> KerasTensor:
    from tfcompress.graph import _layers

    padding_id = config.padding_id if config.kind == "roberta" else None
    places = _layers.PositionIds(padding_id, name="embeddings/position_ids")(tokens)
    parts = [
        _table(config, config.vocabulary, "embeddings/words")(tokens),
        _table(config, config.positions, "embeddings/positions")(places),
    ]
    if token_types is not None:
        parts.append(_table(config, config.token_types, "embeddings/token_types")(token_types))
    outputs = keras.layers.Add(name="embeddings/sum")(parts)
    outputs = _normalization(config, "embeddings")(outputs)
    return _dropped(config.dropout, outputs, name="embeddings/dropout")


def _own_mask(config: EncoderConfig, tokens: KerasTensor) -> KerasTensor:
    from tfcompress.graph import _layers

    return _layers.TokenMask(config.padding_id, name="mask/of_tokens")(tokens)


def _mask_bias(mask: KerasTensor, masked: float) -> KerasTensor:
    """0 for what is attended to, `masked` for padding: [batch, 1, 1, length]."""
    wide = keras.layers.Reshape([1, 1, -1], name="mask/wide")(mask)
    return keras.layers.Rescaling(-masked, masked, name="mask/bias")(wide)


def _attention(
    config: EncoderConfig, inputs: KerasTensor, bias: KerasTensor, *, name: str
) -> KerasTensor:
    from tfcompress.graph import _layers

    layers = keras.layers
    query = _dense(config.width, f"{name}/query")(inputs)
    # Of the query, not of the scores: fewer numbers where sequences are longer than a head is wide.
    query = layers.Rescaling(1 / math.sqrt(config.head_width), name=f"{name}/query_scaled")(query)
    key = _dense(config.width, f"{name}/key")(inputs)
    value = _dense(config.width, f"{name}/value")(inputs)
    query = _heads(config, query, name=f"{name}/query")
    key = _heads(config, key, name=f"{name}/key")
    value = _heads(config, value, name=f"{name}/value")
    scores = _layers.MatMul(transpose_b=True, name=f"{name}/scores")([query, key])
    scores = layers.Add(name=f"{name}/masked_scores")([scores, bias])
    probabilities = layers.Softmax(name=f"{name}/probabilities")(scores)
    kept = _dropped(config.attention_dropout, probabilities, name=f"{name}/probabilities_dropout")
    context = _layers.MatMul(name=f"{name}/context")([kept, value])
    context = layers.Permute([2, 1, 3], name=f"{name}/context_by_token")(context)
    context = layers.Reshape([-1, config.width], name=f"{name}/context_joined")(context)
    outputs = _dense(config.width, f"{name}/output")(context)
    return _added(config, inputs, outputs, name=name)


def _heads(config: EncoderConfig, inputs: KerasTensor, *, name: str) -> KerasTensor:
    """[batch, length, width] as [batch, heads, length, head width]."""
    shape = [-1, config.heads, config.head_width]
    outputs = keras.layers.Reshape(shape, name=f"{name}_split")(inputs)
    return keras.layers.Permute([2, 1, 3], name=f"{name}_by_head")(outputs)


def _feed_forward(config: EncoderConfig, inputs: KerasTensor, *, name: str) -> KerasTensor:
    outputs = _dense(config.feed_forward, f"{name}/inner")(inputs)
    outputs = _activated(config.activation, outputs, name=f"{name}/activation")
    outputs = _dense(config.width, f"{name}/outer")(outputs)
    return _added(config, inputs, outputs, name=name)


def _activated(activation: str, inputs: KerasTensor, *, name: str) -> KerasTensor:
    from tfcompress.graph import _layers

    if activation == "gelu_new":
        return _layers.ApproximateGelu(name=name)(inputs)
    return keras.layers.Activation(activation, name=name)(inputs)


def _added(
    config: EncoderConfig, inputs: KerasTensor, outputs: KerasTensor, *, name: str
) -> KerasTensor:
    """The sum of what a part was given and what it made of it, normalized."""
    outputs = _dropped(config.dropout, outputs, name=f"{name}/dropout")
    outputs = keras.layers.Add(name=f"{name}/sum")([inputs, outputs])
    return _normalization(config, name)(outputs)


def _pooled(config: EncoderConfig, hidden: KerasTensor) -> KerasTensor:
    from tfcompress.graph import _layers

    first = _layers.Slice([0], name="pooler/first")(hidden)
    outputs = _dense(config.width, "pooler/dense")(first)
    return keras.layers.Activation("tanh", name="pooler/activation")(outputs)


def _dropped(rate: float, inputs: KerasTensor, *, name: str) -> KerasTensor:
    return keras.layers.Dropout(rate, name=name)(inputs) if rate else inputs


def _normalization(config: EncoderConfig, name: str) -> keras.layers.Layer:
    return keras.layers.LayerNormalization(epsilon=config.epsilon, name=f"{name}/normalization")


def _dense(width: int, name: str) -> keras.layers.Layer:
    # Keras draws it within two deviations, as BERT's were.
    initializer = keras.initializers.TruncatedNormal(stddev=_DEVIATION)
    return keras.layers.Dense(width, kernel_initializer=initializer, name=name)


def _table(config: EncoderConfig, rows: int, name: str) -> keras.layers.Layer:
    initializer = keras.initializers.TruncatedNormal(stddev=_DEVIATION)
    return keras.layers.Embedding(rows, config.width, embeddings_initializer=initializer, name=name)
