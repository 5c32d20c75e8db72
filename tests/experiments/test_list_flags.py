"""Flags of several words: between commas, in a flag for each, or both."""

import subprocess
import sys

import pytest
from absl import flags

from experiments import list_flags


@pytest.fixture
def parsed(monkeypatch):
    values = flags.FlagValues()
    monkeypatch.setattr(list_flags.flags, "DEFINE_flag", lambda flag, **_: define(values, flag))
    list_flags.define("seeds", ["0", "1"], "Of the run.")

    def read(*arguments):
        values(["program", *arguments])
        return values["seeds"]

    return read


def define(values, flag):
    values[flag.name] = flag


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["0", "1"]),
        (["--seeds=2"], ["2"]),
        (["--seeds=2, 3", "--seeds", "4"], ["2", "3", "4"]),
        (["--seeds=qat(a=1,b=2),ptq"], ["qat(a=1,b=2)", "ptq"]),
        (["--seeds="], []),
    ],
    ids=["none", "one", "commas and again", "commas in parentheses", "empty"],
)
def test_words_add_up(parsed, arguments, expected):
    assert parsed(*arguments).value == expected


def test_what_was_given_can_be_written_again(parsed):
    flag = parsed("--seeds=qat(a=1,b=2)", "--seeds=ptq")
    assert flag.serialize() == "--seeds=qat(a=1,b=2),ptq"


def test_help_shows_them_with_the_program_that_asks_for_them():
    command = [sys.executable, "-m", "experiments.report", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "--compare:" in shown
    assert "words between commas, in one flag or several" in shown
