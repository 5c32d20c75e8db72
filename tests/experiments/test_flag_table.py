"""One table of flags, read alike by absl and by argparse."""

import json
import subprocess
import sys

import pytest

from experiments import flag_table
from experiments.flag_table import Flag

FLAGS = (
    Flag("artifact", "list", None, "Files.", required=True),
    Flag("runtime", "list", "litert_cpu", "Engines."),
    Flag("rounds", "count", 5, "Rounds.", lowest=1),
    Flag("seconds", "number", 0.5, "Seconds.", lowest=0),
    Flag("profile", "switch", True, "Profile."),
    Flag("output_dir", "text", None, "Folder."),
)
SCRIPT = """
import importlib.util, json, sys
if sys.argv.pop(1) == "argparse":
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *more: None if name == "absl" else found(name, *more)
from experiments import flag_table
from experiments.flag_table import Flag
flag_table.start(%r, lambda values: print(json.dumps(values)), words="None.", summary="A program.")
"""


@pytest.fixture(params=["absl", "argparse"])
def program(request, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT % (FLAGS,))

    def start(*arguments):
        return subprocess.run(
            [sys.executable, script, request.param, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return start


def test_both_read_the_same_values(program):
    done = program(
        "--artifact=a.tflite, b.tflite",
        "--artifact=",
        "--artifact",
        "c.tflite",
        "--runtime=keras,litert_gpu(precision=float32, software=true)",
        "--rounds",
        "3",
        "--noprofile",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        '{"artifact": ["a.tflite", "b.tflite", "c.tflite"], '
        '"runtime": ["keras", "litert_gpu(precision=float32, software=true)"], '
        '"rounds": 3, "seconds": 0.5, "profile": false, "output_dir": null}'
    )


def test_a_list_that_is_not_given_is_its_default(program):
    done = program("--artifact=a")
    assert json.loads(done.stdout)["runtime"] == ["litert_cpu"], done.stderr


def test_help_names_every_flag(program):
    shown = program("--help")
    assert all(f"--{flag.name}" in shown.stdout.replace("[no]", "") for flag in FLAGS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "artifact"),
        (["--artifact=a", "--rounds=0"], "rounds"),
        (["--artifact=a", "--rounds=two"], "rounds"),
        (["--artifact=a", "--artefact=b"], "artefact"),
        (["--artifact=a", "b.tflite"], "Unexpected arguments"),
    ],
    ids=["missing", "too low", "no number", "unknown", "stray word"],
)
def test_both_refuse_in_words(program, arguments, said):
    done = program(*arguments)
    assert done.returncode == 1
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_work_that_fails_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(flag_table.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["program", "--artifact=a"])

    def work(values):
        raise ValueError(f"No {values['artifact']}.")

    with pytest.raises(SystemExit, match=r"Error: No \['a'\]"):
        flag_table.start(FLAGS, work, words="", summary="")
