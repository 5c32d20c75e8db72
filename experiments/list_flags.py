"""Flags of several words: between commas, in a flag for each, or both.

    list_flags.define("seeds", ["0", "1"], "Of the run.")  # --seeds=0,1 or --seeds=0 --seeds=1

Knows how absl reads such a flag. Does not know what its words mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments import flag_table

# The flags belong to the module that asks for them, under whose name --help shows them.
flags.disclaim_key_flags()


def define(
    name: str, default: str | Sequence[str] | None, help: str, *, required: bool = False
) -> None:
    """Defines a flag in absl whose value is a list of words.

    Args:
      name: without dashes.
      default: the words where it is not given; None for none.
      help: what it says.
      required: whether it must be given.
    """
    flag = _ListFlag(
        parser=_Parser(),
        serializer=flags.ListSerializer(","),
        name=name,
        default=default,
        help_string=help,
    )
    flags.DEFINE_flag(flag, required=required)


class _Parser(flags.ArgumentParser):
    """Parts text as `flag_table` does: commas inside parentheses part nothing."""

    syntactic_help = "words between commas, in one flag or several"

    def parse(self, argument: str | Sequence[str]) -> list[str]:
        if not isinstance(argument, str):
            return list(argument)
        return flag_table.split(argument)


class _ListFlag(flags.Flag):
    """Adds to its words where it is given again, where absl's own forgets those before."""

    value: Any

    def parse(self, argument: Any) -> None:
        before = self.value if self.present else []
        super().parse(argument)
        self.value = [*before, *self.value]
