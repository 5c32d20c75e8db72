"""The space of recipes that a search chooses from: a recipe with open places, as text.

    {prune_channels({0.2..0.7})|none}+{qat(epochs={1..3})|int8|dynamic}

Braces are an open place. In the place of stages they hold chains of stages, in the place of an
argument words or a range; `none` is no stage. Knows the grammar, and what can be chosen. Does not
know which recipes make sense, nor how one is chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tfcompress import planned_stages
from tfcompress.recipe import QUOTED, WORD, text_of

NONE = "none"
# Of several that a bar separates.
_ONE_WORD = re.compile(r"[\w.:/\\~@*+-]+")
_NAME = re.compile(r"[A-Za-z_]\w*")
_RANGE = re.compile(
    r"\s*(?P<low>[^\s/]+?)\s*\.\.\s*(?P<high>[^\s/]+?)\s*(?:/\s*(?P<step>\S+?))?\s*(?P<log>\blog)?\s*"
)
_HINT = (
    "A space is a recipe with open places: {0.2..0.8} a number between, {8..64 log} likewise, "
    "evenly in factors, {0.1..0.9/0.1} in steps, {l1|l2} one of several words, {qat|int8} one of "
    "several stages, {prune(0.5)|none} a stage or none."
)


class SpaceError(ValueError):
    """A space that cannot be read, or that holds no recipe. The message says where and why."""


@dataclass(frozen=True)
class Range:
    """A number between two.

    Attributes:
      low: least one.
      high: greatest one.
      step: between two of them; None for any number. Of whole numbers 1 unless said otherwise.
      log: whether factors count alike, rather than differences.
      whole: whether it is a whole number.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def text(self, value: float) -> str:
        """A number of it as a recipe has it, in three digits."""
        return str(round(value)) if self.whole else f"{value:.3g}"

    def spread(self, count: int) -> list[float]:
        """So many of its numbers, evenly from end to end; the middle for one.

        Example:
          >>> Range(0.2, 0.8).spread(3), Range(8, 64, log=True, whole=True).spread(2)
          ([0.2, 0.5, 0.8], [8, 64])
          >>> Range(0.1, 0.9, 0.3).spread(2), Range(1, 4, 2, whole=True).spread(2)
          ([0.1, 0.7], [1, 3])
        """
        shares = [0.5] if count == 1 else [n / (count - 1) for n in range(count)]
        found = [self._at(share) for share in shares]
        return list(dict.fromkeys(found))

    def _at(self, share: float) -> float:
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + share * (self.high - self.low)
        step = self.step or (1 if self.whole and not self.log else None)
        if step is not None:
            steps = math.floor((self.high - self.low) / step + 1e-9)
            value = self.low + step * min(round((value - self.low) / step), steps)
        return round(value) if self.whole else float(f"{value:.6g}")


@dataclass(frozen=True)
class Words:
    """One of several words, or of several chains of stages, by its text."""

    options: tuple[str, ...]


Domain = Range | Words
Choose = Callable[[str, Domain], "float | str"]
"""Takes the name of an open place and what may stand there, gives what does: a number of a range,
or one of the words."""


@dataclass(frozen=True)
class _Place:
    """An open argument."""

    name: str
    domain: Domain


@dataclass(frozen=True)
class _Term:
    """A stage; an argument is its name, if it is given, and a word or an open place."""

    technique: str
    arguments: tuple[tuple[str, str | _Place], ...] = ()

    def text(self, choose: Choose) -> str:
        """The stage as a recipe has it."""
        parts = [
            f"{name}={_filled(v, choose)}" if name else _filled(v, choose)
            for name, v in self.arguments
        ]
        return f"{self.technique}({', '.join(parts)})" if parts else self.technique


@dataclass(frozen=True)
class _Branch:
    """An open place for stages."""

    name: str
    options: Mapping[str, tuple[_Term | _Branch, ...]]

    def text(self, choose: Choose) -> str:
        """The chain that is chosen."""
        return _chain(self.options[str(choose(self.name, Words(tuple(self.options))))], choose)


def _filled(value: str | _Place, choose: Choose) -> str:
    if isinstance(value, str):
        return value
    found = choose(value.name, value.domain)
    return value.domain.text(float(found)) if isinstance(value.domain, Range) else str(found)


def _chain(parts: tuple[_Term | _Branch, ...], choose: Choose) -> str:
    return "+".join(filter(None, (part.text(choose) for part in parts)))


