"""What surrounds the work of every program: stray words refused, errors told in a sentence.

    @program.entry()
    def main() -> None:
        ...

Does not know what a program does. Importing it imports no absl, which small machines lack.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TOLD = (ValueError, OSError, RuntimeError, FloatingPointError)
"""Errors whose message says what to do; any other is a fault of ours, and shown as it is."""


@contextmanager
def answers(*, resumable: bool = False) -> Iterator[None]:
    """Ends the program with one sentence where the work inside fails.

    Args:
      resumable: the same command goes on with what an interrupted one left.

    Raises:
      SystemExit: status 1 after an error, 130 after an interruption.
    """
    try:
        yield
    except KeyboardInterrupt:
        again = " Give the same command again to go on." * resumable
        print(f"\nInterrupted.{again}", file=sys.stderr)
        sys.exit(130)
    except MemoryError as error:
        sys.exit(f"Error: not enough memory ({error}). Take smaller images or batches.")
    except TOLD as error:
        sys.exit(f"Error: {error}")


def entry(
    *, words: str = "Settings are flags.", resumable: bool = False
) -> Callable[[Callable[[], None]], Callable[[list[str]], None]]:
    """Makes a program's `main` of its work.

    Args:
      words: what to do with those that are no flags.
      resumable: the same command goes on with what an interrupted one left.

    Returns:
      A decorator; `main` takes the words of the command line, as `app.run` gives them, and ends
      with status 1 after an error, with 130 after an interruption.
    """

    def with_answers(work: Callable[[], None]) -> Callable[[list[str]], None]:
        @functools.wraps(work)
        def main(argv: list[str]) -> None:
            from absl import app, flags, logging

            if len(argv) > 1:
                raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. {words}")
            if not flags.FLAGS["verbosity"].present:
                # TensorFlow and TFDS log every step of their own through absl.
                logging.set_verbosity(logging.ERROR)
            with answers(resumable=resumable):
                work()

        return main

    return with_answers
