"""Makes exported files minimal: the same outputs bit for bit, in fewer bytes.

    python -m experiments.minimize --artifact=a.tflite,b.tflite --output_dir=minimal

prints what each step saved, what a file cannot take and why, and the bytes of each file before and
after: as stored, gzipped, with sparse kernels, entropy-coded. `minimal.json` keeps the figures.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import program

RECORD = "minimal.json"


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_list("artifact", None, "Exported TFLite files.", required=True)
    flags.DEFINE_string(
        "output_dir", None, "Where the minimal files go, under the same names.", required=True
    )
    flags.DEFINE_bool(
        "metadata",
        True,
        "Keep preprocessing, labels and stages in the file; without them it cannot name what it "
        "sees or reads.",
    )
    flags.DEFINE_bool(
        "bias_scales",
        True,
        "Keep the scales of biases, which GPU delegates read and processors do not.",
    )
    flags.DEFINE_bool("sparse", False, "Store kernels sparse where that is smaller and runs.")


@program.entry(words="Separate by commas.")
def main() -> None:
    """Minimizes each file and prints the tables."""
    from tfcompress import durable
    from tfcompress.byte_counts import definitions

    values = flags.FLAGS
    found = targets(values.artifact, Path(values.output_dir))
    records = [work(source, target) for source, target in found.items()]
    durable.write_json(Path(values.output_dir) / RECORD, {"files": records})
    print(definitions())


def targets(sources: list[str], output_dir: Path) -> dict[Path, Path]:
    """Where the minimal form of each file goes.

    Raises:
      ValueError: no file, two of one name, or one that would be written over.
    """
    paths = [Path(source) for source in sources if source]
    if not paths or len({path.name for path in paths}) < len(paths):
        raise ValueError(
            "--artifact must name files, each with another name. "
            f"Received: {', '.join(sources) or 'none'}."
        )
    found = {path: output_dir / path.name for path in paths}
    for source, target in found.items():
        if target.resolve() == source.resolve():
            raise ValueError(f"--output_dir={output_dir} holds {source} itself. Name another one.")
    return found


def take_tokenizer(source: Path, output_dir: Path) -> None:
    """Copies the tokenizer that lies beside a file for texts, without which it reads none.

    Raises:
      ValueError: that of another model lies in the folder already.
    """
    from tfcompress import durable
    from tfcompress.tokenization import FILE

    own, there = source.with_name(FILE), output_dir / FILE
    if not own.is_file():
        return
    content = own.read_bytes()
    if there.is_file() and there.read_bytes() != content:
        raise ValueError(
            f"{there} is another tokenizer than {own}. Give files of other models another "
            "--output_dir."
        )
    durable.write_bytes(there, content)


def work(source: Path, target: Path) -> dict[str, Any]:
    """Minimizes one file, and returns its figures as a JSON-ready record."""
    from tfcompress.artifact import Artifact
    from tfcompress.byte_counts import byte_table
    from tfcompress.minimal import minimize

    values = flags.FLAGS
    artifact = Artifact.load(source)
    take_tokenizer(source, target.parent)
    found = minimize(
        artifact,
        metadata=values.metadata,
        bias_scales=values.bias_scales,
        sparse=values.sparse,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    saved = found.artifact.save(target)
    print(f"{source} -> {target}\n\n{found}\n")
    tables = {"before": byte_table(found.before), "after": byte_table(saved)}
    print(f"before: {tables['before']}\n\nafter: {tables['after']}\n")
    return {
        "name": source.name,
        "sha256": {"before": found.before.sha256, "after": saved.sha256},
        "bytes": {when: dataclasses.asdict(table) for when, table in tables.items()},
        "steps": [dataclasses.asdict(step) for step in found.steps],
    }


if __name__ == "__main__":
    define_flags()
    app.run(main)
