"""A text encoder as what a run starts from, instead of a network for images.

Knows how an encoder's tokens become one row of numbers for a text, and that it has one input.
Does not know encoders' architectures or files (`encoders` does), data sets or training.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcompress import encoders, registry
from tfcompress._keras import keras
from tfcompress.backbones._heads import with_head
from tfcompress.backbones._own_model import sha256_of_path
from tfcompress.goals import Goal
from tfcompress.tokenization import Tokenization, require_shorter
from tfcompress.tokenizer import TokenIds, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tf_keras import KerasTensor, Model

FOLDER = "encoder:"
POOLINGS = ("auto", "pooler", "mean")
WEIGHTS = ("default", "none")
# Of integers, too: -10,000 would leave no steps for true scores. See `encoders.build_encoder`.
_MASKED_SCORE = -64.0
_POOLER = "pooler/dense"


def text_names() -> tuple[str, ...]:
    """The text encoders known by name, and the form for others. No TensorFlow is imported.

    Example:
      >>> text_names()
      ('minilm_l6', 'encoder:FOLDER')
    """
    return (*encoders.names(), f"{FOLDER}FOLDER")


def is_text_name(name: str) -> bool:
    """Whether a backbone's name is that of a text encoder.

    Example:
      >>> is_text_name("minilm_l6"), is_text_name("encoder:mine"), is_text_name("lenet5")
      (True, True, False)
    """
    return name in encoders.names() or name.startswith(FOLDER)


@dataclass(frozen=True)
class TextConfig:
    """Which text encoder, with which weights.

    Attributes:
      name: one of `encoders.names()`, or `"encoder:FOLDER"` for a folder that a checkpoint of BERT
        or RoBERTa was published in, with its tokenizer.
      weights: `"default"`, the published ones, or `"none"` for random ones.
      sequence_length: tokens of every text, padding included; longer texts are cut. Half the
        length is more than twice as fast.
      shorter_lengths: other lengths that the exported files take, ascending and below it, such as
        `(16, 32)`: a short text is then filled up to the shortest that holds it. The model is
        trained and judged at `sequence_length`; padding changes none of its outputs.
      pooling: what stands for a text: `"pooler"`, a Dense layer with tanh on the first token, as
        BERT was pretrained and RoBERTa is fine-tuned; `"mean"`, the mean over the tokens; `"auto"`,
        the pooler where its weights were published, else the mean.
      dropout: fraction of features dropped before the head in training, in [0, 1). Within the
        encoder its own description says it.
      sha256: of the folder's files by their names; empty for an encoder by name.

    Raises:
      ValueError: an unknown name, weights or pooling, a folder without a description, a length that
        the encoder's table of positions does not have, or a dropout out of its range.

    Example:
      >>> TextConfig(name="minilm_l6", sequence_length=32).resolved_weights
      'default'
    """

    name: str = "minilm_l6"
    weights: str = "default"
    sequence_length: int = 64
    pooling: str = "auto"
    dropout: float = 0.1
    shorter_lengths: tuple[int, ...] = ()
    sha256: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not is_text_name(self.name):
            raise registry.UnknownNameError(
                f"Unknown text encoder: {self.name!r}. Known: {', '.join(text_names())}."
            )
        registry.require(self.weights, WEIGHTS, what="weights of a text encoder")
        registry.require(self.pooling, POOLINGS, what="pooling of a text encoder")
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"TextConfig.dropout must be in [0, 1). Received: {self.dropout}. "
                "For 20% dropout pass 0.2."
            )
        folder = self._folder
        if folder is not None:
            # An empty path would be the folder that the program happens to run in.
            if self.name == FOLDER or not folder.is_dir():
                raise ValueError(
                    f"TextConfig.name must be {FOLDER}FOLDER with a folder that is there. "
                    f"Received: {self.name!r}."
                )
            object.__setattr__(self, "sha256", sha256_of_path(folder))
        longest = encoders.described(self.encoder).longest
        length = self.sequence_length
        if type(length) is not int or not 1 <= length <= longest:
            raise ValueError(
                f"TextConfig.sequence_length must be from 1 to {longest}, the positions that "
                f"{self.name} has. Received: {length!r}."
            )
        require_shorter(self.shorter_lengths, length, what="TextConfig.shorter_lengths")

    @property
    def _folder(self) -> Path | None:
        if not self.name.startswith(FOLDER):
            return None
        return Path(self.name.removeprefix(FOLDER)).expanduser()

    @property
    def encoder(self) -> str | Path:
        """What `encoders.load` takes."""
        return self._folder or self.name

    def smaller(self, *, layers: int, width: float) -> encoders.EncoderConfig:
        """What a smaller encoder of this one's kind is; nothing is loaded.

        Args:
          layers: of the smaller one; 0 for as many.
          width: multiplies its heads, width and feed-forward part.

        Raises:
          ValueError: as of `encoders.smaller`.

        Example:
          >>> TextConfig(name="minilm_l6").smaller(layers=3, width=0.5).width
          192
        """
        described = encoders.described(self.encoder)
        return encoders.smaller(described, layers=layers or described.layers, width=width)

    def named(self, name: str) -> TextConfig:
        """Another published encoder, for texts of the same length.

        Args:
          name: of a text encoder.

        Raises:
          ValueError: an unknown name, or too few positions for the texts.
        """
        return replace(self, name=name, weights="default")

    @property
    def resolved_weights(self) -> str:
        """The weights, as they were asked for."""
        return self.weights


@dataclass(frozen=True)
class TextNetwork:
    """A text encoder with its tokenizer.

    Attributes:
      config: which one.
      tokenizer: the one that it was trained with.
    """

    config: TextConfig
    tokenizer: Tokenizer

    def tokenize(self, texts: Sequence[str]) -> TokenIds:
        """Texts as ids of tokens of the config's length."""
        return self.tokenizer.token_ids(texts, length=self.config.sequence_length)

    def preprocessing(self, shape: tuple[int, ...]) -> Tokenization:
        """What the model reads of a text.

        Args:
          shape: not needed; the config says the length.
        """
        del shape
        config = self.config
        return self.tokenizer.tokenization(config.sequence_length, shorter=config.shorter_lengths)

    def build_model(
        self, *, goal: Goal, image_shape: tuple[int, ...], seed: int, keep_head: bool
    ) -> Model:
        """A flat model from ids of tokens to logits or values, with a new head.

        Args:
          goal: what it is to say of a text.
          image_shape: not needed; the config says the length.
          seed: of the random weights.
          keep_head: whether to keep an own head, which no encoder has.

        Raises:
          ValueError: an own head is asked for.
          WeightsError: weights that cannot be had or do not fit.
        """
        del image_shape
        if keep_head:
            raise ValueError(
                f"{self.config.name} has no head of its own: use --transfer=full, fine_tune or "
                "linear_probe."
            )
        keras.utils.set_random_seed(seed)
        encoder, pools = self._encoder()
        return self._with_head(encoder, goal=goal, pools=pools, name=self._model_name)

    def build_smaller(
        self, teacher: Model, *, layers: int, width: float, goal: Goal, seed: int
    ) -> Model:
        """A smaller model of the same kind, which begins with what a trained one has learned.

        It takes the same ids of tokens, and brings them to logits or values in the same way.

        Args:
          teacher: a model of `build_model`, trained; it stays as it is.
          layers: of the smaller one; 0 for as many.
          width: multiplies its heads, width and feed-forward part, see `encoders.smaller`.
          goal: what it is to say of a text.
          seed: of the random choices of its training.

        Raises:
          ValueError: no smaller encoder, more layers, or a width that gives no whole head.
        """
        keras.utils.set_random_seed(seed)
        described = self.config.smaller(layers=layers, width=width)
        pools = any(layer.name == _POOLER for layer in teacher.layers)
        encoder = encoders.build_encoder(described, pooler=pools, **self._settings)
        name = f"{self._model_name}_{described.layers}x{described.width}"
        model = self._with_head(encoder, goal=goal, pools=pools, name=name)
        encoders.take_over(model, teacher, head_width=described.head_width)
        return model

    def build_other(self, name: str, *, goal: Goal, seed: int) -> Model:
        """A model on another published encoder, for the same ids of tokens.

        Args:
          name: of a text encoder.
          goal: what it is to say of a text.
          seed: of the random weights of its head.

        Raises:
          TokenizerError: its tokens are not those of this one.
          WeightsError: weights that cannot be had or do not fit.
        """
        other = opened(self.config.named(name))
        other.tokenizer.require_same(self.tokenizer, what=name)
        return other.build_model(goal=goal, image_shape=(), seed=seed, keep_head=False)

    @property
    def _model_name(self) -> str:
        return re.sub(r"\W+", "_", self.config.name).strip("_")

    @property
    def _settings(self) -> dict[str, Any]:
        """What is alike in every encoder that this one builds."""
        length = self.config.sequence_length
        return {"length": length, "masked_score": _MASKED_SCORE, "mask_input": False}

    def _with_head(self, encoder: Model, *, goal: Goal, pools: bool, name: str) -> Model:
        features = encoder.output if pools else _mean(encoder)
        dropout = self.config.dropout
        return with_head(encoder.input, features, goal=goal, dropout=dropout, name=name)

    def _encoder(self) -> tuple[Model, bool]:
        """The encoder, and whether it ends in its pooler."""
        config, settings = self.config, self._settings
        if config.weights == "none":
            pools = config.pooling != "mean"
            described = encoders.described(config.encoder)
            return encoders.build_encoder(described, pooler=pools, **settings), pools
        pretrained = encoders.load(config.encoder)
        pools = pretrained.has_pooler if config.pooling == "auto" else config.pooling == "pooler"
        return encoders.build_pretrained(pretrained, pooler=pools, **settings), pools

    def record(self, *, keep_head: bool) -> dict[str, Any]:
        """What a run's record should say about where the model comes from."""
        del keep_head
        if self.config.weights == "none":
            return {"weights": "random"}
        return {"weights": encoders.load(self.config.encoder).origin}


def opened(config: TextConfig) -> TextNetwork:
    """An encoder with its tokenizer.

    Raises:
      TokenizerError: there is none, or it belongs to another model.
      WeightsError: a package that holds it cannot be had.
      ValueError: no room for a text's tokens.
    """
    found = TextNetwork(config, encoders.tokenizer(config.encoder))
    found.preprocessing(())
    return found


def _mean(encoder: Model) -> KerasTensor:
    """The mean of the tokens that are no padding, [batch, width].

    A softmax of what the mask adds to scores gives each token its share.
    """
    from tfcompress.graph import _layers

    bias = encoder.get_layer("mask/bias").output
    row = keras.layers.Reshape([1, -1], name="mean/mask")(bias)
    shares = keras.layers.Softmax(name="mean/shares")(row)
    summed = _layers.MatMul(name="mean/tokens")([shares, encoder.output])
    return keras.layers.Reshape([encoder.output_shape[-1]], name="mean/joined")(summed)
