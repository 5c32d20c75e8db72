"""Renders the report of a finished run again, on a machine that needs no TensorFlow.

    python -m experiments.report --run_dir=runs/x

writes `report.md`, `report.html` and `figures/` into the run folder and prints the closing table.
"""

from __future__ import annotations

import sys

from absl import app, flags


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_bool("summary", True, "Print the closing table.")


def main(argv: list[str]) -> None:
    """Renders the report and prints where it lies."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. Pass --run_dir=FOLDER.")
    from rich.console import Console

    from tfcompress import report, results
    from tfcompress.report import terminal

    run_dir = flags.FLAGS.run_dir
    try:
        paths = report.render(run_dir)
        if flags.FLAGS.summary:
            terminal.print_summary(results.load(run_dir), Console())
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
    print(f"\nReport: {paths.html}\n        {paths.markdown}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
