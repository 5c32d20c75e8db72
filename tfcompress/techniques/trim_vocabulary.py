"""Vocabulary trimming: an encoder's tables lose the rows that no text of the task needs.

The tokenizer loses the same tokens, so that a rare word is split into smaller pieces that stay, and
the ids of the others close up. The table of positions loses those beyond the model's own length.
What the model says of a text is unchanged as long as all of its tokens stay; nothing is trained.
Knows which tables are read by ids of tokens and by their positions. Does not know how a tokenizer's
file is written (`vocabulary` does), nor other techniques.

Reference: Abdaoui, Pradel, Sigel 2020, "Load what you need: Smaller versions of multilingual BERT".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcompress import vocabulary
from tfcompress._keras import keras
from tfcompress.artifact import Artifact
from tfcompress.graph import connections
from tfcompress.graph.kernels import (
    kernels_and_tables,
    layer_reports,
    nothing_treated,
    plain_layer,
    weighted_layers,
)
from tfcompress.graph.rebuild import Use, rebuild, require_functional
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import VerificationError
from tfcompress.tokenizer import Tokenizer

# Between the rows that a table has and those that it had, in the detail of a report.
_OF = " of "
_READS_NO_TOKENS = "reads no ids of tokens"
_ALL_POSITIONS = "all of its positions are read"


@dataclass(frozen=True)
class VocabularyTrimmingConfig:
    """Which tokens stay.

    Attributes:
      least_count: how often the training split has a token that stays, at least 1. Above 1, words
        of the training split are cut up anew as well, which later stages can train on.
      usage: how often the training split has each token, a `vocabulary.TokenUsage`. In a recipe, of
        the data set's own.

    Raises:
      ValueError: a count below 1.
    """

    least_count: int = 1
    usage: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_types(self)
        if self.least_count < 1:
            raise ValueError(
                "VocabularyTrimmingConfig.least_count must be at least 1. "
                f"Received: {self.least_count}. For all tokens that the training split has pass 1."
            )

    @property
    def settles_at(self) -> float:
        """There is no training."""
        return 0.0

    @property
    def only_texts(self) -> str:
        """Why images have no use for it."""
        return "it takes tokens from an encoder's table and its tokenizer"


CONFIG = VocabularyTrimmingConfig


def tokenizer(config: VocabularyTrimmingConfig) -> Tokenizer:
    """The tokenizer with whose ids the model of `wrap` is to be called.

    Args:
      config: with the usage.

    Raises:
      ValueError: the usage is missing, or no token would go, or none would stay.
      TokenizerError: a tokenizer that tokens cannot be taken from.
    """
    usage = _usage(config)
    return vocabulary.trimmed(usage.tokenizer, _kept(config))


def skipped(model: Any, config: VocabularyTrimmingConfig) -> Mapping[str, str]:
    """The layers that stay as they are: all but the tables of tokens and of positions."""
    del config
    tables = _tables(model)
    whole = {name: _ALL_POSITIONS for name, table in tables.items() if not table.loses_rows}
    others = {name: _READS_NO_TOKENS for name in weighted_layers(model) if name not in tables}
    return others | whole


def wrap(model: Any, config: VocabularyTrimmingConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a model that reads the ids of `tokenizer(config)`.

    Args:
      model: functional model that reads ids of the whole tokenizer.
      config: with the usage.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: the model reads no ids of tokens, has another table than the tokenizer has tokens,
        or what `vocabulary.kept` refuses.
    """
    del steps_per_epoch, epochs
    flat = rebuild(plain_copy(model, technique="trim_vocabulary"))
    tables = {name: table for name, table in _tables(flat).items() if table.loses_rows}
    if not any(table.of_tokens for table in tables.values()):
        raise ValueError(nothing_treated("trim_vocabulary", skipped(flat, config)))
    usage, kept = _usage(config), list(_kept(config))
    for name, table in tables.items():
        if table.of_tokens and table.layer.input_dim < usage.tokenizer.vocabulary:
            raise ValueError(
                f"trim_vocabulary: the table {name} has {table.layer.input_dim:,} rows, "
                f"{usage.tokenizer.source} {usage.tokenizer.vocabulary:,} tokens: it belongs to "
                "another model. Pass the usage of the model's own tokenizer."
            )

    def replace(use: Use) -> Any:
        if use.layer.name not in tables:
            return use.again()
        positions = tables[use.layer.name].positions
        rows = kept if positions is None else list(range(positions))
        settings = {
            key: value
            for key, value in use.layer.get_config().items()
            if key not in ("batch_input_shape", "name")
        } | {"input_dim": len(rows)}
        table = use.instead(
            lambda name: keras.layers.Embedding.from_config({**settings, "name": name}),
            weights=[use.layer.get_weights()[0][rows]],
        )
        return table(*use.args)

    return rebuild(flat, replace)


