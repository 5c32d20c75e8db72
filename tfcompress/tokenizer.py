"""How a text becomes ids of tokens: with the model's own tokenizer.

Knows the files that tokenizers are published in, and the one that lies beside exported files, told
by its SHA-256. Cutting up a text is left to the library `tokenizers`, which loads at the first use.
No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import durable
from tfcompress.tokenization import Tokenization

FILE = "tokenizer.json"
"""The name of a tokenizer's file beside the files that read its tokens.

One that was made for some of the files there has a part of its SHA-256 in its name, see
`file_names`."""
_VOCABULARY, _SETTINGS = "vocab.txt", "tokenizer_config.json"
_PAIRS = ("vocab.json", "merges.txt")
_PADDING = ("[PAD]", "<pad>")
# Tables have rows that no token uses where they were brought to a round size.
_MOST_UNUSED = 1024
_AT_ONCE = 4096
_LISTED = 5


class TokenizerError(ValueError):
    """A tokenizer that is absent or damaged, or that belongs to another model."""


def file_names(sha256: str) -> tuple[str, str]:
    """The names under which the tokenizer of a file may lie beside it.

    Args:
      sha256: of the tokenizer's file, as the file's metadata hold it.

    Example:
      >>> file_names("0123456789abcdef" * 4)
      ('tokenizer.json', 'tokenizer-01234567.json')
    """
    stem, _, suffix = FILE.partition(".")
    return FILE, f"{stem}-{sha256[:8]}.{suffix}"


@dataclass(frozen=True)
class TokenIds:
    """Texts as ids of tokens.

    Attributes:
      ids: int32 [texts, length].
      cut: how many of the texts are longer, so that their ends are missing.
    """

    ids: np.ndarray
    cut: int


@dataclass(frozen=True)
class Tokenizer:
    """A model's tokenizer.

    Attributes:
      content: the text of its `tokenizer.json`.
      source: what messages call it.

    Raises:
      TokenizerError: the content is no tokenizer, or one with no token of padding.
    """

    content: str
    source: str = "the tokenizer"

    def __post_init__(self) -> None:
        _ = self.padding_id

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Reads a `tokenizer.json`.

        Raises:
          TokenizerError: there is no such file, or it is damaged.
        """
        return cls(_read(path), str(path))

    @classmethod
    def beside(cls, folder: Path, *, sha256: str, what: str) -> Tokenizer:
        """Reads the tokenizer of a file from the folder that the file lies in.

        Args:
          folder: of the file.
          sha256: of its tokenizer, as its metadata say.
          what: the file, for the message.

        Raises:
          TokenizerError: it is not there, or damaged, or another one.
        """
        named, own = (folder / name for name in file_names(sha256))
        found = cls.from_file(own if own.is_file() else named)
        if found.sha256 != sha256:
            raise TokenizerError(
                f"{found.source} is not the tokenizer that {what} was trained with. Expected "
                f"SHA-256 {sha256}, received {found.sha256}, and there is no {own.name}. Put the "
                "file back that was written with the artifact."
            )
        return found

    @classmethod
    def from_vocabulary(cls, path: Path, *, lower_case: bool = True) -> Tokenizer:
        """The tokenizer of BERT over a file of words.

        Args:
          path: one word a line.
          lower_case: whether texts lose case and accents first.

        Raises:
          TokenizerError: there is no such file, or it lacks one of BERT's own tokens.
        """
        tokenizers, _ = _library(), _read(path)
        try:
            made = tokenizers.BertWordPieceTokenizer(str(path), lowercase=lower_case)
        # The library raises plain Exception and TypeError.
        except Exception as error:
            raise TokenizerError(
                f"{path} is no vocabulary of a BERT tokenizer ({error}). Expected one word a "
                "line, [PAD], [UNK], [CLS] and [SEP] among them."
            ) from error
        return cls(made.to_str(), str(path))

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer that was published in a folder.

        Of these the first is read: `tokenizer.json`; `vocab.txt`, with `do_lower_case` of
        `tokenizer_config.json`; `vocab.json` with `merges.txt`, RoBERTa's.

        Raises:
          TokenizerError: there is none, or it is damaged.
        """
        if (folder / FILE).is_file():
            return cls.from_file(folder / FILE)
        if (folder / _VOCABULARY).is_file():
            settings = durable.read_json(folder / _SETTINGS) if _exists(folder, _SETTINGS) else {}
            lower_case = settings.get("do_lower_case", True) if isinstance(settings, dict) else None
            if not isinstance(lower_case, bool):
                raise TokenizerError(
                    f"{folder / _SETTINGS} must hold settings, with true or false for "
                    f"do_lower_case. Received: {settings!s:.80}."
                )
            return cls.from_vocabulary(folder / _VOCABULARY, lower_case=lower_case)
        if all(_exists(folder, name) for name in _PAIRS):
            return cls._from_pairs(*(folder / name for name in _PAIRS))
        raise TokenizerError(
            f"{folder} holds no tokenizer. Expected {FILE}, {_VOCABULARY}, or "
            f"{' and '.join(_PAIRS)}, as they were published with the weights."
        )

    @classmethod
    def _from_pairs(cls, vocabulary: Path, merges: Path) -> Tokenizer:
        tokenizers = _library()
        try:
            made = tokenizers.ByteLevelBPETokenizer(str(vocabulary), str(merges))
            ends = [(token, made.token_to_id(token)) for token in ("</s>", "<s>")]
            made._tokenizer.post_processor = tokenizers.processors.RobertaProcessing(
                *ends, add_prefix_space=False
            )
        # The library raises plain Exception and TypeError.
        except Exception as error:
            raise TokenizerError(
                f"{vocabulary} and {merges.name} are no tokenizer of RoBERTa ({error})."
            ) from error
        return cls(made.to_str(), str(vocabulary))

    @property
    def sha256(self) -> str:
        """Of the file that `save` writes."""
        return durable.sha256(self.content.encode())

    @cached_property
    def padding_id(self) -> int:
        """The id that fills a short text up."""
        padding = self._native.padding
        if padding is not None:
            return int(padding["pad_id"])
        found = [self._native.token_to_id(token) for token in _PADDING]
        known = [number for number in found if number is not None]
        if not known:
            raise TokenizerError(
                f"{self.source} has no token of padding. Expected one called "
                f"{' or '.join(_PADDING)}."
            )
        return int(known[0])

    @cached_property
    def vocabulary(self) -> int:
        """Ids are below it."""
        ids: list[int] = list(self._native.get_vocab(with_added_tokens=True).values())
        return 1 + max(ids)

    @cached_property
    def _native(self) -> Any:
        tokenizers = _library()
        try:
            return tokenizers.Tokenizer.from_str(self.content)
        # The library raises plain Exception.
        except Exception as error:
            raise TokenizerError(
                f"{self.source} is no tokenizer that can be read ({error}). It may be truncated."
            ) from error

    def require_fit(self, *, vocabulary: int, padding_id: int, what: str) -> None:
        """Refuses a tokenizer of another model.

        Args:
          vocabulary: rows of the model's table of tokens.
          padding_id: the token that the model takes for padding.
          what: the model, for the message.

        Raises:
          TokenizerError: ids beyond the table, far fewer than it has rows, or other padding.
        """
        unused = vocabulary - self.vocabulary
        if not 0 <= unused <= _MOST_UNUSED:
            raise TokenizerError(
                f"{self.source} has {self.vocabulary:,} tokens, {what} a table of {vocabulary:,}: "
                "it belongs to another model. Pass the tokenizer that was published with the "
                "weights."
            )
        if padding_id != self.padding_id:
            raise TokenizerError(
                f"{self.source} fills texts up with token {self.padding_id}, {what} takes token "
                f"{padding_id} for padding: it belongs to another model. Pass the tokenizer that "
                "was published with the weights."
            )

    def require_same(self, other: Tokenizer, *, what: str) -> None:
        """Refuses another tokenizer whose ids mean other tokens.

        Args:
          other: gives the ids.
          what: reads them, for the message.

        Raises:
          TokenizerError: the tokens or their ids differ, or the one of padding.
        """
        own, given = self._native.get_vocab(), other._native.get_vocab()
        differing = sorted({token for token, _ in own.items() ^ given.items()})
        if differing or self.padding_id != other.padding_id:
            some = ", ".join(map(repr, differing[:_LISTED])) or "none"
            raise TokenizerError(
                f"{what} would be given the ids of {other.source}, and was trained with those of "
                f"{self.source}. Tokens that one of them lacks or numbers otherwise: "
                f"{len(differing)} ({some}); padding: {other.padding_id} and {self.padding_id}. "
                "Pass one that was trained with the same vocabulary."
            )

    def tokenization(self, length: int, *, shorter: tuple[int, ...] = ()) -> Tokenization:
        """The record of texts brought to a length.

        Args:
          length: ids for each text.
          shorter: see `Tokenization`.

        Raises:
          ValueError: no room for a token of the text.
        """
        own = self._native.num_special_tokens_to_add(False)
        least = min((*shorter, length))
        if least <= own:
            raise ValueError(
                f"length must be above {own}, the tokens that {self.source} puts around every "
                f"text. Received: {least}."
            )
        return Tokenization(length, self.sha256, self.vocabulary, self.padding_id, shorter)

    def token_ids(self, texts: Sequence[str], *, length: int) -> TokenIds:
        """Texts as ids of tokens, cut or filled up to a length.

        Args:
          texts: any count of them.
          length: ids for each text.

        Raises:
          ValueError: an item that is no text, or no room for a token of the text.
        """
        padding = self.tokenization(length).padding_id
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"Expected texts. Received: {type(text).__name__} {text!r:.80}.")
            if any("\ud800" <= sign <= "\udfff" for sign in text):
                raise ValueError(
                    f"A text must be of whole characters. Received: {text!r:.80}, with half of a "
                    "pair of UTF-16, as of bytes in another encoding. Decode it anew."
                )
        native = self._native
        native.no_padding()
        native.enable_truncation(length)
        ids, cut = np.full([len(texts), length], padding, np.int32), 0
        for start in range(0, len(texts), _AT_ONCE):
            encodings = native.encode_batch(list(texts[start : start + _AT_ONCE]))
            for row, encoding in enumerate(encodings, start):
                ids[row, : len(encoding.ids)] = encoding.ids
                cut += bool(encoding.overflowing)
        return TokenIds(ids, cut)

    def token_id(self, token: str) -> int | None:
        """The id of a token; None where there is no such token."""
        found: int | None = self._native.token_to_id(token)
        return found

    def save(self, folder: Path, *, own_name: bool = False) -> Path:
        """Writes the tokenizer's file into a folder, whole or not at all.

        Args:
          folder: that holds the files which read its tokens.
          own_name: whether it gets the name that no other tokenizer has.
        """
        path = folder / file_names(self.sha256)[own_name]
        durable.write_bytes(path, self.content.encode())
        return path


def _exists(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TokenizerError(
            f"There is no tokenizer's file {path}. Copy it from where the weights or the exported "
            "file came from."
        ) from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is no text in UTF-8: {error}.") from error


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise TokenizerError(
            "Texts need the package tokenizers, which is not installed. "
            'Run: pip install "tfcompress[text]".'
        ) from error
    return tokenizers