@dataclass(frozen=True)
class Space:
    """What can be chosen, and the recipes that come of it.

    Attributes:
      texts: of the spaces that were given.
      domains: what may stand in each open place, by its name.
    """

    texts: tuple[str, ...]
    domains: Mapping[str, Domain]
    _chain: tuple[_Term | _Branch, ...]

    def recipe(self, choose: Choose) -> str:
        """The text of the recipe that is chosen; `"none"` for no stage.

        Args:
          choose: asked for each open place that belongs to the chain so far.
        """
        return _chain(self._chain, choose) or NONE

    def points(self, levels: int) -> Iterator[tuple[dict[str, float | str], str]]:
        """Every recipe with so many numbers of each range: what is chosen, and the recipe's text.

        Args:
          levels: at least 1.

        Example:
          >>> [text for _, text in parse(["prune({0.2..0.8})+{qat|int8}"]).points(2)]
          ['prune(0.2)+qat', 'prune(0.2)+int8', 'prune(0.8)+qat', 'prune(0.8)+int8']
        """
        script: list[list[int]] = []
        while True:
            chosen: dict[str, float | str] = {}

            def choose(
                name: str, domain: Domain, chosen: dict[str, float | str] = chosen
            ) -> float | str:
                if name not in chosen:
                    options = _options(domain, levels)
                    if len(chosen) == len(script):
                        script.append([0, len(options)])
                    chosen[name] = options[script[len(chosen)][0]]
                return chosen[name]

            text = self.recipe(choose)
            yield chosen, text
            del script[len(chosen) :]
            while script and script[-1][0] + 1 == script[-1][1]:
                script.pop()
            if not script:
                return
            script[-1][0] += 1


def _options(domain: Domain, levels: int) -> list[float | str]:
    return list(domain.options if isinstance(domain, Words) else domain.spread(levels))


def parse(texts: list[str] | tuple[str, ...]) -> Space:
    """Reads the text form of a space.

    Open places of one technique's setting with the same contents are one choice, wherever they
    stand; their names are the technique's and the setting's, such as `prune.target_sparsity`.

    Args:
      texts: each a recipe with open places; of several, one is chosen.

    Raises:
      SpaceError: none is given, one is no recipe, or one does not follow the grammar.

    Example:
      >>> space = parse(["{prune({0.5..0.9})|none}+qat"])
      >>> space.recipe(lambda name, domain: 0.75 if "." in name else "none")
      'qat'
      >>> list(space.domains)
      ['prune.target_sparsity', 'prune or none']
    """
    if not [text for text in texts if text.strip() not in ("", NONE)]:
        raise SpaceError(f"The space is empty: no recipe to try. {_HINT}")
    names: dict[str, Domain] = {}
    chains = [_Reader(text, names).whole() for text in texts]
    for text, chain in zip(texts, chains, strict=True):
        if not chain:
            raise SpaceError(
                f"Space {text!r} is no recipe. Leave it out: the files of the uncompressed model "
                "are judged without it."
            )
    if len(chains) == 1:
        return Space(tuple(texts), names, chains[0])
    options = dict(zip(texts, chains, strict=True))
    if len(options) < len(texts):
        raise SpaceError(f"A space is given twice. Received: {', '.join(texts)}.")
    branch = _Branch(_free_name("space", Words(tuple(options)), names), options)
    return Space(tuple(texts), names, (branch,))


def _free_name(name: str, domain: Domain, names: dict[str, Domain]) -> str:
    """The name under which a place is chosen for: that of an equal one, or one of its own."""
    free, count = name, 1
    while free in names and names[free] != domain:
        count += 1
        free = f"{name} ({count})"
    names[free] = domain
    return free


