"""Measures what training under each technique costs beside plain training, in one run.

    python -m experiments.training_cost --backbone=MobileNetV2 --width=0.35 --image_size=96

prints a Markdown table: the first epoch with all tracing, a step after that, and the peak memory,
each beside plain training of the same network on the same images, and TF-MOT's own wrappers alone.
The same command goes on with an interrupted one.
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from experiments import program


def define_flags() -> None:
    """Defines this program's flags."""
    from tfcompress.studies.training_cost import TrainingCostConfig

    usual = TrainingCostConfig()
    flags.DEFINE_multi_string(
        "method",
        list(usual.methods),
        "A recipe of one technique, or tf-mot prune, tf-mot cluster, tf-mot qat. Several times.",
    )
    flags.DEFINE_string("dataset", usual.data.name, "Whose training images are used.")
    flags.DEFINE_integer("max_train", 0, "Images of train to use; 0 for all.")
    flags.DEFINE_string("backbone", usual.backbone.name, "Network.")
    flags.DEFINE_string("weights", "none", "Of the network; they do not matter here.")
    flags.DEFINE_float("width", usual.backbone.width, "Channel multiplier (MobileNet's alpha).")
    flags.DEFINE_integer("image_size", 0, "Side of the model's input; 0: the network's default.")
    flags.DEFINE_integer("batch_size", usual.batch_size, "Images in a step.")
    flags.DEFINE_integer("epochs", usual.epochs, "Of each training, the first one apart.")
    flags.DEFINE_integer("rounds", usual.rounds, "Processes for each method, in turn.")
    flags.DEFINE_string("output_dir", "runs/training_cost", "Where what was measured is kept.")


@program.entry(resumable=True)
def main() -> None:
    """Measures and prints."""
    from rich.console import Console

    from tfcompress.backbones import BackboneConfig
    from tfcompress.data import DataConfig
    from tfcompress.progress import Reporter
    from tfcompress.studies import training_cost

    values = flags.FLAGS
    config = training_cost.TrainingCostConfig(
        methods=tuple(values.method),
        data=DataConfig(name=values.dataset, max_train=values.max_train),
        backbone=BackboneConfig(
            name=values.backbone,
            weights=values.weights,
            width=values.width,
            image_size=values.image_size,
        ),
        batch_size=values.batch_size,
        epochs=values.epochs,
        rounds=values.rounds,
    )
    with Reporter(Console()).bar("training") as step:
        found = training_cost.measure(config, values.output_dir, progress=step)
    print("\n".join(training_cost.table_lines(found)))
    print(f"\nSamples: {Path(values.output_dir) / training_cost.RESULT}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
