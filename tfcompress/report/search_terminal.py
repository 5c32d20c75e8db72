"""The closing words of a search, in the terminal.

Knows which figures of the front fit a terminal. Does not know how they were found.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tfcompress.report import search, terminal
from tfcompress.search_record import SearchRecord

COLUMNS = ("Name", "Accuracy", "Mean absolute error", "Latency", "Budget")


def print_summary(record: SearchRecord, console: Console) -> None:
    """Prints the front and the answer.

    Args:
      record: of a finished search.
      console: decides on width and colours; a plain one prints plain text.
    """
    # Those bytes that the search goes by: more columns leave no room for the budget.
    size = "Stored" if record.budget.max_gzip_size_bytes is None else "Gzipped"
    terminal.print_files(search.front_table(record), console, wanted=(*COLUMNS, size))
    answer = search.verdict(record)
    for sentence in (answer.headline, *answer.remarks):
        console.print()
        console.print(Text(sentence))
    if answer.command:
        console.print()
        # In one line, whatever the width: it is to be copied.
        console.print(Text(answer.command), soft_wrap=True)
