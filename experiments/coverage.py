"""Shows which layers of a model each technique treats, or passes over and why. Trains nothing.

    python -m experiments.coverage --backbone=MobileNetV2
    python -m experiments.coverage --model=my_model.keras --recipe="prune(0.8)+qat" --csv=layers.csv

A backbone is shown with random weights and a head for ten classes, since weights change nothing.
"""

from __future__ import annotations

from typing import Any

from absl import app, flags

from experiments import program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("model", None, "A model file: .keras, .h5 or a SavedModel folder.")
    flags.DEFINE_string("backbone", None, "A network instead, such as resnet8 or MobileNetV2.")
    flags.DEFINE_integer("image_size", 0, "Side of the backbone's input in pixels.", lower_bound=0)
    flags.DEFINE_string("recipe", None, 'Techniques, such as "prune(0.8)+qat"; by default all.')
    flags.DEFINE_string("csv", None, "Writes the layers there too, with the reasons in full.")


@program.entry()
def main() -> None:
    """Prints the table, and writes it where asked."""
    values = flags.FLAGS
    if (values.model is None) == (values.backbone is None):
        raise app.UsageError("Pass --model=FILE or --backbone=NAME.")
    show(values)


def show(values: Any) -> None:
    """Finds the coverage out and shows it."""
    from rich.console import Console

    from tfcompress import durable, survey
    from tfcompress.report import run_tables, terminal

    survey.planned(recipe=values.recipe)  # A wrong recipe is answered before TensorFlow loads.
    given = values.model or classifier(values.backbone, image_size=values.image_size)
    found = survey.coverage(given, recipe=values.recipe)
    console = Console()
    if console.is_terminal:
        terminal.print_table(run_tables.coverage(found), console)
    else:
        print(found)
    if values.csv:
        durable.write_text(values.csv, found.to_csv())
        print(f"\nLayers: {values.csv}")


def classifier(name: str, *, image_size: int) -> Any:
    """A backbone with a head for ten classes."""
    from tfcompress import backbones

    config = backbones.BackboneConfig(name=name, weights="none", image_size=image_size)
    return backbones.build_classifier(
        config, classes=10, image_shape=backbones.load_family(name).default_image_shape(name)
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
