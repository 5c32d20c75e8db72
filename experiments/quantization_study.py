"""Judges ways of quantization on a finished run's baseline, side by side.

    python -m experiments.quantization_study --run_dir=runs/x --output_dir=runs/x_quantized

prints a Markdown table of the test split's accuracy for the fake-quantized Keras model and for its
int8 file, before any training, after `--steps`, and after one epoch. The same command goes on with
an interrupted study.
"""

from __future__ import annotations

from absl import app, flags

from experiments import list_flags, program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of the study.", required=True)
    flags.DEFINE_integer("steps", 100, "After how many steps the models are judged, too.")
    flags.DEFINE_float("learning_rate", 1e-4, "Highest learning rate of the epoch.")
    list_flags.define(
        "method",
        ["tf-mot", "tfcompress"],
        "With training: tf-mot, tfcompress (qat) or a recipe of qat. Without: tflite (its "
        "converter), ai-edge-quantizer, ptq or a recipe of it, such as ptq(growth=0.1).",
    )
    flags.DEFINE_integer("seed", 0, "Of order and augmentation.")


@program.entry(resumable=True)
def main() -> None:
    """Trains, judges, prints."""
    from rich.console import Console

    from tfcompress.progress import Reporter
    from tfcompress.studies import quantization

    values = flags.FLAGS
    config = quantization.StudyConfig(
        steps=values.steps,
        learning_rate=values.learning_rate,
        methods=tuple(values.method),
        seed=values.seed,
    )
    found = quantization.study(
        values.run_dir, config, values.output_dir, reporter=Reporter(Console())
    )
    print("\n" + "\n".join(quantization.table_lines(found)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
