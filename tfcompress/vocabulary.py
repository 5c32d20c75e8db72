"""Which tokens a model needs for its texts, and its tokenizer with those alone.

A tokenizer of a pretrained encoder knows tens of thousands of tokens, each a row of the encoder's
largest table. Knows how often texts use each of them, which ones a tokenizer cannot do without, and
how its file is written for the others to be gone: a word that lost its token is split into smaller
pieces. Does not know models. No TensorFlow here.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.tokenizer import Tokenizer, TokenizerError

# With these, pieces are more than the characters of a token and their pairs.
_OTHER_PAIRS = ("byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")


@dataclass(frozen=True, eq=False)
class TokenUsage:
    """How often texts use each token of a tokenizer.

    Attributes:
      tokenizer: whose tokens they are.
      counts: int64 [vocabulary], how often each token stands in the texts.

    Raises:
      ValueError: counts of another shape or type, or below 0.
    """

    tokenizer: Tokenizer
    counts: np.ndarray

    def __post_init__(self) -> None:
        shape = (self.tokenizer.vocabulary,)
        counts = self.counts
        if counts.shape != shape or counts.dtype != np.int64 or counts.min() < 0:
            raise ValueError(
                f"TokenUsage.counts must be int64 [{shape[0]}], 0 or more for each token. "
                f"Received: {counts.dtype} {list(counts.shape)}."
            )

    @classmethod
    def of(cls, tokenizer: Tokenizer, token_ids: np.ndarray) -> TokenUsage:
        """Counts the tokens of texts.

        Args:
          tokenizer: that they were cut up with.
          token_ids: int32 [texts, length], see `Tokenizer.token_ids`.
        """
        counts = np.bincount(token_ids.ravel(), minlength=tokenizer.vocabulary)
        return cls(tokenizer, counts.astype(np.int64))


def kept(usage: TokenUsage, *, least_count: int) -> tuple[int, ...]:
    """The tokens that a tokenizer keeps, by their ids, rising.

    These are the tokens that the texts have `least_count` times or more, and those that nothing
    goes without: the special ones, every id below that of padding (which therefore stays the same),
    and the pieces that a word of lost tokens is split into. Of WordPiece, BERT's, these pieces are
    the single characters that the texts have so often, each as the beginning of a word and as its
    continuation; of byte pairs, RoBERTa's, all bytes and what the kept tokens are joined of. So no
    word becomes unknown whose characters are known, and a word whose tokens are all kept is cut up
    as before.

    Args:
      usage: how often each token is used.
      least_count: at least 1.

    Raises:
      TokenizerError: a tokenizer of another kind.
      ValueError: no token of a word is used so often, or there is nothing to take away.
    """
    file = _File(usage.tokenizer)
    tokens = file.by_id
    used = {number for number in tokens if usage.counts[number] >= least_count}
    if not used - file.special:
        words = [number for number in tokens if number not in file.special]
        most = int(usage.counts[words].max()) if words else 0
        raise ValueError(
            f"No token of a word stands {least_count} times in the texts: the most frequent one "
            f"stands {most} times. Ask for fewer, or bring more texts."
        )
    whole = used | file.special | set(range(usage.tokenizer.padding_id)) & tokens.keys()
    found = whole | file.pieces(whole - file.special, usage.counts, least_count)
    if len(found) == usage.tokenizer.vocabulary:
        raise ValueError(
            f"There is no token to take away: the texts have all {len(found):,} tokens of "
            f"{usage.tokenizer.source} at least {least_count} times, or need them for others."
        )
    return tuple(sorted(found))


def trimmed(tokenizer: Tokenizer, ids: Sequence[int]) -> Tokenizer:
    """A tokenizer with some of its tokens alone, numbered 0, 1, 2 and so on in their order.

    Args:
      tokenizer: the whole one.
      ids: of the tokens that it keeps, rising, as of `kept`.

    Raises:
      TokenizerError: a tokenizer of another kind, or one that cannot do without the others.
    """
    file = _File(tokenizer)
    if missing := [file.by_id[number] for number in sorted(file.special - set(ids))]:
        raise TokenizerError(
            f"{tokenizer.source} cannot do without {', '.join(missing)}. Keep what vocabulary.kept "
            "gives."
        )
    new = {old: number for number, old in enumerate(ids)}
    source = f"{tokenizer.source}, with {len(new):,} of its tokens"
    found = Tokenizer(file.with_tokens(new), source)
    # Read back by the library itself: what it makes of the file counts.
    wrong = [token for old, token in file.by_id.items() if found.token_id(token) != new.get(old)]
    if wrong or found.padding_id != new.get(tokenizer.padding_id):
        raise TokenizerError(
            f"{tokenizer.source} cannot be cut down to {len(new):,} tokens: "
            f"{', '.join(map(repr, wrong[:5])) or 'its padding'} would get another number than its "
            "row. Leave the trimming out."
        )
    return found


class _File:
    """The content of a `tokenizer.json`, in the places where it speaks of tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._record: dict[str, Any] = json.loads(tokenizer.content)
        self._model: dict[str, Any] = self._record["model"]
        self._source = tokenizer.source
        kinds = {"WordPiece": self._characters, "BPE": self._joined}
        # Files of byte pairs may leave it out.
        kind = self._model.get("type") or ("BPE" if "merges" in self._model else "")
        if kind not in kinds:
            raise TokenizerError(
                f"{self._source} is of the kind {kind or 'unknown'}. Tokens can be taken from: "
                f"{', '.join(kinds)}. Leave the trimming out."
            )
        if unknown := [name for name in _OTHER_PAIRS if kind == "BPE" and self._model.get(name)]:
            raise TokenizerError(
                f"{self._source} joins pairs in another way than RoBERTa's: it has "
                f"{', '.join(unknown)}. Tokens cannot be taken from it. Leave the trimming out."
            )
        self.pieces: Callable[[set[int], np.ndarray, int], set[int]] = kinds[kind]
        """What is needed beside some tokens, by their ids, the counts and the least of them."""
        self._vocabulary: dict[str, int] = self._model["vocab"]
        added = {item["id"]: item["content"] for item in self._record.get("added_tokens") or []}
        self.by_id: dict[int, str] = {i: token for token, i in self._vocabulary.items()} | added
        unknown = self._vocabulary.get(self._model.get("unk_token") or "")
        around = self._around(self._record.get("post_processor"))
        self.special: set[int] = {
            *added,
            *around,
            tokenizer.padding_id,
            *([] if unknown is None else [unknown]),
        }

    def _around(self, processor: Any) -> list[int]:
        """The special tokens that are put around a text."""
        found: list[int] = []

        def noted(number: int) -> int:
            found.append(number)
            return number

        self._renumbered(processor, noted)
        return found

    def _characters(self, ids: set[int], counts: np.ndarray, least_count: int) -> set[int]:
        """Of WordPiece: the characters of words, at the beginning and within."""
        del ids
        prefix = self._model.get("continuing_subword_prefix", "##")
        found: Counter[str] = Counter()
        for number, token in self.by_id.items():
            if counts[number] and number not in self.special:
                for char in token.removeprefix(prefix):
                    found[char] += int(counts[number])
        frequent = [char for char, count in found.items() if count >= least_count]
        names = (name for char in frequent for name in (char, f"{prefix}{char}"))
        return {self._vocabulary[name] for name in names if name in self._vocabulary}

    def _joined(self, ids: set[int], counts: np.ndarray, least_count: int) -> set[int]:
        """Of byte pairs: the bytes, and the pairs that each token is joined of, step by step."""
        del counts, least_count
        ranks = {pair: rank for rank, pair in enumerate(self._merges())}
        names = {part for number in ids for part in _parts(self.by_id[number], ranks)}
        names |= {token for token in self._vocabulary if len(token) == 1}
        return {self._vocabulary[name] for name in names if name in self._vocabulary}

    def _merges(self) -> Iterable[tuple[str, str]]:
        for pair in self._model["merges"]:
            # Older files have both in one text.
            first, second = pair.split(" ") if isinstance(pair, str) else pair
            yield first, second

    def with_tokens(self, new: Mapping[int, int]) -> str:
        """The file's content with other ids, those that `new` lacks gone."""
        vocabulary = {
            token: new[old]
            for token, old in sorted(self._vocabulary.items(), key=lambda item: item[1])
            if old in new
        }
        model = {**self._model, "vocab": vocabulary}
        if "merges" in model:
            model["merges"] = [
                given
                for given, (first, second) in zip(model["merges"], self._merges(), strict=True)
                if {first, second, first + second} <= vocabulary.keys()
            ]
        added = [
            {**item, "id": new[item["id"]]}
            for item in self._record.get("added_tokens") or []
            if item["id"] in new
        ]
        record = {**self._record, "added_tokens": added, "model": model}
        record["post_processor"] = self._renumbered(record.get("post_processor"), new.__getitem__)
        if record.get("padding"):
            padding = record["padding"]
            record["padding"] = {**padding, "pad_id": new[padding["pad_id"]]}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"))

    def _renumbered(self, processor: Any, new: Callable[[int], int]) -> Any:
        """What puts the special tokens around a text, with other ids."""
        kind = processor["type"] if processor else None
        if kind in (None, "ByteLevel"):
            return processor
        if kind == "Sequence":
            inner = [self._renumbered(item, new) for item in processor["processors"]]
            return {**processor, "processors": inner}
        if kind in ("BertProcessing", "RobertaProcessing"):
            ends = {name: [processor[name][0], new(processor[name][1])] for name in ("sep", "cls")}
            return {**processor, **ends}
        if kind == "TemplateProcessing":
            special = {
                name: {**item, "ids": [new(old) for old in item["ids"]]}
                for name, item in processor["special_tokens"].items()
            }
            return {**processor, "special_tokens": special}
        raise TokenizerError(
            f"{self._source} ends in a {kind}, whose tokens cannot be numbered anew. Leave the "
            "trimming out."
        )


def _parts(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """What a token of byte pairs is joined of, from its characters up, itself included.

    Example:
      >>> sorted(_parts("abc", {("b", "c"): 0, ("a", "bc"): 1}))
      ['a', 'abc', 'b', 'bc', 'c']
    """
    parts = list(token)
    found = {token, *parts}
    while len(parts) > 1:
        pairs = list(itertools.pairwise(parts))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        place = pairs.index(best)
        parts[place : place + 2] = ["".join(best)]
        found.add(parts[place])
    return found
