"""The main job: transfer a backbone, compress it, export TFLite, judge every file, report.

    python -m experiments.compress --dataset=cifar10 --backbone=efficientnet_lite0 \
      --recipe="prune(0.5)+qat"

The same command on the same `--output_dir` goes on with an interrupted run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import app, flags

import experiments.flags
from experiments import program
from experiments.flags import define_run_flags, run_config_from_flags


@program.entry(resumable=True)
def main() -> None:
    """Parses, runs, and prints where the report lies."""
    config = run_config_from_flags()
    output_dir = Path(flags.FLAGS.output_dir or default_folder(config))
    found = work(config, output_dir)
    if found is not None:
        summarize(found, output_dir)


def work(config: Any, output_dir: Path) -> Any:
    """Carries the run out, telling its progress; None where it helped another process to."""
    from rich.console import Console

    from tfcompress import workflow
    from tfcompress.progress import Reporter

    reporter = Reporter(Console(), every_layer=flags.FLAGS.coverage)
    if workflow.is_chief(config):
        return workflow.run(config, output_dir, reporter=reporter)
    workflow.assist(config, reporter=reporter)
    return None


def summarize(found: Any, output_dir: Path) -> None:
    """Prints the closing table and the path of the report."""
    from rich.console import Console

    from tfcompress.report import terminal

    terminal.print_summary(found, Console())
    print(f"\nReport: {output_dir / 'report.html'}\n        {output_dir / 'report.md'}")


def default_folder(config: Any) -> str:
    """`runs/` and the data set, backbone, recipe and seed."""
    from tfcompress.config import shortened

    recipes = "_".join(config.recipes) or "baseline"
    name = f"{config.data.name}-{config.backbone.name}-{recipes}-seed{config.seed}"
    return "runs/" + shortened("".join(c if c.isalnum() or c in "-_+." else "_" for c in name))


if __name__ == "__main__":
    define_run_flags()
    flags.adopt_module_key_flags(experiments.flags)
    app.run(main)
