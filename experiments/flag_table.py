"""A program's flags as data, for absl where it is installed and for argparse where it is not.

    FLAGS = (Flag("artifact", "list", None, "Model files.", required=True), ...)
    flag_table.start(FLAGS, main)

Both read the same command line alike: `--name=value`, `--name value`, `--switch`, `--noswitch`.
Knows nothing of what the flags mean.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from experiments import program

_COMMA = re.compile(r",(?![^()]*\))")


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
      name: without dashes.
      kind: `"text"`, `"list"` (of words between commas, of which those in parentheses part
        nothing, in one flag or several), `"count"` (an integer), `"number"` or `"switch"` (true or
        false).
      default: its value where it is not given; None for none.
      help: what it says.
      required: whether it must be given.
      lowest: of a count or number, the least that is taken; None for any.
    """

    name: str
    kind: str
    default: Any
    help: str
    required: bool = False
    lowest: float | None = None


def split(text: str) -> list[str]:
    """The parts between commas, none of an empty text; commas inside parentheses part nothing.

    Example:
      >>> split("litert_cpu,litert_gpu(precision=float32, software=true)")
      ['litert_cpu', 'litert_gpu(precision=float32, software=true)']
    """
    return [part.strip() for part in _COMMA.split(text)] if text else []


def start(
    flags: Sequence[Flag], work: Callable[[Mapping[str, Any]], None], *, words: str, summary: str
) -> None:
    """Reads the command line and does the work, as a program's last line.

    Args:
      flags: those of the program.
      work: takes the value of each flag by its name.
      words: what to do with words that are no flags.
      summary: of the program, for `--help`.

    Raises:
      SystemExit: at the end of the program, as `program.answers` does and with 1 or 2 for a command
        line that cannot be read.
    """
    if importlib.util.find_spec("absl") is None:
        values = read(flags, None, words=words, summary=summary)
        with program.answers():
            work(values)
        return
    from absl import app

    define(flags)
    app.run(program.entry(words=words)(lambda: work(_absl_values(flags))))


def define(flags: Sequence[Flag]) -> None:
    """Defines the flags in absl."""
    from absl import flags as absl_flags

    from experiments import list_flags

    for flag in flags:
        limits = {"lower_bound": flag.lowest} if flag.kind in ("count", "number") else {}
        kinds = {
            "text": absl_flags.DEFINE_string,
            "list": list_flags.define,
            "count": absl_flags.DEFINE_integer,
            "number": absl_flags.DEFINE_float,
            "switch": absl_flags.DEFINE_bool,
        }
        kinds[flag.kind](flag.name, flag.default, flag.help, required=flag.required, **limits)
        # absl shows under --help what the program's own module defines; it names that by argv[0].
        absl_flags.FLAGS.register_key_flag_for_module(sys.argv[0], absl_flags.FLAGS[flag.name])


def read(
    flags: Sequence[Flag], argv: Sequence[str] | None, *, words: str, summary: str
) -> dict[str, Any]:
    """Reads a command line with argparse.

    Args:
      flags: those of the program.
      argv: without the program's name; None for the one that this process was started with.
      words: what to do with words that are no flags.
      summary: of the program, for `--help`.

    Returns:
      the value of each flag by its name; of a list, its parts.

    Raises:
      SystemExit: a command line that cannot be read, with 1, or `--help`, with 0.
    """
    parser = _Parser(description=summary, allow_abbrev=False)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    for flag in flags:
        _add(parser, flag)
    found = vars(parser.parse_args(argv))
    if found.pop("words"):
        parser.error(f"Unexpected arguments. {words}")
    # A default here would stand before the words that are given.
    return found | {
        flag.name: split(flag.default)
        for flag in flags
        if flag.kind == "list" and found[flag.name] is None and flag.default is not None
    }


class _Parser(argparse.ArgumentParser):
    """Ends as absl does: with 1, and with the flags' help only where it is asked for."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"FATAL Flags parsing error: {message}\nPass --help to see the flags.\n")


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    name = f"--{flag.name}"
    if flag.kind == "switch":
        parser.add_argument(name, action="store_true", default=flag.default, help=flag.help)
        parser.add_argument(f"--no{flag.name}", dest=flag.name, action="store_false")
        return
    if flag.kind == "list":
        parser.add_argument(
            name, type=split, action="extend", required=flag.required, help=flag.help
        )
        return
    kinds: dict[str, Callable[[str], Any]] = {"count": int, "number": float}
    kind = kinds.get(flag.kind, str)

    def checked(text: str) -> Any:
        value = kind(text)
        if flag.lowest is not None and value < flag.lowest:
            raise argparse.ArgumentTypeError(f"{text} is below {flag.lowest:g}")
        return value

    checked.__name__ = flag.kind  # What argparse calls it where a value cannot be read.
    parser.add_argument(
        name, type=checked, default=flag.default, required=flag.required, help=flag.help
    )


def _absl_values(flags: Sequence[Flag]) -> dict[str, Any]:
    from absl import flags as absl_flags

    return {flag.name: absl_flags.FLAGS[flag.name].value for flag in flags}