class _Reader:
    """Reads one text; puts the open places into `names`."""

    def __init__(self, text: str, names: dict[str, Domain]) -> None:
        self._text = text
        self._names = names
        self._at = 0

    def whole(self) -> tuple[_Term | _Branch, ...]:
        """The text from its start to its end."""
        found = self._read_chain()
        if self._at < len(self._text):
            raise self._error("expected '+' or the end")
        return found

    def _error(self, said: str) -> SpaceError:
        return SpaceError(f"Space {self._text!r}: {said} at character {self._at + 1}. {_HINT}")

    def _skip(self) -> str:
        """The next character behind blanks; empty at the end."""
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _takes(self, sign: str) -> bool:
        if self._skip() != sign:
            return False
        self._at += 1
        return True

    def _read_chain(self) -> tuple[_Term | _Branch, ...]:
        found = [self._read_element()]
        while self._takes("+"):
            found.append(self._read_element())
        return tuple(part for part in found if part is not None)

    def _read_element(self) -> _Term | _Branch | None:
        if self._takes("{"):
            return self._read_branch()
        self._skip()
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise self._error("expected the name of a technique, or an open place")
        self._at = name.end()
        if name[0] == NONE:
            return None
        return _Term(name[0], self._read_arguments(name[0]) if self._takes("(") else ())

    def _read_branch(self) -> _Branch:
        options: dict[str, tuple[_Term | _Branch, ...]] = {}
        while True:
            self._skip()
            start = self._at
            chain = self._read_chain()
            text = " ".join(self._text[start : self._at].split())
            if text in options:
                raise self._error(f"{text!r} is given twice")
            options[text] = chain
            if self._takes("}"):
                break
            if not self._takes("|"):
                raise self._error("expected '+', '|' or '}'")
        heads = [_head(chain) for chain in options.values()]
        name = " or ".join(dict.fromkeys(heads))
        return _Branch(_free_name(name, Words(tuple(options)), self._names), options)

    def _read_arguments(self, technique: str) -> tuple[tuple[str, str | _Place], ...]:
        found: list[tuple[str, str | _Place]] = []
        fields = planned_stages.setting_names(technique)
        while not self._takes(")"):
            if found and not self._takes(","):
                raise self._error("expected ',' or ')'")
            name = ""
            self._skip()
            named = re.compile(r"([A-Za-z_]\w*)\s*=\s*").match(self._text, self._at)
            if named:
                name, self._at = named[1], named.end()
            unnamed = sum(not each for each, _ in found)
            setting = name or (fields[unnamed] if unnamed < len(fields) else str(unnamed))
            found.append((name, self._read_value(f"{technique}.{setting}")))
        return tuple(found)

    def _read_value(self, name: str) -> str | _Place:
        if not self._takes("{"):
            word = QUOTED.match(self._text, self._at) or WORD.match(self._text, self._at)
            if word is None:
                raise self._error("expected a value, or an open place")
            self._at = word.end()
            return word["word"] if word.re is QUOTED else word[0]
        end = self._text.find("}", self._at)
        if end < 0:
            raise self._error("an open place has no end; expected '}'")
        domain = self._domain(self._text[self._at : end])
        self._at = end + 1
        return _Place(_free_name(name, domain, self._names), domain)

    def _domain(self, text: str) -> Domain:
        if ".." in text:
            return self._range(text)
        words = tuple(word.strip() for word in text.split("|"))
        if not all(_ONE_WORD.fullmatch(word) for word in words) or len(set(words)) < len(words):
            raise self._error(f"cannot read {{{text}}}: expected words, each once, between '|'")
        return Words(words)

    def _range(self, text: str) -> Range:
        found = _RANGE.fullmatch(text)
        if found is None:
            raise self._error(f"cannot read {{{text}}}: expected LOW..HIGH")
        try:
            ends = [_number(found[end]) for end in ("low", "high")]
            step = None if found["step"] is None else _number(found["step"])
        except ValueError:
            raise self._error(f"cannot read {{{text}}}: expected finite numbers") from None
        low, high = ends
        whole = all(isinstance(each, int) for each in (*ends, 1 if step is None else step))
        log = found["log"] is not None
        if not low < high:
            raise self._error(f"{{{text}}} is empty: the first number must be below the second")
        if step is not None and (not 0 < step <= high - low or log):
            raise self._error(
                f"{{{text}}}: a step must be above 0, at most {text_of(high - low)}, and not log"
            )
        if log and low <= 0:
            raise self._error(f"{{{text}}}: log takes numbers above 0")
        return Range(low, high, step, log, whole)


def _number(text: str) -> int | float:
    """A whole number, or another one.

    Raises:
      ValueError: it is neither, or not finite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    try:
        return int(text)
    except ValueError:
        return value


def _head(chain: tuple[_Term | _Branch, ...]) -> str:
    """What names a chain of stages: the techniques in it."""
    parts = [part.technique if isinstance(part, _Term) else f"({part.name})" for part in chain]
    return "+".join(parts) or NONE
