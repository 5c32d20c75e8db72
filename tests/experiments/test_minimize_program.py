import subprocess
import sys
import time

import numpy as np
import pytest

from tfcompress import durable
from tfcompress.artifact import Artifact
from tfcompress.byte_counts import DEFINITIONS, byte_table


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.minimize", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_files_and_tables(exported, quadrants, tmp_path):
    artifacts = {
        kind: exported(kind).save(tmp_path / f"{kind}.tflite") for kind in ("int8", "float32")
    }
    sources = ",".join(str(artifact.path) for artifact in artifacts.values())
    found = program(f"--artifact={sources}", f"--output_dir={tmp_path / 'out'}")
    assert found.returncode == 0, found.stderr
    for kind, artifact in artifacts.items():
        made = Artifact.load(tmp_path / "out" / f"{kind}.tflite")
        assert made.size_bytes < artifact.size_bytes
        assert made.predict(quadrants.images[:2]) == artifact.predict(quadrants.images[:2])
        assert str(byte_table(artifact)) in found.stdout
        assert str(byte_table(made)) in found.stdout
    assert found.stdout.count("notes of the converter") == 2
    records = durable.read_json(tmp_path / "out" / "minimal.json")["files"]
    assert [record["name"] for record in records] == ["int8.tflite", "float32.tflite"]
    for record, artifact in zip(records, artifacts.values(), strict=True):
        saved = sum(step["saved_bytes"] for step in record["steps"])
        assert record["bytes"]["before"]["raw"] == artifact.size_bytes
        assert record["bytes"]["after"]["raw"] == artifact.size_bytes - saved
    assert all(found.stdout.count(text) == 1 for text in DEFINITIONS.values())


def test_what_costs_something_goes_when_asked_for(exported, quadrants, tmp_path):
    artifact = exported("int8").save(tmp_path / "a.tflite")
    found = program(
        f"--artifact={artifact.path}",
        f"--output_dir={tmp_path / 'out'}",
        "--nometadata",
        "--nobias_scales",
    )
    assert found.returncode == 0, found.stderr
    assert "Artifact.predict no longer works" in found.stdout
    assert "3 layers, for processors only" in found.stdout
    made = Artifact.load(tmp_path / "out" / "a.tflite")
    assert made.metadata == {}
    np.testing.assert_array_equal(made.run(quadrants.inputs), artifact.run(quadrants.inputs))


def test_help_and_a_bad_flag_answer_at_once():
    start = time.monotonic()
    shown, refused = program("--help"), program("--artefact=a.tflite")
    assert time.monotonic() - start < 4  # two answers
    assert "--[no]metadata" in shown.stdout
    assert refused.returncode != 0
    assert "Did you mean: artifact" in refused.stderr


@pytest.mark.parametrize(
    ("artifact", "output_dir", "said"),
    [
        ("nowhere.tflite", "out", "No TFLite file at nowhere.tflite"),
        ("a/x.tflite,b/x.tflite", "out", "each with another name"),
        ("out/x.tflite", "out", "--output_dir=out holds out/x.tflite itself"),
        ("", "out", "Received: none"),
    ],
    ids=["missing", "twice", "itself", "none"],
)
def test_bad_input_is_one_line(artifact, output_dir, said):
    found = program(f"--artifact={artifact}", f"--output_dir={output_dir}")
    assert found.returncode == 1
    assert said in found.stderr
    assert found.stderr.startswith("Error: ")
    assert len(found.stderr.splitlines()) == 1
