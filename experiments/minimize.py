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

from experiments import list_flags, program

RECORD = "minimal.json"


def define_flags() -> None:
    """Defines this program's flags."""
    list_flags.define("artifact", None, "Exported TFLite files.", required=True)
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


def take_tokenizer(artifact: Any, output_dir: Path) -> None:
    """Copies the tokenizer that lies beside a file for texts, without which it reads none.

    Where another one has the usual name in the folder, it gets one of its own.

    Args:
      artifact: the file, loaded from its path.
      output_dir: where its minimal form goes.
    """
    from tfcompress.tokenization import Tokenization
    from tfcompress.tokenizer import FILE, Tokenizer, TokenizerError

    if "preprocessing" not in artifact.metadata:
        return
    tokenization, folder = artifact.preprocessing, artifact.path.parent
    if not isinstance(tokenization, Tokenization):
        return
    sha256 = tokenization.tokenizer_sha256
    try:
        found = Tokenizer.beside(folder, sha256=sha256, what=str(artifact.path))
    except TokenizerError as error:
        print(f"No tokenizer is taken along: {error}\n")
        return
    there = output_dir / FILE
    taken = there.is_file() and there.read_text(encoding="utf-8") != found.content
    found.save(output_dir, own_name=taken)


def work(source: Path, target: Path) -> dict[str, Any]:
    """Minimizes one file, and returns its figures as a JSON-ready record."""
    from tfcompress.artifact import Artifact
    from tfcompress.byte_counts import byte_table
    from tfcompress.minimal import minimize

    values = flags.FLAGS
    artifact = Artifact.load(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    take_tokenizer(artifact, target.parent)
    found = minimize(
        artifact,
        metadata=values.metadata,
        bias_scales=values.bias_scales,
        sparse=values.sparse,
    )
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
