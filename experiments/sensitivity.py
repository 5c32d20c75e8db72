"""Measures how sensitive each layer of a finished run's baseline is, and draws it.

    python -m experiments.sensitivity --run_dir=runs/x --kind=sparsity,bits,rank,channels

compresses one layer at a time, trains nothing, and counts what that costs on the validation split:
a table on the terminal, and under `RUN/sensitivity` the same as CSV and a figure for each kind. A
recipe with `prune(0.8, allocation=sensitivity)` measures and uses it by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import list_flags, program

FOLDER = "sensitivity"


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    list_flags.define(
        "kind", ["sparsity"], "What is done to a layer: sparsity, bits, rank, channels."
    )
    list_flags.define("level", None, "Other levels than the usual ones, for a single kind.")
    flags.DEFINE_integer("images", 1000, "Examples of validation; 0 for all.", lower_bound=0)
    flags.DEFINE_string("output_dir", None, f"Where the files go; the run's {FOLDER} by default.")


@program.entry()
def main() -> None:
    """Measures, prints, draws."""
    values = flags.FLAGS
    if values.level and len(values.kind) != 1:
        raise app.UsageError("--level goes with one --kind. Received: " + ", ".join(values.kind))
    found = measured(values)
    folder = Path(values.output_dir or Path(values.run_dir) / FOLDER)
    written = write(found, folder)
    print(f"\n{found}\n\nWritten: " + "\n         ".join(map(str, written)))


def measured(values: Any) -> Any:
    """Measures the sensitivity of the run's baseline."""
    import numpy as np
    from rich.console import Console

    from tfcompress import finished_run, probe
    from tfcompress.progress import Reporter

    run = finished_run.load(values.run_dir)
    run.require_classes("sensitivity")
    split = run.dataset.validation
    split = split.take(np.arange(min(values.images or len(split), len(split))))
    levels = {values.kind[0]: [float(level) for level in values.level]} if values.level else {}
    with Reporter(Console()).bar("sensitivity") as step:
        return probe.sensitivity(
            run.baseline,
            run.preprocessing.apply(split.examples),
            split.labels,
            kinds=values.kind,
            levels=levels,
            progress=step,
        )


def write(found: Any, folder: Path) -> list[Path]:
    """Writes the table as CSV, and a figure for each kind."""
    from tfcompress import durable
    from tfcompress.report import drawing, sensitivity_chart

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "sensitivity.csv"]
    durable.write_text(written[0], found.to_csv())
    for kind in found.kinds:
        written.append(folder / f"{kind}.svg")
        durable.write_text(written[-1], drawing.for_file(sensitivity_chart.svg(found, kind)))
    return written


if __name__ == "__main__":
    define_flags()
    app.run(main)
