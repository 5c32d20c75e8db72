"""The closing words of a search, in the terminal.

Knows which figures of the front fit a terminal. Does not know how they were found.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tfcompress.report import search, terminal
from tfcompress.search_record import SearchRecord

COLUMNS = ("Name", "Stored", "Gzipped", "Accuracy", "Mean absolute error", "Latency", "Budget")


def print_summary(record: SearchRecord, console: Console) -> None:
    """Prints the front and the answer.

    Args:
      record: of a finished search.
      console: decides on width and colours; a plain one prints plain text.
    """
    terminal.print_files(search.front_table(record), console, wanted=COLUMNS)
    answer = search.verdict(record)
    for sentence in (answer.headline, *answer.remarks):
        console.print()
        console.print(Text(sentence))
