"""Holds the benchmark's medians against two timers that share no code with it.

    python -m experiments.timer_agreement --artifact=a.tflite,b.tflite,c.tflite

A plain loop over LiteRT's interpreter, timed by the block, and LiteRT's own benchmark tool take
turns with the benchmark. On an idle machine they should agree within 5%.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import app, flags

from experiments import list_flags, program

FILE_NAME = "timer_agreement.json"


def define_flags() -> None:
    """Defines this program's flags."""
    list_flags.define("artifact", None, "TFLite files.", required=True)
    flags.DEFINE_integer("threads", 1, "Processor threads.", lower_bound=1)
    flags.DEFINE_integer("repeats", 7, "Turns of each timer on each file.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "Of warm calls at each turn.", lower_bound=0)
    flags.DEFINE_string("output_dir", None, f"Where {FILE_NAME} is written.")


@program.entry(words="Separate by commas.")
def main() -> None:
    """Measures, prints the table, writes every value where asked."""
    from rich.console import Console

    from tfcompress import durable, environment
    from tfcompress.progress import Reporter
    from tfcompress.studies import timer_agreement

    values = flags.FLAGS
    config = timer_agreement.AgreementConfig(values.threads, values.repeats, values.seconds)
    models = {Path(file).stem: file for file in values.artifact}
    with Reporter(Console()).bar("timers") as step:
        found = timer_agreement.measure(models, config, progress=step)
    print("\n".join(timer_agreement.table_lines(found)))
    if values.output_dir:
        record = {
            "config": dataclasses.asdict(config),
            "models": [dataclasses.asdict(each) for each in found],
            "environment": environment.collect(),
        }
        durable.write_json(Path(values.output_dir) / FILE_NAME, record)


if __name__ == "__main__":
    define_flags()
    app.run(main)