def adjust(
    wrapped: Any, before: Any, config: VocabularyTrimmingConfig, *, progress: Any = None
) -> None:
    """Does nothing in the place of a training: the rows that stay are what they were."""
    del wrapped, before, config, progress


def callbacks(config: VocabularyTrimmingConfig) -> Sequence[Any]:
    """None: nothing is trained."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself: it has plain layers."""
    return model


def report(before: Any, after: Any, config: VocabularyTrimmingConfig) -> CompressionReport:
    """Describes every layer with weights: how many rows a table kept, or why it was passed over."""
    has = _tables(after)
    details = {
        name: f"{has[name].layer.input_dim:,}{_OF}{table.layer.input_dim:,} {table.of}"
        for name, table in _tables(before).items()
        if table.loses_rows
    }
    reports = layer_reports(
        before,
        after,
        reasons=skipped(before, config),
        details=details,
        weights=kernels_and_tables,
    )
    return CompressionReport("trim_vocabulary", reports)


def verify(model: Any, config: VocabularyTrimmingConfig, *, before: Any = None) -> None:
    """Counts the rows against those of the model before.

    Raises:
      VerificationError: a table has as many rows as before.
      ValueError: `before` is missing.
    """
    del config
    if before is None:
        raise ValueError(
            "trim_vocabulary.verify needs the model that wrap was given: verify(model, config, "
            "before=model_before)."
        )
    had = {name: table for name, table in _tables(before).items() if table.loses_rows}
    has = {name: table.layer.input_dim for name, table in _tables(model).items()}
    rows = {name: table.layer.input_dim for name, table in had.items()}
    whole = [name for name in had if has.get(name, rows[name]) >= rows[name]]
    if whole or not had:
        raise VerificationError(
            f"trim_vocabulary: {', '.join(whole) or 'the model'} has no fewer rows than before. Go "
            "on with what wrap returns."
        )


def verify_artifact(
    artifact: Artifact, report: CompressionReport, config: VocabularyTrimmingConfig
) -> None:
    """Counts the rows of the tables in the file; a later stage may have made them narrower.

    Raises:
      VerificationError: there is no table with as many rows as one that was trimmed.
    """
    del config
    found = [len(table.values) for table in artifact.tables().values()]
    for layer in report.layers:
        if layer.treated and int(layer.detail.partition(_OF)[0].replace(",", "")) not in found:
            raise VerificationError(
                f"trim_vocabulary: the exported file has no table with the rows of the layer "
                f"{layer.name}, {layer.detail}. Found tables with "
                f"{', '.join(f'{rows:,}' for rows in found) or 'no'} rows. Export what strip "
                "returned."
            )


@dataclass(frozen=True)
class _Table:
    """An Embedding layer that reads the ids of tokens, or their positions.

    Attributes:
      layer: the layer.
      positions: how many positions there are; None for a table of tokens.
    """

    layer: Any
    positions: int | None = None

    @property
    def of_tokens(self) -> bool:
        return self.positions is None

    @property
    def of(self) -> str:
        return "tokens" if self.of_tokens else "positions"

    @property
    def loses_rows(self) -> bool:
        return self.positions is None or self.positions < self.layer.input_dim


def _tables(model: Any) -> dict[str, _Table]:
    """The tables of a model, by the names of their layers; those that read both are none."""
    from tfcompress.graph import _layers

    require_functional(model)
    flat = rebuild(model) if any(hasattr(layer, "layers") for layer in model.layers) else model
    inputs = {id(tensor) for tensor in flat.inputs if tensor.dtype.is_integer}
    found: dict[str, list[_Table | None]] = {}
    for node in connections.nodes(flat):
        layer = plain_layer(node.layer)
        if not isinstance(layer, keras.layers.Embedding):
            continue
        ids = node.keras_inputs[0]
        numbering = connections.producer(ids)
        table = None
        if id(ids) in inputs:
            table = _Table(layer)
        elif isinstance(numbering, _layers.PositionIds) and ids.shape[1] is not None:
            # The first ones are those of padding and what is below it.
            first = 0 if numbering.padding_id is None else numbering.padding_id + 1
            table = _Table(layer, first + ids.shape[1])
        found.setdefault(node.layer.name, []).append(table)
    return {name: read[0] for name, read in found.items() if read[0] and len(set(read)) == 1}


def _usage(config: VocabularyTrimmingConfig) -> vocabulary.TokenUsage:
    if not isinstance(config.usage, vocabulary.TokenUsage):
        raise ValueError(
            "trim_vocabulary needs to know which tokens the texts have. Received: "
            f"{config.usage!r:.80}. Pass VocabularyTrimmingConfig(usage=TokenUsage.of(tokenizer, "
            "token_ids))."
        )
    return config.usage


def _kept(config: VocabularyTrimmingConfig) -> tuple[int, ...]:
    return vocabulary.kept(_usage(config), least_count=config.least_count)
