import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def files(exported, quadrants, tmp_path):
    exported("int8").save(tmp_path / "a.tflite")
    index = int(np.argmax(quadrants.labels == 2))
    Image.fromarray(quadrants.images[index, ..., 0]).save(tmp_path / "x.png")
    return tmp_path / "a.tflite", tmp_path / "x.png"


def test_class_and_probability_are_shown(files):
    artifact, image = files
    found = program(f"--artifact={artifact}", f"--image={image},{image}", "--top=1")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("bottom-left") == 2
    assert "%" in found.stdout
    assert "top-right" not in found.stdout


def test_help_and_a_bad_flag_answer_at_once():
    start = time.monotonic()
    shown, refused = program("--help"), program("--artefact=a.tflite")
    assert time.monotonic() - start < 4  # two answers
    assert "--artifact" in shown.stdout
    assert refused.returncode != 0
    assert "Did you mean: artifact" in refused.stderr


@pytest.mark.parametrize("broken", ["artifact", "image", "metadata"])
def test_bad_input_is_one_line(files, exported, broken):
    artifact, image = files
    if broken == "metadata":
        exported("int8").with_metadata({}).save(artifact)
    else:
        (artifact if broken == "artifact" else image).write_bytes(b"nonsense")
    found = program(f"--artifact={artifact}", f"--image={image}")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    errors = [line for line in found.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1


def test_square_brackets_are_shown_as_they_are(files, exported, tmp_path):
    _, image = files
    names = ["[/x]", "[b]two[/b]", "[bold]", "four"]
    record = exported("int8").metadata | {"labels": names}
    exported("int8").with_metadata(record).save(tmp_path / "[red].tflite")
    image.rename(tmp_path / "[i].png")
    arguments = ("--artifact=[red].tflite", "--image=[i].png", "--top=4")
    found = subprocess.run(
        [sys.executable, "-m", "experiments.predict", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    for shown in (*names, "[red].tflite", "[i].png"):
        assert shown in found.stdout


@pytest.mark.parametrize("images", ["", "a.png,"])
def test_empty_list_of_images_is_refused(files, images):
    found = program(f"--artifact={files[0]}", f"--image={images}")
    assert found.returncode == 1
    assert "--image names no file" in found.stderr
