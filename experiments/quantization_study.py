"""Judges ways of quantization on a finished run's baseline, side by side.

    python -m experiments.quantization_study --run_dir=runs/x --output_dir=runs/x_quantized

prints a Markdown table of the test split's accuracy for the fake-quantized Keras model and for its
int8 file, before any training, after `--steps`, and after one epoch. The same command goes on with
an interrupted study.
"""

from __future__ import annotations

import re
import sys

from absl import app, flags, logging


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of the study.", required=True)
    flags.DEFINE_integer("steps", 100, "After how many steps the models are judged, too.")
    flags.DEFINE_float("learning_rate", 1e-4, "Highest learning rate of the epoch.")
    flags.DEFINE_string(
        "method",
        "tf-mot,tfcompress",
        "With training: tf-mot, tfcompress (qat). Without: tflite (its converter), "
        "ai-edge-quantizer, ptq or a recipe of it, such as ptq(growth=0.1). Separated by commas.",
    )


def main(argv: list[str]) -> None:
    """Trains, judges, prints."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. Settings are flags.")
    logging.set_verbosity(logging.ERROR)
    values = flags.FLAGS
    try:
        from rich.console import Console

        from tfcompress.progress import Reporter
        from tfcompress.studies import quantization

        config = quantization.StudyConfig(
            steps=values.steps,
            learning_rate=values.learning_rate,
            # Commas within the brackets of a recipe are its own.
            methods=tuple(re.split(r",(?![^(]*\))", values.method)),
        )
        found = quantization.study(
            values.run_dir, config, values.output_dir, reporter=Reporter(Console())
        )
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"Error: {error}")
    print("\n" + "\n".join(quantization.table_lines(found)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
