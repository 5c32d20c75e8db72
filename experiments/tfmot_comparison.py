"""Holds a finished run's files beside TF-MOT's PQAT and PCQAT, made from the same baseline.

    python -m experiments.tfmot_comparison --run_dir=runs/x --output_dir=runs/x_tfmot

prunes, clusters and quantizes the run's float baseline with TF-MOT alone, then judges and times all
files together and prints a Markdown table. The same command goes on with an interrupted one.
"""

from __future__ import annotations

from absl import app, flags

from experiments import list_flags, program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of the comparison.", required=True)
    list_flags.define("recipe", ["tf-mot PQAT", "tf-mot PCQAT"], "TF-MOT's recipes.")
    flags.DEFINE_float("sparsity", 0.5, "Of each kernel.")
    flags.DEFINE_integer("clusters", 16, "Distinct values of each kernel.")
    flags.DEFINE_integer("epochs", 3, "Of each step.")
    flags.DEFINE_float("learning_rate", 3e-4, "Highest one of each step.")
    flags.DEFINE_integer("seed", 0, "Of order and augmentation.")


@program.entry(resumable=True)
def main() -> None:
    """Trains, judges, times, prints."""
    from rich.console import Console

    from tfcompress.progress import Reporter
    from tfcompress.studies import tfmot_comparison

    values = flags.FLAGS
    config = tfmot_comparison.ComparisonConfig(
        recipes=tuple(values.recipe),
        sparsity=values.sparsity,
        clusters=values.clusters,
        epochs=values.epochs,
        learning_rate=values.learning_rate,
        seed=values.seed,
    )
    found = tfmot_comparison.compare(
        values.run_dir, config, values.output_dir, reporter=Reporter(Console())
    )
    print("\n" + "\n".join(tfmot_comparison.table_lines(found)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
