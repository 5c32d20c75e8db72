"""Asks whether a finished run's files hold up: on corrupted test images, and on another data set.

    python -m experiments.robustness --run_dir=runs/x --output_dir=runs/x_robust

judges the Keras baseline and every file on eight corruptions of CIFAR-10-C at five severities, and
prints a Markdown table; outputs, result and figure are kept in the folder. Less of it, and another
data set beside it:

    python -m experiments.robustness --run_dir=runs/x --output_dir=runs/y --corruption=jpeg \
      --severity=1,3,5 --file=baseline-int8 --shift_dataset=fashion_mnist

The same command goes on with an interrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import list_flags, program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of outputs, result and figure.", required=True)
    list_flags.define("corruption", None, "Names of corruptions; all eight by default.")
    list_flags.define("severity", ["1", "2", "3", "4", "5"], "From 1 (weakest) to 5.")
    list_flags.define("file", [], "Names of the run's files; all by default.")
    flags.DEFINE_string("shift_dataset", "", "Another data set to judge all files on.")
    flags.DEFINE_integer("resamples", 2000, "Of the bootstrap.", lower_bound=100)
    flags.DEFINE_integer("seed", 0, "Of the corruptions and of the bootstrap.", lower_bound=0)


@program.entry(resumable=True)
def main() -> None:
    """Judges, prints, draws."""
    written = run(flags.FLAGS)
    print("\nWritten: " + "\n         ".join(map(str, written)))


def run(values: Any) -> list[Path]:
    """Judges the files, prints the table, writes the figure; the paths of what was written."""
    from rich.console import Console

    from tfcompress import durable, robustness
    from tfcompress.progress import Reporter
    from tfcompress.report import drawing, robustness_chart
    from tfcompress.studies import robustness as study

    chosen = {} if values.corruption is None else {"corruptions": tuple(values.corruption)}
    config = study.RobustnessConfig(
        severities=severities(values.severity),
        files=tuple(values.file),
        shift_dataset=values.shift_dataset,
        resamples=values.resamples,
        seed=values.seed,
        **chosen,
    )
    folder = Path(values.output_dir)
    found = study.judge(values.run_dir, config, folder, reporter=Reporter(Console()))
    print("\n" + "\n".join(robustness.table_lines(found)))
    figure = folder / "robustness.svg"
    durable.write_text(figure, drawing.for_file(robustness_chart.svg(found)))
    return [folder / study.RESULT, figure]


def severities(texts: Sequence[str]) -> tuple[int, ...]:
    """Whole numbers from the words of `--severity`.

    Raises:
      ValueError: a word that is none.
    """
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise ValueError(
            f"--severity takes whole numbers from 1 to 5, such as 1,3,5. Received: {list(texts)}."
        ) from None


if __name__ == "__main__":
    define_flags()
    app.run(main)
