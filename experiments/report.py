"""Renders the report of a finished run again, on a machine that needs no TensorFlow.

    python -m experiments.report --run_dir=runs/x

writes `report.md`, `report.html` and `figures/` into the run folder and prints the closing table.

    python -m experiments.report --compare=runs/seed0,runs/seed1,runs/seed2

prints mean and spread over runs that differ in their seed, as a Markdown table.
"""

from __future__ import annotations

from absl import app, flags

from experiments import program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.")
    flags.DEFINE_list("compare", None, "Folders of finished runs that differ in their seed.")
    flags.DEFINE_bool("summary", True, "Print the closing table.")


@program.entry(words="Pass --run_dir=FOLDER.")
def main() -> None:
    """Renders the report and prints where it lies."""
    if (flags.FLAGS.run_dir is None) == (flags.FLAGS.compare is None):
        raise app.UsageError("Pass --run_dir=FOLDER, or --compare=FOLDER,FOLDER.")
    if flags.FLAGS.compare is not None:
        compare(flags.FLAGS.compare)
    else:
        show(flags.FLAGS.run_dir)


def show(run_dir: str) -> None:
    """Renders one run."""
    from rich.console import Console

    from tfcompress import report, results
    from tfcompress.report import terminal

    paths = report.render(run_dir)
    if flags.FLAGS.summary:
        terminal.print_summary(results.load(run_dir), Console())
    print(f"\nReport: {paths.html}\n        {paths.markdown}")


def compare(run_dirs: list[str]) -> None:
    """Prints the table of several seeds."""
    from tfcompress import results
    from tfcompress.report import markdown, seeds

    table = seeds.across_seeds([results.load(run_dir) for run_dir in run_dirs])
    print("\n".join((f"### {table.title}", "", *markdown.table_lines(table), "", table.note)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
