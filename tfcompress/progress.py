"""What a long run says while it works: stages, epochs, steps, files.

Knows how that looks in a terminal and in a log file. Does not know what the work is. No TensorFlow
here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tfcompress.layer_coverage import Coverage

Step = Callable[[int, int], None]

# Of a training's metrics, what stands in the line of an epoch, and how it reads.
_SHOWN = {"accuracy": "{:.2%}", "mean_absolute_error": "{:.4g}"}


class Reporter:
    """Writes progress to a terminal, with a live bar, or to a plain stream, line by line.

    Args:
      console: where to write; None writes nothing.
      every_layer: show what techniques can do to each layer, not only how much of the model they
        treat.
    """

    def __init__(self, console: Console | None = None, *, every_layer: bool = False) -> None:
        self._console = console or Console(quiet=True)
        self._every_layer = every_layer

    def stage(self, title: str, detail: str = "") -> None:
        """Opens a part of the work."""
        self._console.print(Text.assemble((title, "bold"), "  ", (detail, "dim")), soft_wrap=True)

    def note(self, text: str) -> None:
        """Says one thing about the current part."""
        self._console.print(Text(f"  {text}"), soft_wrap=True)

    def epoch(self, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        """One line for a finished epoch (0-based)."""
        shown = "  ".join(
            f"{name.replace('_', ' ')} {form.format(metrics[name])}  "
            f"validation {form.format(metrics[f'val_{name}'])}"
            for name, form in _SHOWN.items()
            if name in metrics
        )
        self.note(
            f"epoch {epoch + 1:>3}/{epochs}  loss {metrics['loss']:.4f}  {shown}  "
            f"{metrics['seconds']:.0f} s"
        )

    def coverage(self, found: Coverage) -> None:
        """How much of a model each technique treats."""
        if self._every_layer:
            self._console.print(Text(str(found)), soft_wrap=True)
        for technique in found.techniques:
            self.note(found.summary(technique.technique))

    @contextmanager
    def bar(self, title: str) -> Iterator[Step]:
        """Shows a bar in a terminal during the block; yields what to call with (done, total)."""
        columns = (TextColumn("  {task.description}"), BarColumn(), TimeRemainingColumn())
        # A bar in a log file would be noise.
        with Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as progress:
            task = progress.add_task(escape(title), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


class Stopwatch:
    """Wall time since it was made, in seconds."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._started


def listener(step: Step) -> Callable[[int, int, Mapping[str, Any]], None]:
    """Adapts a bar to what `training.fit` calls."""
    return lambda done, total, metrics: step(done, total)
