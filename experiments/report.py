"""Renders the report of a finished run again, on a machine that needs no TensorFlow.

    python -m experiments.report --run_dir=runs/x

writes `report.md`, `report.html`, `figures/` and `tables/*.csv` into the run folder and prints the
closing table. The folder of a finished search is shown likewise.

    python -m experiments.report --compare=runs/seed0,runs/seed1,runs/seed2 --output_dir=runs/seeds

writes one report on several runs of the same test split: mean, spread and what holds in every run
where they differ in their seed alone; side by side otherwise. Without `--output_dir` the main table
is printed as Markdown, and nothing is written.
"""

from __future__ import annotations

from absl import app, flags

from experiments import list_flags, program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run, or of a finished search.")
    list_flags.define("compare", None, "Folders of finished runs of the same test split.")
    flags.DEFINE_string("output_dir", None, "Where the report of --compare goes.")
    flags.DEFINE_bool("summary", True, "Print the closing table.")


@program.entry(words="Pass --run_dir=FOLDER.")
def main() -> None:
    """Renders the report and prints where it lies."""
    if (flags.FLAGS.run_dir is None) == (flags.FLAGS.compare is None):
        raise app.UsageError("Pass --run_dir=FOLDER, or --compare=FOLDER,FOLDER.")
    if flags.FLAGS.output_dir is not None and flags.FLAGS.compare is None:
        raise app.UsageError("--output_dir goes with --compare: a run's report lies in its folder.")
    if flags.FLAGS.compare is not None:
        compare(flags.FLAGS.compare, flags.FLAGS.output_dir)
    else:
        show(flags.FLAGS.run_dir)


def show(run_dir: str) -> None:
    """Renders one run, or one search."""
    from rich.console import Console

    from tfcompress import report, results, search_record
    from tfcompress.report import search_terminal, terminal

    paths = report.render(run_dir)
    if flags.FLAGS.summary and search_record.is_in(run_dir):
        search_terminal.print_summary(search_record.load(run_dir), Console())
    elif flags.FLAGS.summary:
        terminal.print_summary(results.load(run_dir), Console())
    print(f"\nReport: {paths.html}\n        {paths.markdown}")


def compare(run_dirs: list[str], output_dir: str | None) -> None:
    """Writes the report of several runs, or prints its main table."""
    from tfcompress import report
    from tfcompress.report import table_text

    if output_dir is not None:
        paths = report.compare(run_dirs, output_dir)
        print(f"Report: {paths.html}\n        {paths.markdown}")
        return
    table = report.compared(run_dirs)
    print("\n".join((f"### {table.title}", "", *table_text.markdown_lines(table), "", table.note)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
