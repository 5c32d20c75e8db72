"""What to do and in which order, as data, with a text form: `prune(0.8)+cluster(16)+qat`.

Knows the grammar and which names exist. Does not know what a technique's arguments mean (its config
class does) nor which orders make sense (`compose` does). No TensorFlow here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Value = bool | int | float | str

_TERM = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<arguments>[^()]*)\))?\s*")
WORD = re.compile(r"[\w.:/\\~@*|+-]+")
QUOTED = re.compile(rf"""(["'])(?P<word>{WORD.pattern})\1""")


class RecipeError(ValueError):
    """A recipe that cannot be read or makes no sense. The message says where and what is known."""


@dataclass(frozen=True)
class Stage:
    """One term of a recipe.

    Attributes:
      technique: name of a module of `tfcompress.techniques`, or of an export format as the last
        term.
      positional: arguments given without a name, in order.
      options: arguments given by name, in the order of the text.
    """

    technique: str
    positional: tuple[Value, ...] = ()
    options: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        arguments = [text_of(value) for value in self.positional]
        arguments += [f"{name}={text_of(value)}" for name, value in self.options]
        return self.technique + (f"({', '.join(arguments)})" if arguments else "")


@dataclass(frozen=True)
class Recipe:
    """An ordered tuple of stages; empty for the baseline alone."""

    stages: tuple[Stage, ...] = ()

    def __str__(self) -> str:
        return "+".join(str(stage) for stage in self.stages)


@dataclass(frozen=True)
class _Kind:
    """What a text is, and what its terms name, for the messages about it."""

    what: str
    of: str
    reads: str

    def error(self, text: str, position: int, said: str) -> RecipeError:
        return RecipeError(
            f"{self.what} {text!r}: {said} at character {position + 1}. {self.reads}"
        )


_RECIPE = _Kind("Recipe", "technique", "A recipe reads like prune(0.8)+cluster(16)+qat.")


def parse(text: str) -> Recipe:
    """Reads the text form of a recipe.

    Args:
      text: terms joined by `+`; each a name, then arguments in parentheses: numbers, words, `true`,
        `false`, by position or as `name=value`. Quotes around one mean nothing. An empty text, or
        `none`, is no compression.

    Raises:
      RecipeError: the text does not follow the grammar.

    Example:
      >>> str(parse("prune(0.8, pattern=2:4) + qat"))
      'prune(0.8, pattern=2:4)+qat'
    """
    if text.strip() in ("", "none"):
        return Recipe()
    return Recipe(_terms(text, _RECIPE))


def parse_term(text: str, *, what: str) -> Stage:
    """Reads one term by the same grammar, such as a runtime with its options.

    Args:
      text: a name, then arguments in parentheses, if any.
      what: what the term stands for, as it should read in the message: `"Runtime"`.

    Raises:
      RecipeError: the text is not one term.

    Example:
      >>> parse_term("keras(mode=xla)", what="Runtime").options
      (('mode', 'xla'),)
    """
    terms = _terms(
        text, _Kind(what, what.lower(), f"A {what.lower()} reads like name(option=value).")
    )
    if len(terms) != 1:
        raise RecipeError(f"{what} {text!r}: expected one name. Received: {len(terms)}.")
    return terms[0]


def _terms(text: str, kind: _Kind) -> tuple[Stage, ...]:
    stages, position = [], 0
    while True:
        term = _TERM.match(text, position)
        if term is None:
            raise kind.error(text, position, f"expected the name of a {kind.of}")
        stages.append(_stage(text, term, kind))
        position = term.end()
        if position == len(text):
            return tuple(stages)
        if text[position] != "+":
            raise kind.error(text, position, "expected '+' or the end")
        position += 1


def _stage(text: str, term: re.Match[str], kind: _Kind) -> Stage:
    positional: list[Value] = []
    options: dict[str, Value] = {}
    arguments = term["arguments"]
    for argument in arguments.split(",") if arguments and arguments.strip() else ():
        name, equals, word = (part.strip() for part in argument.rpartition("="))
        if quoted := QUOTED.fullmatch(word):
            word = quoted["word"]
        if not WORD.fullmatch(word) or (equals and not name.isidentifier()):
            raise kind.error(
                text, term.start("arguments"), f"cannot read the argument {argument!r}"
            )
        if not equals and options:
            raise kind.error(text, term.start("arguments"), f"{word!r} follows a named argument")
        if name in options:
            raise kind.error(text, term.start("arguments"), f"{name!r} is given twice")
        if equals:
            options[name] = _value(word)
        else:
            positional.append(_value(word))
    return Stage(term["name"], tuple(positional), tuple(options.items()))


def _value(word: str) -> Value:
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def text_of(value: Value) -> str:
    """A value as a recipe writes it.

    Example:
      >>> text_of(True)
      'true'
    """
    return str(value).lower() if isinstance(value, bool) else str(value)
