"""Names what is in image files, or measures it, with nothing but an exported file.

python -m experiments.predict --artifact=digits.tflite --image=one.png,two.png
"""

from __future__ import annotations

from typing import Any

from absl import app, flags

from experiments import program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("artifact", None, "An exported TFLite file.", required=True)
    flags.DEFINE_list("image", None, "Image files, such as PNG or JPEG.", required=True)
    flags.DEFINE_integer("top", 3, "How many classes to show for each image.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Processor threads.", lower_bound=1)


@program.entry(words="Separate by commas.")
def main() -> None:
    """Prints the likeliest classes of each image, or its values."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tfcompress.artifact import Artifact, PredictedValues

    values = flags.FLAGS
    if not values.image or not all(values.image):
        raise ValueError("--image names no file. Expected files separated by commas.")
    artifact = Artifact.load(values.artifact)
    predictions = artifact.predict(values.image, threads=values.threads)
    measured = isinstance(predictions[0], PredictedValues)
    heads = ("target", "value") if measured else ("class", "probability")
    table = Table("image", *heads, title=Text(values.artifact))
    for path, prediction in zip(values.image, predictions, strict=True):
        for rank, (name, shown) in enumerate(_rows(prediction, top=values.top)):
            # As Text: square brackets in a string of its own are markup to rich.
            table.add_row(Text(path if rank == 0 else ""), Text(name), shown)
        table.add_section()
    Console().print(table)


def _rows(prediction: Any, *, top: int) -> list[tuple[str, str]]:
    """What one image shows: the likeliest classes, or every value."""
    if hasattr(prediction, "values"):
        return [(name, f"{value:.6g}") for name, value in prediction.values.items()]
    return [(label, f"{probability:.1%}") for label, probability in prediction.top(top)]


if __name__ == "__main__":
    define_flags()
    app.run(main)
