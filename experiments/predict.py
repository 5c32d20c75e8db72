"""Names what is in image files or texts, or measures it, with nothing but an exported file.

python -m experiments.predict --artifact=digits.tflite --image=one.png,two.png
python -m experiments.predict --artifact=reviews.tflite --text="a charming journey ."
"""

from __future__ import annotations

from typing import Any

from absl import app, flags

from experiments import list_flags, program


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("artifact", None, "An exported TFLite file.", required=True)
    list_flags.define("image", None, "Image files, such as PNG or JPEG.")
    flags.DEFINE_multi_string("text", None, "A text; may be given several times.")
    flags.DEFINE_integer("top", 3, "How many classes to show for each example.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Processor threads.", lower_bound=1)


@program.entry(words="Separate by commas.")
def main() -> None:
    """Prints the likeliest classes of each image or text, or its values."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tfcompress.answers import PredictedValues
    from tfcompress.artifact import Artifact

    values = flags.FLAGS
    if (values.image is None) == (values.text is None):
        raise ValueError("Expected --image or --text, one of the two.")
    if values.text is None and not all(values.image or [""]):
        raise ValueError("--image names no file. Expected files separated by commas.")
    what, examples = ("image", values.image) if values.text is None else ("text", values.text)
    artifact = Artifact.load(values.artifact)
    _require_fit(artifact, what)
    predictions = artifact.predict(examples, threads=values.threads)
    measured = isinstance(predictions[0], PredictedValues)
    heads = ("target", "value") if measured else ("class", "probability")
    table = Table(what, *heads, title=Text(values.artifact))
    for path, prediction in zip(examples, predictions, strict=True):
        for rank, (name, shown) in enumerate(_rows(prediction, top=values.top)):
            # As Text: square brackets in a string of its own are markup to rich.
            table.add_row(Text(path if rank == 0 else ""), Text(name), shown)
        table.add_section()
    Console().print(table)


def _require_fit(artifact: Any, what: str) -> None:
    """Refuses images for a file that reads texts, and the other way round."""
    from tfcompress.tokenization import Tokenization

    reads = "text" if isinstance(artifact.preprocessing, Tokenization) else "image"
    if reads != what:
        raise ValueError(f"{artifact.path} reads {reads}s. Received: --{what}. Pass --{reads}.")


def _rows(prediction: Any, *, top: int) -> list[tuple[str, str]]:
    """What one image shows: the likeliest classes, or every value."""
    if hasattr(prediction, "values"):
        return [(name, f"{value:.6g}") for name, value in prediction.values.items()]
    return [(label, f"{probability:.1%}") for label, probability in prediction.top(top)]


if __name__ == "__main__":
    define_flags()
    app.run(main)
