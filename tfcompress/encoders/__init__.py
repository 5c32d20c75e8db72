"""Text encoders of the BERT family, and their published weights.

Knows the encoders in this folder (one file each, found by the registry) and the folders in which
others are published, and that each has a tokenizer. Does not know heads, data sets, training or
techniques.

A published encoder is a module that holds what `Published` lists; a new one is a new file.

    pretrained = encoders.load("minilm_l6")
    model = encoders.build_pretrained(pretrained, length=64)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from tfcompress import durable, packaged_files, registry
from tfcompress.encoders import _published, _tensor_files
from tfcompress.encoders._architecture import EMBEDDED as EMBEDDED
from tfcompress.encoders._architecture import HIDDEN_STATES as HIDDEN_STATES
from tfcompress.encoders._architecture import MASK as MASK
from tfcompress.encoders._architecture import MASK_OF_TOKENS as MASK_OF_TOKENS
from tfcompress.encoders._architecture import MASKED_SCORE as MASKED_SCORE
from tfcompress.encoders._architecture import SCORES as SCORES
from tfcompress.encoders._architecture import TOKEN_IDS as TOKEN_IDS
from tfcompress.encoders._architecture import TOKEN_TYPES as TOKEN_TYPES
from tfcompress.encoders._architecture import attention_names as attention_names
from tfcompress.encoders._architecture import build_encoder as build_encoder
from tfcompress.encoders._architecture import hidden_state_names as hidden_state_names
from tfcompress.encoders._architecture import layers_of as layers_of
from tfcompress.encoders._architecture import with_outputs as with_outputs
from tfcompress.encoders._config import EncoderConfig as EncoderConfig
from tfcompress.encoders._published import Pretrained as Pretrained
from tfcompress.encoders._students import layers_kept as layers_kept
from tfcompress.encoders._students import smaller as smaller
from tfcompress.encoders._students import take_over as take_over
from tfcompress.packaged_files import PackagedFile
from tfcompress.packaged_files import WeightsError as WeightsError
from tfcompress.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tf_keras import Model

# Hugging Face's description, and the one in Google's archives of BERT.
_DESCRIPTION, _GOOGLES_DESCRIPTION = "config.json", "bert_config.json"


class Published(Protocol):
    """What a module of this folder holds."""

    CONFIG: EncoderConfig
    """The encoder's description, known before anything is fetched."""
    VOCABULARY: PackagedFile
    """The words of its table, one a line."""

    def load(self) -> Pretrained:
        """Its weights, fetched where need be; raises WeightsError where they cannot be had."""


def names() -> tuple[str, ...]:
    """The encoders known by name. No TensorFlow is imported.

    Example:
      >>> names()
      ('minilm_l6',)
    """
    return registry.names("encoders")


def published(name: str) -> Published:
    """The module of an encoder known by name.

    Raises:
      UnknownNameError: there is none; the known ones are listed.
    """
    return cast(
        Published, registry.load("encoders", registry.require(name, names(), what="text encoder"))
    )


def load(source: str | Path) -> Pretrained:
    """Loads a published encoder.

    Args:
      source: one of `names()`, or the path of a folder, which has a separator in it or exists. A
        folder holds a description and one file of weights, of which the first of these is read:
        `config.json` with `model.safetensors` or `pytorch_model.bin`, or, as Google published BERT,
        `bert_config.json` with `bert_model.ckpt.index` and its data.

    Raises:
      UnknownNameError: a name that no encoder has.
      ValueError: a description that is damaged or of another architecture.
      WeightsError: weights that cannot be had or read, or do not fit the description: the tensors
        that are missing, unknown or of another shape are listed.
    """
    if str(source) in names():
        return published(str(source)).load()
    return _load_folder(_folder(source))


def described(source: str | Path) -> EncoderConfig:
    """An encoder's description; nothing is fetched and no weights are read.

    Args:
      source: as of `load`.

    Raises:
      UnknownNameError: a name that no encoder has.
      ValueError: a description that is damaged or of another architecture.
      WeightsError: a folder with no description.
    """
    if str(source) in names():
        return published(str(source)).CONFIG
    return _described(_folder(source))


def tokenizer(source: str | Path) -> Tokenizer:
    """The tokenizer that an encoder was trained with, held against its description.

    Args:
      source: as of `load`; a folder holds what `Tokenizer.from_folder` reads.

    Raises:
      UnknownNameError: a name that no encoder has.
      TokenizerError: there is none, it cannot be read, or it gives other tokens than the encoder
        has in its table.
      WeightsError: a package that holds it cannot be had.
    """
    config = described(source)
    if str(source) in names():
        path, _ = packaged_files.locate(published(str(source)).VOCABULARY)
        found = Tokenizer.from_vocabulary(path)
    else:
        found = Tokenizer.from_folder(_folder(source))
    found.require_fit(
        vocabulary=config.vocabulary, padding_id=config.padding_id, what=f"the encoder {source}"
    )
    return found


def build_pretrained(
    pretrained: Pretrained,
    *,
    length: int,
    token_types: bool = False,
    pooler: bool = False,
    masked_score: float = MASKED_SCORE,
    mask_input: bool = True,
) -> Model:
    """Builds an encoder with published weights.

    Args:
      pretrained: what `load` returned.
      length: as of `build_encoder`.
      token_types: as of `build_encoder`.
      pooler: as of `build_encoder`.
      masked_score: as of `build_encoder`.
      mask_input: as of `build_encoder`.

    Raises:
      ValueError: as of `build_encoder`.
      WeightsError: a pooler is asked for whose weights were not published.
    """
    model = build_encoder(
        pretrained.config,
        length=length,
        token_types=token_types,
        pooler=pooler,
        masked_score=masked_score,
        mask_input=mask_input,
    )
    _published.assign(model, pretrained)
    return model


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir() or len(folder.parts) > 1:
        return folder
    raise registry.UnknownNameError(
        f"Unknown text encoder: {str(source)!r}. Known: {', '.join(names())}, and the path of a "
        f"folder that holds {_DESCRIPTION} and {_tensor_files.SAFETENSORS}."
    )


def _load_folder(folder: Path) -> Pretrained:
    config = _described(folder)
    tensors, path = _tensor_files.read_folder(folder)
    origin = f"file {path}, SHA-256 {durable.sha256_of_file(path)}"
    return _published.checked(config, tensors, origin=origin, source=str(path))


def _described(folder: Path) -> EncoderConfig:
    if (folder / _DESCRIPTION).is_file():
        return EncoderConfig.from_huggingface(_settings(folder / _DESCRIPTION))
    if (folder / _GOOGLES_DESCRIPTION).is_file():
        settings = {**_settings(folder / _GOOGLES_DESCRIPTION), "model_type": "bert"}
        return EncoderConfig.from_huggingface(settings)
    raise WeightsError(
        f"{folder} holds no description of an encoder. Expected: {_DESCRIPTION} or "
        f"{_GOOGLES_DESCRIPTION}."
    )


def _settings(path: Path) -> dict[str, Any]:
    settings = durable.read_json(path)
    if not isinstance(settings, dict):
        raise WeightsError(
            f"{path} must hold the settings of an encoder, a JSON object. "
            f"Received: {type(settings).__name__}."
        )
    return settings
